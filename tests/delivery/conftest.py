"""What tests of delivery share: settings, claims, endpoints, one TLS context."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.model import Claim, Event
from bridge.net.tls import client_context
from tests.patience import PATIENCE


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """Load the system's certificates, which takes a while, once."""
    return client_context()


@pytest.fixture
def opening(tls: ssl.SSLContext) -> Callable[[Endpoint], httpx.AsyncBaseTransport]:
    """Give what makes a dispatcher's transports."""
    return lambda endpoint: open_transport(endpoint, tls)


@pytest.fixture
def endpoint_at() -> Callable[..., Endpoint]:
    """Make an endpoint for a URL."""

    def make(url: str, **changes: object) -> Endpoint:
        known: dict[str, object] = {
            "name": "crm",
            "url": httpx.URL(url),
            "keys": (b"k" * 32,),
            "concurrency": 10,
            "timeout": PATIENCE,
        }
        return Endpoint(**(known | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def claim_of() -> Callable[..., Claim]:
    """Make a claim."""

    def make(delivery_id: int = 1, **changes: object) -> Claim:
        known: dict[str, object] = {
            "delivery_id": delivery_id,
            "endpoint": "crm",
            "event": Event(
                f"msg_{delivery_id}", "sms.received", "sms.received", b'{"body":"\xc3\xa8"}'
            ),
            "attempt": 1,
            "step": 0,
            "elapsed": 0.0,
            "lease": f"lease-{delivery_id}",
        }
        return Claim(**(known | changes))  # type: ignore[arg-type]

    return make


def utc_now() -> datetime:
    """Tell the time as the daemon's clock does."""
    return datetime.now(UTC)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """Give the daemon's clock."""
    return utc_now
