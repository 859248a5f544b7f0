"""Quarantine without room for strangers' mails doesn't stop a mailbox."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge import mail
from bridge.config.settings import StoreSettings
from bridge.model import Arrival, Reason, Receipt, Unreadable
from bridge.sources.imap import fetch
from bridge.sources.imap.source import ImapSource
from bridge.sources.imap.status import Alarm
from bridge.store import Ingest, Mailboxes
from tests.patience import PATIENCE
from tests.servers.scripted_imap import ScriptedImap
from tests.sources.imap.parts import alarms, running, settings
from tests.sources.imap.source.conftest import Told
from tests.sources.peer import pinned_time
from tests.store.making import identity, opened, sms


def now() -> datetime:
    return datetime.now(UTC)


def stranger(number: int) -> bytes:
    return b"From: x@stranger.example\r\nSubject: %d\r\n\r\nhi\r\n" % number


def believed(number: int) -> bytes:
    return b"From: smsin@provider.example\r\nSubject: %d\r\n\r\nhi\r\n" % number


async def test_only_the_strangers_mail_waits(
    server: ScriptedImap, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real store: believed mails behind it are taken, it stays, and is tried again."""
    monkeypatch.setattr(fetch, "_AGAIN", 0.01)
    store_settings = StoreSettings(
        url=f"sqlite:///{tmp_path}/bridge.db", min_free=0, quarantine_mails=1
    )
    tries: list[bytes] = []
    retried = asyncio.Event()
    before = alarms(Alarm.QUARANTINE_FULL)
    async with opened(store_settings) as store:

        async def accept(arrival: Arrival) -> Receipt:
            tries.append(arrival.raw)
            if tries.count(stranger(2)) > 1:
                retried.set()
            email = mail.decode(arrival.raw)
            if getattr(email, "sender", None) == "x@stranger.example":
                return await store.ingest(Ingest(arrival, Unreadable(Reason.NO_PROVIDER, "why")))
            number = arrival.raw.decode()
            return await store.ingest(sms(identity(number, email=number), (), arrived=arrival))

        for raw in (stranger(1), stranger(2), stranger(3), believed(4), believed(5)):
            server.add(raw)
        source = ImapSource(
            settings(server.port, poll=0.05, idle=False),
            accept, Mailboxes(store, "us", now), None, clock=pinned_time,
        )  # fmt: skip
        async with running(source):
            await server.until(lambda: bool(server.mails[4].flags and server.mails[5].flags))
            await server.push(believed(6))
            await server.until(lambda: bool(server.mails[6].flags))
            async with asyncio.timeout(PATIENCE):
                await retried.wait()
    assert server.mails[1].flags  # there was room for one
    assert server.mails[2].flags == server.mails[3].flags == set()
    (line,) = told("imap.quarantine_full")
    assert (line["level"], line["uid"]) == ("error", 2)
    assert "quarantine holds 1 mails" in line["detail"]
    assert alarms(Alarm.QUARANTINE_FULL) == before + 2
