"""A name server with the provider's key, and what asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.trust.resolver import DnsNames
from tests.patience import PATIENCE
from tests.servers.dns import NameServer, name_server
from tests.trust.signing import NAME, record


@pytest.fixture
async def dns() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        server.zone[NAME] = [record()]
        yield server


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge no mail by how busy the machine is."""
    monkeypatch.setattr("bridge.trust.dkim.DEADLINE", PATIENCE)


@pytest.fixture
def names(dns: NameServer) -> DnsNames:
    return asked_of(dns)


def asked_of(dns: NameServer, patience: float = 3600.0, **more: Any) -> DnsNames:
    """Ask this name server; give a short `timeout` (seconds) only where it does not answer."""
    given = {"nameservers": ["127.0.0.1"], "port": dns.port, "timeout": PATIENCE} | more
    return DnsNames(patience, **given)
