"""Neither a refusal nor a log has in it what is private: secrets, numbers, addresses, texts."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict

import pytest

from bridge.errors import ImapRefused
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.protocol import Reply
from bridge.sources.imap.replies import refusal
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.scripted_imap import FULL, SECRET, USER, ScriptedImap, Session, scripted_imap
from tests.sources.imap.parts import Ledger, make_source, running

LIBRARY = "aioimaplib.aioimaplib"
NUMBER = "+393301234567"
TEXT = "News ON"
MAIL = f"Subject: {TEXT}\r\n\r\nFrom: {NUMBER}\r\nBody: {TEXT}\r\n".encode()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"the mail of {NUMBER} is broken", "the mail of *** is broken"),
        (f"the mail of {NUMBER[1:]} is broken", "the mail of *** is broken"),
        ("see [2026-11-20 22:35:31] of 10.0.0.12", "see [2026-11-20 22:35:31] of 10.0.0.12"),
        ("from +39 330 123-4567 to +39 (0)333 12 34 333,", "from *** to ***,"),
        ("mailbox sms@example.com is locked", "mailbox *** is locked"),
        ("mailbox <sms+39330@mail.example.com>, locked", "mailbox *** locked"),
        ("two: a@example.com b@example.com", "two: *** ***"),
        ("user jo with hunter2 is not known", "user *** with *** is not known"),
        ("a bell \a and a\x1b[2J screen", "a bell  and a[2J screen"),
        ("try again in 5 s, error 10054", "try again in 5 s, error 10054"),
    ],
)
def test_a_refusal_is_scrubbed(said: str, told: str) -> None:
    """Numbers, addresses and secrets go, what helps an operator stays."""
    error = refusal("the search", Reply("NO", "", "", said), ("hunter2", "jo", ""))
    assert str(error) == f"the search was refused: NO {told}"


def test_a_refusal_is_short() -> None:
    """A server may talk as long as it likes: a log line has an end."""
    assert len(str(refusal("this", Reply("NO", "", "", "la " * 10_000)))) < 250


async def test_numbers_of_a_refusal_reach_no_log(server: ScriptedImap, lines: list[Line]) -> None:
    """Nor health: what the server says of a command comes out scrubbed everywhere."""

    async def no(session: Session, tag: str, words: str) -> str:
        return f"NO [CANNOT] {USER} has no mail from {NUMBER}"

    server.instead["UID SEARCH"] = no
    source = make_source(Ledger(), server.port)
    async with running(source):
        async with asyncio.timeout(PATIENCE):
            while source.status.problem is None:
                await asyncio.sleep(0)
        known = json.dumps([lines, asdict(source.report())], default=str)
    assert "imap.refused" in known
    assert "has no mail from" in known
    for private in (NUMBER[1:], USER):
        assert private not in known


@pytest.mark.parametrize("login", ["LOGIN", "PLAIN", "XOAUTH2"])
@pytest.mark.parametrize("good", [True, False])
async def test_the_library_says_nothing_of_what_passes_through_it(
    server: ScriptedImap, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    login: str, good: bool,
) -> None:  # fmt: skip
    """With every logger at DEBUG no token, password, number or text of a mail is written."""
    for name in (None, "aioimaplib", LIBRARY):
        caplog.set_level(logging.DEBUG, name)
    server.before_login = [each for each in FULL if each != "SASL-IR"]
    server.add(MAIL)
    secret = SECRET if good else "wr0ng-and-private"
    client = await ImapClient.connect("127.0.0.1", server.port, None, 5, max_literal=1000)
    try:
        if login == "XOAUTH2":
            enter = client.authenticate_xoauth2(USER, secret)
        else:
            if login == "PLAIN":
                server.before_login = [*server.before_login, "LOGINDISABLED"]
                client._protocol.capabilities.add("LOGINDISABLED")
            enter = client.login(USER, secret)
        if good:
            await enter
            await client.select("INBOX", readonly=True)
            assert await client.fetch_raw(1) == MAIL
        else:
            with pytest.raises(ImapRefused):
                await enter
    finally:
        await client.logout()
    # What it prints below WARNING is all that passes through it.
    logging.getLogger(LIBRARY).debug("Sending : %s", secret)
    assert ("LOGIN " if login == "LOGIN" else f"AUTHENTICATE {login}") in " ".join(server.heard)
    said = caplog.text + "".join(capfd.readouterr())
    library = [each for each in caplog.records if each.name.startswith("aioimaplib")]
    caplog.clear()
    for private in (secret, USER, NUMBER, TEXT, base64.b64encode(secret.encode()).decode()[:8]):
        assert private not in said
    assert library == []
