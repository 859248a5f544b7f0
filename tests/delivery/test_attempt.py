"""One HTTP call against real servers, from well-behaved to hostile."""

from __future__ import annotations

import asyncio
import io
import ssl
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

import bridge
from bridge import logs
from bridge.delivery.attempt import MAX_ANSWER, attempt, retry_after
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.model import Claim, Outcome
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.certificates import self_signed
from tests.delivery.servers import (
    GZIP_BOMB,
    HEAD_200,
    NASTY,
    Answer,
    closed_port,
    closes,
    hangs,
    receiver,
    repeats,
    resets,
    says,
    sends,
)

Make = Callable[..., Endpoint]
MakeClaim = Callable[..., Claim]
Clock = Callable[[], datetime]
NOW = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)

# What each hostile server's attempt must come to: the status, or the error in its place.
EXPECTED: dict[str, int | str] = {
    "hanging": "timeout",
    "dripping head": "timeout",
    "dripping body": "timeout",
    "500": 500,
    "429": 429,
    "302": 302,
    "101": 101,
    "reset before": "protocol",
    "reset in answer": "protocol",
    "closed before": "protocol",
    "closed in answer": "protocol",
    "no HTTP": "protocol",
    "endless headers": "protocol",
    "endless header": "protocol",
    "endless status line": "protocol",
    "endless 1xx": "protocol",
    "dripping 1xx": "protocol",
    "500 with an endless body": 500,
    "endless chunk extension": "timeout",
    "endless trailers": "protocol",
}


async def _try(
    endpoint: Endpoint, claim: Claim, tls: ssl.SSLContext, clock: Clock = lambda: NOW
) -> Outcome:
    async with open_transport(endpoint, tls) as transport:
        return await attempt(transport, endpoint, claim, clock)


async def test_request_is_the_contracts(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext, clock: Clock
) -> None:
    """The stored bytes go out as they are, with the contract's headers, and verify."""
    secret = generate_secret()
    async with receiver(says(200)) as server:
        endpoint = endpoint_at(server.url + "?key=%2Fa+b", keys=(parse_secret(secret),))
        outcome = await _try(endpoint, claim_of(7, attempt=3, sequence=12), tls, clock)
        [request] = server.requests
    assert (outcome.status, outcome.error, outcome.answer) == (200, None, b"ok")
    assert request.line == "POST /hook?key=%2Fa+b HTTP/1.1"
    assert request.body == claim_of(7).event.body
    assert Webhook(secret).verify(request.body, dict(request.headers)) == {"body": "è"}
    assert set(request.headers) == {
        "host", "content-type", "content-length", "user-agent", "accept", "accept-encoding",
        "webhook-id", "webhook-timestamp", "webhook-signature", "webhook-attempt",
        "webhook-sequence",
    }  # fmt: skip
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"smsbridge/{bridge.__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["webhook-id"] == "msg_7"
    assert request.headers["webhook-attempt"] == "3"
    assert request.headers["webhook-sequence"] == "12"


