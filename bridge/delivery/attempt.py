"""One HTTP call: the stored bytes, signed for this attempt, and a bounded read of the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpx

import bridge
from bridge import logs
from bridge.delivery import transport as http
from bridge.delivery.endpoint import Endpoint
from bridge.formats import format_named
from bridge.model import Claim, Outcome
from bridge.shortage import noted

log = logs.logger("delivery")

MAX_ANSWER: Final = 4096  # bytes of the answer that are kept for the operator
_MAX_RETRY_AFTER_TEXT: Final = 64  # characters: the longest HTTP-date has 33
_SECONDS: Final = re.compile(r"\d{1,12}", re.ASCII)
_FIXED_HEADERS: Final = [
    ("user-agent", f"smsbridge/{bridge.__version__}"),
    ("accept", "*/*"),
    ("accept-encoding", "identity"),
]


async def attempt(
    transport: httpx.AsyncBaseTransport,
    endpoint: Endpoint,
    claim: Claim,
    clock: Callable[[], datetime],
) -> Outcome:
    """Make the call and return its outcome; raises nothing but CancelledError.

    One deadline covers all of it, connecting and reading included. A 2xx answer counts once it is
    complete or its first 4 KiB have arrived: a truncated one may come from a receiver that crashed
    after the status line, and sending again is safe where trusting it is not. The event's format
    can want more of a 2xx answer.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = _Answer(claim.event.format)
    try:
        async with asyncio.timeout(endpoint.timeout):
            await _call(transport, build_request(endpoint, claim, clock()), answer)
    except TimeoutError:
        failure = http.Failure("timeout", f"no complete answer within {endpoint.timeout:g} s")
    except Exception as error:
        # A bug in one attempt must not end the lane: the delivery is tried again.
        short = noted(error)
        known = http.Failure("internal", short) if short else http.failure_of(error)
        if known is None:
            log.error(
                "delivery.bug", delivery=claim.delivery_id, endpoint=endpoint.name, exc_info=error
            )
            known = http.Failure("internal", f"a bug in smsbridge ({type(error).__name__})")
        failure = known
    else:
        return answer.outcome(loop.time() - began, clock)
    return answer.broken(loop.time() - began, failure, clock)


def build_request(endpoint: Endpoint, claim: Claim, now: datetime) -> httpx.Request:
    """Build the request of one attempt: the event's stored bytes, signed with the time `now`."""
    event = claim.event
    form = format_named(event.format)
    signed = endpoint.scheme.headers(endpoint.keys, event.id, int(now.timestamp()), event.body)
    request = httpx.Request(
        "POST",
        endpoint.url,
        headers=[
            ("host", endpoint.url.netloc.decode("ascii")),
            ("content-length", str(len(event.body))),
            ("content-type", form.content_type),
            *form.headers(event),
            *_FIXED_HEADERS,
            *endpoint.headers,
            *signed,
            *_delivery_headers(claim),
        ],
        # With `content`, httpx would add the two headers itself, at four times the cost.
        stream=httpx.ByteStream(event.body),
    )
    request.read()
    return request


def _delivery_headers(claim: Claim) -> list[tuple[str, str]]:
    """Return what tells the receiver which delivery this is, and which try of it."""
    headers = [("webhook-attempt", str(claim.attempt))]
    if claim.sent_before:
        headers.append(("webhook-possible-duplicate", "true"))
    if claim.sequence is not None:
        headers.append(("webhook-sequence", str(claim.sequence)))
    return headers


def retry_after(value: str, now: datetime) -> float | None:
    """Parse a Retry-After header, seconds or HTTP-date, into seconds from now; None if neither."""
    text = value.strip()
    if len(text) > _MAX_RETRY_AFTER_TEXT:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)  # "-0000" and the obsolete formats mean UTC
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class _Answer:
    """What has arrived of an answer so far."""

    __slots__ = ("_format", "body", "request", "response")

    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self.request: httpx.Request | None = None
        self.response: httpx.Response | None = None
        self.body = b""

    def outcome(self, duration: float, clock: Callable[[], datetime]) -> Outcome:
        """Return the outcome of a complete answer."""
        response = self.response
        assert response is not None
        status = response.status_code
        wait = None
        if response.is_success:
            problem = format_named(self._format).problem(status, self.body)
            if problem is not None:
                detail = f"answered {status}, but {problem}"
                return Outcome(None, duration, error="answer", detail=detail, answer=self.body)
        if status >= HTTPStatus.MULTIPLE_CHOICES and "retry-after" in response.headers:
            wait = retry_after(response.headers["retry-after"], clock())
        return Outcome(status=status, duration=duration, retry_after=wait, answer=self.body)

    def broken(
        self, duration: float, failure: http.Failure, clock: Callable[[], datetime]
    ) -> Outcome:
        """Return the outcome of a truncated answer: an error status counts, a 2xx does not."""
        if self.response is None:
            sent = self.request is not None and http.SENT in self.request.extensions
            return Outcome(None, duration, error=failure.error, detail=failure.detail, sent=sent)
        if not self.response.is_success and failure.error != "internal":
            return self.outcome(duration, clock)
        detail = f"answered {self.response.status_code}, but: {failure.detail}"
        return Outcome(None, duration, error=failure.error, detail=detail, answer=self.body)


async def _call(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, answer: _Answer
) -> None:
    answer.request = request
    response = await transport.handle_async_request(request)
    answer.response = response
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    try:
        async for chunk in stream:
            answer.body = (answer.body + chunk)[:MAX_ANSWER]
            if len(answer.body) == MAX_ANSWER:
                break
    finally:
        # Returns the connection to the pool if the answer was read to its end, else closes it.
        await stream.aclose()
