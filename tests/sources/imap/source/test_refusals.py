"""A refused login or a server that is away is an alarm, never a loop of logins."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import ConfigError
from bridge.sources.imap.status import Alarm
from tests.patience import PATIENCE
from tests.servers.scripted_imap import USER, ScriptedImap, Session
from tests.sources.imap.parts import Ledger, alarms, make_source, trouble
from tests.sources.imap.source.conftest import Begin, Told


@pytest.mark.unhurried
async def test_a_refused_login_is_an_alarm_and_no_loop(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """One line, one more try soon, then long pauses; the daemon starts and stops all the same."""
    before = alarms(Alarm.REFUSED)
    source = begin(password="wrong", refused_pause=5)
    await source.listening.wait()
    await trouble(source)
    (line,) = told("imap.refused")
    assert line["level"] == "error"
    assert 0.4 <= line["pause"] <= 0.6
    assert "wrong" not in str(line)
    assert USER not in str(line)
    await asyncio.sleep(1.2)
    assert sum(words.startswith("LOGIN") for words in server.heard) == 2
    assert len(told("imap.refused")) == 1
    assert alarms(Alarm.REFUSED) == before + 2  # told once, counted each time


async def test_the_default_pauses_of_a_refused_login(
    server: ScriptedImap, begin: Begin, told: Told
) -> None:
    """Half a minute the first time, then five minutes: no server locks out who asks so seldom."""
    source = begin(password="wrong")
    await trouble(source)
    (line,) = told("imap.refused")
    assert 27 <= line["pause"] <= 33
    assert source._refusals == 1


async def test_a_refusal_that_is_no_login_is_tried_again_soon(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """A server that says no to a search for a moment costs a moment, not five minutes."""
    refused = 0

    async def no(session: Session, tag: str, words: str) -> str:
        nonlocal refused
        refused += 1
        if refused == 2:
            del server.instead["UID SEARCH"]
        return "NO a hiccup"

    server.instead["UID SEARCH"] = no
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert refused == 2


async def test_tokens(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """Each connection gets a fresh token, and a refused one is an alarm that passes."""
    given = ["stale", "secret", "secret"]
    rejected: list[str] = []

    class Tokens:
        async def token(self) -> str:
            return given.pop(0)

        def reject(self, token: str) -> None:
            rejected.append(token)

    source = begin(tokens=Tokens(), refused_pause=0.05)
    await server.until_heard("idling")
    assert source.status.problem is None
    server.hang_up()
    server.add(b"sms")
    await ledger.until_at(1)
    assert given == []
    assert rejected == ["stale"]


@pytest.mark.unhurried
async def test_a_token_that_became_old_costs_no_pause(
    server: ScriptedImap, begin: Begin, told: Told
) -> None:
    """After a refused token a fresh one is tried at once; refused again, it is as any login."""

    class Tokens:
        asked = 0

        async def token(self) -> str:
            self.asked += 1
            return "stale"

        def reject(self, token: str) -> None:
            pass

    tokens = Tokens()
    source = begin(tokens=tokens, refused_pause=3000)
    await server.until(lambda: tokens.asked == 2)
    async with asyncio.timeout(PATIENCE):
        while source._refusals < 2:
            await asyncio.sleep(0.01)
    assert told("imap.refused")[0]["pause"] < 5
    assert source._refusal_pause() > 2000


@pytest.mark.unhurried
async def test_a_server_that_is_away(ledger: Ledger, told: Told) -> None:
    """The source counts as started, tries with growing pauses, and stops at once."""
    source = make_source(ledger, 1)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    assert (await trouble(source)).startswith("cannot connect")
    source.stop()
    async with asyncio.timeout(PATIENCE):
        await run
    assert len(told("imap.unavailable")) == 1


def test_a_ca_that_cannot_be_used() -> None:
    """The error names the mailbox and the key, before anything is connected to."""
    with pytest.raises(ConfigError) as raised:
        make_source(Ledger(), 1, tls=True, tls_ca="/nowhere/ca.pem")
    assert raised.value.key == "imap.inbox.tls_ca"
