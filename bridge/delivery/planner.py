"""Plans deliveries without starting them: for a command that runs beside the daemon."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.delivery.endpoint import Endpoint
from bridge.model import Claim, Message, PlannedDelivery


class Planner:
    """Plans deliveries that the daemon claims like any other that is due."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        """Plan a message's deliveries, none of them claimed."""
        return tuple(endpoint.plan(message) for endpoint in self._endpoints)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Do nothing: no slot was reserved."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Do nothing: nothing was claimed."""
