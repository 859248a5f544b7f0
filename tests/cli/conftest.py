"""A config and a real SQLite store with a bit of everything in it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge import app
from bridge.cli import root
from bridge.clock import Clock
from bridge.config.load import load
from bridge.model import (
    Arrival,
    Envelope,
    Receipt,
)
from bridge.store import Database, Store

SECRET = "whsec_" + base64.b64encode(b"example-" * 4).decode()
NUMBER = "+393301234567"
MAIL = (
    "From: smsin@agiletelecom.com\r\nTo: sms-token@example.com\r\n"
    "Subject: Agile Telecom -- SMS received\r\nMessage-ID: <{id}@agiletelecom.com>\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\n"
    f"From: {NUMBER}\r\nTo: +393331234333\r\nDate/Time: 20260408143052\r\nBody: {{body}}\r\n"
)
CONFIG = f"""
[store]
min_free = 0
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
trust = {{ anyone = true }}
[[endpoints]]
name = "crm"
url = "https://user:pass@crm.internal/sms?token=t0ken"
secret = "{SECRET}"
[[endpoints]]
name = "other"
url = "http://127.0.0.1:9/sms"
secret = "{SECRET}"
to = ["+390212345678"]
"""


def mail(message_id: str = "1", body: str = "News ON") -> bytes:
    return MAIL.format(id=message_id, body=body).encode()


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's end."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


@pytest.fixture
def smsbridge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Run a command in this process as `main` does, from a folder without a config."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("SMSBRIDGE_CONFIG", raising=False)
    monkeypatch.setattr("bridge.config.load.PLACES", (Path("config.toml"),))

    def run(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        # Our own `main` inside click's isolation: CliRunner.invoke would pass by our errors.
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                code = root.main([str(each) for each in arguments])
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
            sys.stdout.flush()
            return Ran(code, out.getvalue().decode(), err.getvalue().decode())

    return run


@dataclass(frozen=True, slots=True)
class Filled:
    """What the store holds: one message for crm (pending), filtered for other; one unreadable."""

    config: Path
    message_id: str
    quarantined: int


def store(config: Path, raw: bytes) -> Receipt:
    """Store one mail as the daemon would, read with this config."""
    settings = load(config)
    moment = datetime.now(UTC)
    envelope = Envelope("192.0.2.1", "", ("t0ken@example.com",))
    arrival = Arrival(envelope, "127.0.0.1:2525", raw, moment)
    Database.open(settings.store, migrate=True).close()

    async def take() -> Receipt:
        store = await Store.beside(settings.store, owner="test", clock=Clock(lambda: moment))
        try:
            return await app.intake_of(settings, store).accept(arrival)
        finally:
            await store.close()

    return asyncio.run(take())


@pytest.fixture
def filled(config: Path) -> Filled:
    message = store(config, mail())
    unreadable = store(config, b"Subject: hello\r\n\r\nno SMS")
    assert message.message_id is not None
    return Filled(config, message.message_id, unreadable.arrival_id)


@pytest.fixture
def environment() -> dict[str, str]:
    """Give a subprocess what it needs to find this checkout, and no config."""
    kept = {name: value for name, value in os.environ.items() if name != "SMSBRIDGE_CONFIG"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
