"""A mail that cannot be stored or read stays untouched and holds up no other."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import StoreError, StoreFull, StoreUnavailable
from bridge.model import Arrival, Cursor
from bridge.sources.imap.status import Alarm
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import Ledger, alarms, flags
from tests.sources.imap.source.conftest import Begin, Told


async def test_a_failing_commit_in_the_middle(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """The others are stored and marked, the failed one is untouched, and the cursor below it."""

    async def poison(arrival: Arrival) -> None:
        if arrival.raw == b"c":
            raise StoreError("this cannot be written")

    ledger.before = poison
    for raw in (b"a", b"b", b"c", b"d", b"e"):
        server.add(raw)
    source = begin()
    await ledger.until_at(2)
    await server.until_heard("idling")
    assert sorted(ledger.raws) == [b"a", b"b", b"d", b"e"]
    assert {raw for raw, some in flags(server).items() if not some} == {b"c"}
    assert source.status.open == 1
    # It is tried again, alone, and when it succeeds the cursor passes all of them.
    ledger.before = None
    await server.push(b"f")
    await ledger.until_at(6)
    assert sorted(ledger.raws) == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [line["uid"] for line in told("imap.not_taken")] == [3]


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), StoreFull("full")])
async def test_the_store_is_away(
    server: ScriptedImap, ledger: Ledger, begin: Begin, error: StoreError
) -> None:
    """The mailbox stays untouched, and when the store is back everything is taken."""
    tries = 0

    async def away(arrival: Arrival) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise error

    ledger.before = away
    server.add(b"sms")
    source = begin()
    await server.until(lambda: tries == 2)
    assert server.mails[1].flags == set()
    assert source.status.problem == str(error)
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]


async def test_a_bug_loses_nothing(
    server: ScriptedImap, ledger: Ledger, begin: Begin, lines: list[Line]
) -> None:
    """An exception that nobody foresaw leaves the mail where it is and the others unharmed."""

    async def bug(arrival: Arrival) -> None:
        if arrival.raw == b"a":
            raise ValueError("secret words")

    ledger.before = bug
    for raw in (b"a", b"b"):
        server.add(raw)
    begin()
    await server.until_heard("idling")
    assert ledger.raws == [b"b"]
    assert server.mails[1].flags == set()
    assert "secret words" not in str([line for line in lines if "stack" not in line])
    lines.clear()


async def test_too_big(server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told) -> None:
    """It is not read, not touched, told once, and holds nobody up."""
    before = alarms(Alarm.TOO_BIG)
    server.add(b"x" * 100_001)
    server.add(b"sms")
    begin()
    await ledger.until_at(2)
    assert ledger.raws == [b"sms"]
    assert server.mails[1].flags == set()
    assert not any(words.startswith(("UID FETCH 1 (UID BODY", "UID FETCH 1:")) and "BODY" in words
                   for words in server.heard)  # fmt: skip
    assert len(told("imap.too_big")) == 1
    assert alarms(Alarm.TOO_BIG) == before + 1


async def test_too_big_in_secret(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """A size that was a lie costs a connection or two, and then holds nobody up either."""
    server.add(b"a")
    server.add(b"x" * 20_100_000, size=10)
    server.add(b"b")
    begin()
    await ledger.until_at(3)
    assert sorted(ledger.raws) == [b"a", b"b"]
    assert server.mails[2].flags == set()
    assert [line["uid"] for line in told("imap.too_big")] == [2]


async def test_a_body_that_the_server_cannot_read(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """NIL is no mail: the others are taken, this one is tried again until it can be read."""
    server.add(b"a", nil=True)
    server.add(b"b")
    begin()
    await server.until_heard("idling")
    assert ledger.raws == [b"b"]
    server.mails[1].nil = False
    await server.push(b"c")
    await ledger.until_at(3)
    assert sorted(ledger.raws) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("asked", ["RFC822.SIZE", "BODY.PEEK[]"])
@pytest.mark.parametrize("said", ["NO it is broken", "NO [SERVERBUG] it is broken", None])
async def test_a_mail_over_which_the_server_stumbles(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told,
    asked: str, said: str | None,
) -> None:  # fmt: skip
    """It says NO in the middle of a window, or hangs up: every other mail is taken all the same."""

    async def stumble(session: Session, tag: str, words: str) -> str | None:
        if asked not in words:
            return await session.do_uid_fetch(words)
        for _, uid, mail in session._named(words):
            if mail.raw == b"broken" and said is None:
                session.writer.transport.abort()
            if mail.raw == b"broken":
                return said
            await session.do_uid_fetch(f"{uid} ({asked})")
        return "OK done"

    server.instead["UID FETCH"] = stumble
    good = [b"a", b"b", b"c", b"d"]
    for raw in (b"a", b"b", b"broken", b"c", b"d"):
        server.add(raw)
    source = begin(poll=0.05)
    async with asyncio.timeout(PATIENCE):
        await ledger.until(lambda: set(good) <= set(ledger.raws), 30)
        await server.until_heard("idling", 3)
    assert sorted(ledger.raws) == good
    assert source.status.problem == "1 mails cannot be taken in yet; the log says which"
    assert {line["uid"] for line in told("imap.not_taken")} == {3}
    assert ledger.at == Cursor(7, 2)
    logins = sum(words.startswith("LOGIN") for words in server.heard)
    await server.until_heard("idling", sum(words == "idling" for words in server.heard) + 3)
    assert sum(words.startswith("LOGIN") for words in server.heard) == logins
