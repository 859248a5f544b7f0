"""A post is acknowledged in the provider's own words if and only if it is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from bridge import app, metrics
from bridge.errors import StoreFull, StoreUnavailable
from bridge.model import Arrival, Caller, Envelope, Receipt, Trust, Unreadable
from bridge.operations import quarantine as operations
from bridge.providers.posts import Answer, Posts
from bridge.reader import Reading
from bridge.store import queries
from tests.patience import PATIENCE
from tests.sources.posts.lines import running, settings

TOKEN = "agile-token-0123456789"
TWILIO = "twilio-token-0123456789"
OLD = "twilio-token-old-0123456789"
PROVIDERS = f"""
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
trust = {{ anyone = true }}
[providers.post]
token = "{TOKEN}"
[[providers]]
name = "twilio"
[providers.post]
tokens = ["{TWILIO}", "{OLD}"]
secret = "12345"
[[providers]]
name = "url_networks"
[providers.post]
token = "url-networks-0123456789"
"""
AGILE = {
    "originator": "+393301234567",
    "destination": "+393331234333",
    "date_time": "20260408143052",
    "text": "News ON",
}
MAIL = (
    "From: smsin@agiletelecom.com\r\nTo: x@example.com\r\nMessage-ID: <{id}@agiletelecom.com>\r\n"
    "\r\nFrom: +393301234567\r\nTo: +393331234333\r\nDate/Time: 20260408143052\r\nBody: News ON\r\n"
)


async def test_a_post_is_stored_and_answered_in_the_providers_words(tmp_path: Path) -> None:
    """+OK for Agile, and a message in the ledger with the post's raw bytes."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        answer = await line.post(f"/in/agile/{TOKEN}", AGILE)
        assert (answer.status_code, answer.content) == (200, b"+OK")
        assert await line.arrivals() == [("http", "message")]
        stored = await operations.raw_arrival(line.store, 1)
        assert stored.startswith(b"POST /in/agile HTTP/1.1\r\ncontent-type: application/x-www-form")
        assert TOKEN.encode() not in stored
        shown = await line.store.read(queries.list_messages)
        message = shown[0].message
        assert message.trust is not None
        assert (message.trust.by, message.email, message.sms.body) == ("token", None, "News ON")
        # What is stored can be read again by itself.
        kept = await line.store.read(partial(queries.show_arrival, arrival_id=1))
        again = await line.intake.read(kept.arrival)
        assert isinstance(again, Reading)
        assert again.messages[0].message.id == message.id


async def test_one_sms_that_comes_both_ways_leaves_once(tmp_path: Path) -> None:
    """The mail of a post is a duplicate, and so is the post of a mail, and a repeated post."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        for _ in range(2):
            assert (await line.post(f"/in/agile/{TOKEN}", AGILE)).content == b"+OK"
        mail = Arrival(
            Envelope("127.0.0.1", "smsin@agiletelecom.com", ("x@example.com",)),
            "smtp",
            MAIL.format(id="1").encode(),
            app.now(),
        )
        receipt = await line.intake.accept(mail)
        assert receipt.outcome == "duplicate"
        # A second mail of equal content is a second SMS: this one came by post once only.
        other = Arrival(mail.origin, "smtp", MAIL.format(id="2").encode(), app.now())
        assert (await line.intake.accept(other)).outcome == "message"
        assert (await line.post(f"/in/agile/{TOKEN}", AGILE)).content == b"+OK"
        assert [outcome for _, outcome in await line.arrivals()].count("message") == 2


async def test_two_posts_without_id_and_time_are_two_messages(tmp_path: Path) -> None:
    """Nothing tells a genuine repeat from a retry, and losing an SMS is worse than sending two."""
    values = {"from": "+61400000001", "sms_number": "+61400000002", "body": "1"}
    async with running(settings(tmp_path, PROVIDERS)) as line:
        for _ in range(2):
            answer = await line.post("/in/url_networks/url-networks-0123456789", values)
            assert answer.status_code == 200
        assert await line.arrivals() == [("http", "message")] * 2


@pytest.mark.parametrize(
    "path",
    [
        "/", "/in/agile", "/in/agile/", f"/in/agile/{TOKEN}x", f"/in/agile/{TOKEN[:-1]}",
        f"/in/none/{TOKEN}", f"/in/twilio/{TOKEN}", f"/in/agile/{TOKEN}/more", "/in/agile/%ff%fe",
        f"/IN/agile/{TOKEN}", "/healthz",
    ],
)  # fmt: skip
async def test_a_wrong_address_is_told_nothing(tmp_path: Path, path: str) -> None:
    """404 and an empty body, or the server's own constant line, whatever is wrong."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        answer = await line.post(path, AGILE)
        assert answer.status_code == 404
        assert b"agile" not in answer.content
        assert "smsbridge" in answer.headers["server"]
        assert await line.arrivals() == []


