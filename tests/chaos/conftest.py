"""What every storm needs: a secret, a receiver that verifies, and dice with a known seed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.signing.standard_webhooks import generate_secret
from tests.servers.dovecot import DovecotServer, running_dovecot
from tests.servers.dovecot import dovecot as dovecot
from tests.servers.postgres import postgres as postgres
from tests.servers.receiver import Receiver

_LONG = ("chaos/test_kill", "chaos/test_imap")


@pytest.fixture
def secret() -> str:
    """Make a fresh signing secret."""
    return generate_secret()


@pytest.fixture
def receiver(secret: str) -> Iterator[Receiver]:
    """Run a healthy receiver that verifies every webhook."""
    with Receiver(secret) as running:
        yield running


@pytest.fixture
def mortal() -> Iterator[DovecotServer]:
    """Run a Dovecot that only this test uses, so that it may be stopped."""
    with running_dovecot() as server:
        yield server


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Give random moments; a failure shows the seed, and CHAOS_SEED brings the same ones back."""
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().getrandbits(32))
    sys.stdout.write(f"CHAOS_SEED={seed} ({request.node.name})\n")
    return random.Random(seed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts daemons: all; and begin with what lasts longest, not to wait for it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.processes)
    items.sort(key=lambda item: not any(each in item.nodeid for each in _LONG))
