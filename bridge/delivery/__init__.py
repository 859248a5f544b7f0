"""Deliveries: one lane per endpoint; each attempt is signed, sent, judged and recorded."""

from __future__ import annotations

from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.outbox import Outbox

__all__ = ["Dispatcher", "Endpoint", "Outbox"]