async def test_what_is_wrong_is_refused_and_not_stored(tmp_path: Path) -> None:
    """Each with its status; Twilio's answers are TwiML, always."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        agile, twilio = f"/in/agile/{TOKEN}", f"/in/twilio/{TWILIO}"
        assert (await line.client.get(agile)).status_code == 405
        assert (await line.client.delete(twilio)).status_code == 405
        big = await line.client.post(agile, content=b"x" * 20_000)
        assert big.status_code == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"x" * 1000

        assert (await line.client.post(agile, content=chunks())).status_code == 413
        cloud = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        assert (await line.client.post(twilio, content=b"{}", headers=cloud)).status_code == 401
        image = await line.client.post(agile, content=b"x", headers={"Content-Type": "image/png"})
        assert image.status_code == 415
        for address in (twilio, f"/in/twilio/{OLD}"):
            unsigned = await line.post(address, {"From": "+1", "Body": "x"})
            assert unsigned.status_code == 401
            assert unsigned.content == b"<Response></Response>"
            assert unsigned.headers["content-type"] == "text/xml"
        assert await line.arrivals() == []


async def test_posts_with_a_wrong_token_are_counted_for_providers_that_exist(
    tmp_path: Path,
) -> None:
    """A token rotated on one side only is seen; names that somebody tries are no series."""

    def counted(provider: str) -> float | None:
        labels = {"provider": provider, "status": "404"}
        return metrics.REGISTRY.get_sample_value("smsbridge_posts_refused_total", labels)

    before = counted("agile") or 0.0
    async with running(settings(tmp_path, PROVIDERS)) as line:
        assert (await line.post("/in/agile/no-longer-the-token", AGILE)).status_code == 404
        assert (await line.post("/in/made-up/no-longer-the-token", AGILE)).status_code == 404
    assert counted("agile") == before + 1
    assert counted("made-up") is None


async def test_authentic_and_unreadable_is_quarantine_and_acknowledged(tmp_path: Path) -> None:
    """The provider would throw it away; here it waits for the fix."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        answer = await line.post(f"/in/agile/{TOKEN}", {**AGILE, "date_time": "yesterday"})
        assert (answer.status_code, answer.content) == (200, b"+OK")
        assert await line.arrivals() == [("http", "quarantine")]
        shown = await operations.show_arrival(line.store, 1)
        assert "date_time" in str(shown["detail"])
        assert shown["peer"] == "127.0.0.1"


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), StoreFull("full"), ValueError("x")])
async def test_our_own_fault_is_a_503(
    tmp_path: Path, error: Exception, lines: list[dict[str, object]]
) -> None:
    """The provider tries again, and is told nothing about us."""

    async def fail(_: Arrival) -> Receipt:
        raise error

    async with running(settings(tmp_path, PROVIDERS), fail) as line:
        answer = await line.post(f"/in/agile/{TOKEN}", AGILE)
        assert (answer.status_code, answer.content) == (503, b"")
    lines.clear()  # a bug leaves its stack


@pytest.mark.parametrize("step", ["stored", "admit", "verify", "answer"])
async def test_a_bug_is_answered_as_the_provider_wants_it(
    tmp_path: Path, step: str, lines: list[dict[str, object]]
) -> None:
    """Twilio would send any text to the person who wrote; and it must try again."""

    def fail(*_: object) -> Answer:
        raise ZeroDivisionError

    def broken(each: Posts) -> Posts:
        # `answer` comes after the commit, and is made of these.
        return replace(each, **({"echo": fail} if step == "answer" else {step: fail}))

    async with running(settings(tmp_path, PROVIDERS)) as line:
        providers = {name: broken(each) for name, each in line.source._providers.items()}
        line.source.use(providers, line.source._tokens)
        if step == "answer":
            answer, body = await line.post(f"/in/agile/{TOKEN}", AGILE), b""
        else:
            answer, body = await line.post(f"/in/twilio/{TWILIO}", AGILE), b"<Response></Response>"
        assert (answer.status_code, answer.content) == (503, body)
        assert [each["event"] for each in lines if each["level"] == "error"] == ["posts.bug"]
    lines.clear()  # a bug leaves its stack


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n\r\n",
        b"X: " + b"x" * 10_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_told_nothing_either(tmp_path: Path, head: bytes) -> None:
    """Whatever Twilio gets as plain text, it sends to the person who wrote."""
    async with running(settings(tmp_path, PROVIDERS)) as line, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(*line.source.addresses[0])
        start = f"POST /in/twilio/{TWILIO} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        writer.write(start + head)
        answer, _, sent = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert (answer.split(b" ")[1], sent) == (b"400", b"")