async def test_a_possible_duplicate_says_so(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Where an earlier request may have arrived, and only there."""
    async with receiver(says(200)) as server:
        for sent_before in (True, False):
            await _try(endpoint_at(server.url), claim_of(sent_before=sent_before), tls)
        headers = [each.headers for each in server.requests]
    assert [each.get("webhook-possible-duplicate") for each in headers] == ["true", None]


@pytest.mark.parametrize(
    "answer",
    [says(200), says(500), closes, resets, sends(b"220 mail.example.com ESMTP\r\n"), hangs],
)
@pytest.mark.unhurried
async def test_what_was_sent_may_have_arrived(
    answer: Answer, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Whatever comes of a request that had begun to be sent."""
    async with receiver(answer) as server:
        outcome = await _try(endpoint_at(server.url, timeout=1.0), claim_of(), tls)
    assert outcome.sent
    assert len(server.requests) == 1


async def test_what_was_not_sent_cannot_have_arrived(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Nobody listens, the name is unknown, TLS fails, the proxy refuses, or the address does."""
    async with receiver(says(403)) as plain:
        port = plain.url.rpartition(":")[2]
        for url, changes in (
            (f"http://127.0.0.1:{closed_port()}/", {}),
            ("http://no-such-host.invalid/", {}),
            (f"https://127.0.0.1:{port}", {"timeout": 1.0}),  # it says nothing to a TLS hello
            ("https://crm.example.com/", {"proxy": plain.url.removesuffix("/hook")}),
            ("http://169.254.169.254/", {}),
        ):
            outcome = await _try(endpoint_at(url, **changes), claim_of(), tls)
            assert outcome.error is not None
            assert not outcome.sent, url


@pytest.mark.unhurried
async def test_a_connection_that_takes_too_long_has_sent_nothing(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """The deadline comes while TLS is being agreed on."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        endpoint = endpoint_at(f"https://127.0.0.1:{port}/", timeout=1.0)
        outcome = await _try(endpoint, claim_of(), tls)
        await ended.wait()
    assert (outcome.error, outcome.sent) == ("timeout", False)


async def test_password_in_the_url_becomes_basic_authentication(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A name and password in the URL are sent as the header that they mean."""
    async with receiver(says(204, body=b"")) as server:
        url = server.url.replace("http://", "http://name:pass%40word@")
        outcome = await _try(endpoint_at(url), claim_of(), tls)
        [request] = server.requests
    assert outcome.status == 204
    assert request.headers["authorization"] == "Basic bmFtZTpwYXNzQHdvcmQ="


async def test_connection_is_used_again(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext, clock: Clock
) -> None:
    """Attempts one after the other share a connection."""
    async with receiver(says(200)) as server:
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            for number in range(5):
                await attempt(transport, endpoint, claim_of(number), clock)
        assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.unhurried
async def test_connection_that_the_server_closed_costs_no_attempt(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext, clock: Clock
) -> None:
    """A pooled connection that the server closed meanwhile is replaced unseen."""
    async with receiver(sends(HEAD_200 + b"Content-Length: 2\r\n\r\nok", then=closes)) as server:
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            for number in range(3):
                assert (await attempt(transport, endpoint, claim_of(number), clock)).status == 200
                await asyncio.sleep(0.05)  # the time in which its FIN comes
        assert (len(server.requests), server.connections) == (3, 3)


async def test_environment_is_not_obeyed(
    endpoint_at: Make,
    claim_of: MakeClaim,
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy in the environment is not used: only the config says where webhooks go."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    async with receiver(says(200)) as server:
        assert (await _try(endpoint_at(server.url), claim_of(), tls)).status == 200


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.unhurried
async def test_hostile_server_is_an_outcome_in_bounded_time(
    name: str, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Whatever a server does, the attempt ends by its deadline with the outcome that it was."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with receiver(NASTY[name]) as server:
        outcome = await _try(endpoint_at(server.url, timeout=0.4), claim_of(), tls)
        assert len(server.requests) == 1
    assert (outcome.error or outcome.status) == EXPECTED[name]
    assert (outcome.error is None) != (outcome.status is None)
    assert outcome.duration < 0.8
    assert loop.time() - began < 2


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("endless headers", NASTY["endless headers"]),
        ("endless header", NASTY["endless header"]),
        ("endless 1xx", repeats(b"HTTP/1.1 103 \r\n\r\n" * 20_000)),
        ("pipelined answers", repeats((HEAD_200 + b"Content-Length: 1\r\n\r\nx") * 20_000)),
        ("endless trailers", NASTY["endless trailers"]),
        (
            "gzip bomb",
            sends(
                HEAD_200 + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP_BOMB),
                GZIP_BOMB,
                then=hangs,
            ),
        ),
        ("endless body", sends(HEAD_200 + b"\r\n", then=repeats(b"x" * 65536))),
        (
            "endless chunks",
            sends(
                HEAD_200 + b"Transfer-Encoding: chunked\r\n\r\n", then=repeats(b"1\r\nx\r\n" * 5000)
            ),
        ),
    ],
)
@pytest.mark.unhurried
async def test_hostile_answer_stays_small(
    name: str, answer: Answer, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """An answer without end costs little memory, little time, and at most 4 KiB are kept."""
    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url, timeout=2.0)
        tracemalloc.start()
        try:
            outcome = await _try(endpoint, claim_of(), tls)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(outcome.answer) <= MAX_ANSWER
    assert peak < 2 * 1024**2, f"{name}: {peak}"
    if name == "gzip bomb":
        assert outcome.answer == GZIP_BOMB[:MAX_ANSWER]
    assert outcome.duration < 1.5


async def test_endless_interim_answers_leave_the_loop_to_others(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """An endpoint that floods with 1xx answers cannot keep the loop from the other lanes."""
    longest = 0.0  # seconds of this thread's processor: a machine that is busy uses none of it

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    async with receiver(NASTY["endless 1xx"]) as server:
        watching = asyncio.create_task(watch())
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            outcomes = await asyncio.gather(
                *(attempt(transport, endpoint, claim_of(n), lambda: NOW) for n in range(10))
            )
        watching.cancel()
    assert {outcome.error for outcome in outcomes} == {"protocol"}
    assert longest < 0.5


async def test_big_whole_answer_counts(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A 2xx answer that goes on after 4 KiB is a success with its first 4 KiB."""
    async with receiver(says(200, body=b"y" * 100_000)) as server:
        outcome = await _try(endpoint_at(server.url), claim_of(), tls)
    assert (outcome.status, outcome.error, outcome.answer) == (200, None, b"y" * MAX_ANSWER)


async def test_interim_answer_is_skipped(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A few 1xx answers before the final one are what HTTP allows."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with receiver(sends(hints, hints, then=says(202))) as server:
        outcome = await _try(endpoint_at(server.url), claim_of(), tls)
    assert outcome.status == 202


async def test_redirect_is_not_followed(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A redirect is the answer, and nothing is sent to where it points."""
    async with (
        receiver(says(200)) as other,
        receiver(says(307, f"Location: {other.url}")) as server,
    ):
        outcome = await _try(endpoint_at(server.url), claim_of(), tls)
        assert (outcome.status, len(server.requests), len(other.requests)) == (307, 1, 0)


async def test_retry_after_is_read_with_our_clock(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A Retry-After date counts from the injected clock, whatever the status."""
    until = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    async with receiver(says(503, f"Retry-After: {until}")) as server:
        outcome = await _try(endpoint_at(server.url), claim_of(), tls)
    assert (outcome.status, outcome.retry_after) == (503, 90.0)


async def test_nobody_listens(endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext) -> None:
    """A refused connection is `connect`, in the system's own words."""
    outcome = await _try(endpoint_at(f"http://127.0.0.1:{closed_port()}/"), claim_of(), tls)
    assert (outcome.status, outcome.error) == (None, "connect")
    assert outcome.detail == "no connection: Connection refused"


async def test_unknown_host(endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext) -> None:
    """A name that does not resolve is `connect`."""
    outcome = await _try(endpoint_at("http://no-such-host.invalid/"), claim_of(), tls)
    assert (outcome.status, outcome.error) == (None, "connect")


async def test_unknown_authority_is_refused(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """A server whose certificate nobody vouches for gets nothing; once trusted it does."""
    certificate, key = tmp_path / "bridge.pem", tmp_path / "bridge.key"
    self_signed(tmp_path, "bridge")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    async with receiver(says(200), server_side) as server:
        endpoint = endpoint_at(server.url)
        outcome = await _try(endpoint, claim_of(), tls)
        assert (outcome.status, outcome.error) == (None, "tls")
        assert outcome.detail == "the certificate is not trusted: self-signed certificate"
        assert server.requests == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert (await _try(endpoint, claim_of(), trusting)).status == 200


@pytest.mark.unhurried
async def test_plain_server_behind_https_is_tls(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A server that speaks no TLS behind an https URL is `tls`."""
    async with receiver(says(200)) as server:
        url = server.url.replace("http://", "https://")
        outcome = await _try(endpoint_at(url, timeout=1.0), claim_of(), tls)
    assert outcome.error in {"tls", "protocol", "timeout"}
    assert outcome.status is None


class _Broken(httpx.AsyncBaseTransport):
    """A transport with a bug in it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise KeyError(request.content)


async def test_bug_is_an_outcome_that_quotes_nothing(
    endpoint_at: Make, claim_of: MakeClaim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in an attempt is `internal` and logged, and neither shows the message."""
    lines = io.StringIO()
    monkeypatch.setattr(logs._output, "stream", lines)
    outcome = await attempt(_Broken(), endpoint_at("http://127.0.0.1/"), claim_of(), lambda: NOW)
    assert (outcome.status, outcome.error) == (None, "internal")
    assert outcome.detail == "a bug in smsbridge (KeyError)"
    assert "delivery.bug" in lines.getvalue()
    assert "\\u00e8" not in lines.getvalue()
    assert "xc3" not in lines.getvalue()


class _OutOfThreads(httpx.AsyncBaseTransport):
    """A transport that needs a thread to look up a name."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError("can't start new thread")


async def test_a_shortage_is_an_outcome_that_says_what_to_raise(
    endpoint_at: Make, claim_of: MakeClaim
) -> None:
    """It is not reported as a bug, and tried again."""
    endpoint = endpoint_at("http://127.0.0.1/")
    outcome = await attempt(_OutOfThreads(), endpoint, claim_of(), lambda: NOW)
    assert outcome.error == "internal"
    assert outcome.detail is not None
    assert "TasksMax=" in outcome.detail


async def test_cancelled_attempt_is_cancelled(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A cancelled attempt is no outcome: nobody may record what is not known."""
    async with receiver(hangs) as server:
        running = asyncio.create_task(_try(endpoint_at(server.url), claim_of(), tls))
        await server.got(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999999", 999999999999.0),
        (format_datetime(NOW + timedelta(hours=2), usegmt=True), 7200.0),
        ("Wednesday, 08-Apr-26 12:31:52 GMT", 60.0),
        ("Wed Apr  8 12:31:52 2026", 60.0),
        (format_datetime(NOW - timedelta(hours=2), usegmt=True), 0.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("120, 120", None),
        ("9" * 5000, None),
        ("Wed, 99 Apr 2026 12:30:52 GMT", None),
        ("٣٠", None),
    ],
)
def test_retry_after_forms(value: str, seconds: float | None) -> None:
    """Retry-After is whole seconds or an HTTP-date in any of its three forms, and nothing else."""
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=80))
def test_retry_after_never_raises(value: str) -> None:
    """Whatever the header holds, it is a wait that is not negative, or none."""
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0