@pytest.mark.parametrize("path", ["/", "/in/agile", "/in/agile/wrong-token-0123456789", "/x/y/z"])
async def test_a_scanner_sees_no_difference(tmp_path: Path, path: str) -> None:
    """An address that almost exists is answered as one that doesn't, byte for byte."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        for method in ("GET", "POST", "OPTIONS", "PROPFIND"):
            answers = [await line.client.request(method, each) for each in (path, "/robots.txt")]
            one, other = ((each.status_code, each.content, each.headers) for each in answers)
            assert one[:2] == other[:2] == (404, b"")
            assert {*one[2]} == {*other[2]}


async def test_a_long_sms_in_a_url(tmp_path: Path) -> None:
    """Providers that send GET write each letter as up to nine characters."""
    text = "春" * 1600
    values = {"From": "+15550100", "To": "+15550101", "Body": text, "MessageSid": "SM1"}
    url = f"/in/twilio/{TWILIO}?{urlencode(values)}"
    made = RequestValidator("12345").compute_signature(f"https://sms.example.com{url}", {})
    async with running(settings(tmp_path, PROVIDERS)) as line:
        answer = await line.client.get(url, headers={"X-Twilio-Signature": made})
        assert answer.status_code == 200
        (shown,) = await line.store.read(queries.list_messages)
        assert shown.message.sms.body == text


async def test_a_client_that_goes_cancels_no_commit(tmp_path: Path) -> None:
    """What the store was given is committed, and counts as a duplicate when it comes again."""
    entered, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: Arrival) -> Receipt:
        entered.set()
        await go.wait()
        done.set()
        raise StoreUnavailable("too late")

    async with running(settings(tmp_path, PROVIDERS), slow) as line, asyncio.timeout(PATIENCE):
        host, port = line.source.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        body = b"originator=1"
        writer.write(
            b"POST /in/agile/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%b"
            % (TOKEN.encode(), len(body), body)
        )
        await entered.wait()
        writer.transport.abort()
        go.set()
        await done.wait()
        assert not await reader.read(1)


async def test_the_peer_behind_a_proxy_is_the_forwarded_one(tmp_path: Path) -> None:
    """Only of a proxy that the config names, and only the last hop that it saw."""
    seen: list[str | None] = []

    async def note(arrival: Arrival) -> Receipt:
        seen.append(arrival.peer)
        raise StoreUnavailable("noted")

    async with running(settings(tmp_path, PROVIDERS), note) as line:
        for value in ("203.0.113.9", "198.51.100.1, 203.0.113.9", "nonsense", ""):
            await line.post(f"/in/agile/{TOKEN}", AGILE, headers={"X-Forwarded-For": value})
        # HAProxy doesn't append to the caller's header, it adds its own below.
        twice = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.9")]
        await line.post(f"/in/agile/{TOKEN}", AGILE, headers=twice)
    assert seen == ["203.0.113.9", "203.0.113.9", "127.0.0.1", "127.0.0.1", "203.0.113.9"]


def test_a_mail_that_begins_like_a_post_is_no_post(tmp_path: Path) -> None:
    """A stranger's mail never reaches the posts, which its SMTP session did not pay a token for."""
    config = settings(tmp_path, PROVIDERS)
    reader = app.reader_of(config)
    raw = b"POST /in/agile HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\nx=1"
    arrival = Arrival(Envelope("127.0.0.1", "", ()), "smtp", raw, app.now())
    found = asyncio.run(reader.read(arrival))
    assert isinstance(found, Unreadable)
    assert found.provider is None


def test_what_the_source_believed_is_not_judged_twice(tmp_path: Path) -> None:
    """A signature is checked once as it comes in; what is read back from the store, anew."""
    reader = app.reader_of(settings(tmp_path, PROVIDERS))
    raw = b"POST /in/twilio HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n"
    raw += b"From=%2B15550100&To=%2B15550101&Body=x&MessageSid=SM1"
    believed = Trust("signature", "seen by the source")
    for origin, trust in ((Caller("127.0.0.1", believed), believed), (Caller("127.0.0.1"), None)):
        found = asyncio.run(reader.read(Arrival(origin, "posts", raw, app.now())))
        assert isinstance(found, Unreadable if trust is None else Reading)
        if isinstance(found, Reading):
            assert found.messages[0].message.trust == trust


def test_no_log_line_holds_a_token_or_number(
    tmp_path: Path, lines: Sequence[dict[str, object]]
) -> None:
    """Not of the right ones, the wrong ones, or what a post says."""

    async def use() -> None:
        async with running(settings(tmp_path, PROVIDERS)) as line:
            await line.post(f"/in/agile/{TOKEN}", AGILE)
            await line.post(f"/in/agile/{TOKEN}wrong", AGILE)
            await line.post(f"/in/twilio/{TWILIO}", {"From": "+393301234567"})

    asyncio.run(use())
    written = json.dumps(lines)
    for secret in (TOKEN, TWILIO, "+393301234567", "News ON", "12345"):
        assert secret not in written
    assert {"posts.wrong_token", "posts.refused"} <= {str(line["event"]) for line in lines}
