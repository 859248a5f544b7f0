"""The receivers of a simulated run, and the wire to them: they note all, and judge it at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx

from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import SENT
from tests.simulation.faults import Answer, Faults

_CLOCK_SKEW: Final = 2  # seconds between a request's timestamp and its arrival
_LATE: Final = (1.0, 4.0, 15.0)  # seconds; an attempt has ten


class Violation(AssertionError):
    """Something was lost, sent wrong, sent out of order, or nobody knows where it is."""


class World(Protocol):
    """What a receiver must know of the run it is in."""

    faults: Faults
    lives: int  # of the daemon, so far

    def seconds(self) -> float:
        """Return how long the run has lasted."""

    def timestamp(self) -> float:
        """Return the time of day."""

    def kill(self) -> None:
        """Kill the daemon."""

    def report(self, violation: Violation) -> None:
        """End the run with this: the daemon would take it for an error of the network."""

    def judge(self, receiver: Receiver, content: tuple[str, str, str], event_id: str) -> None:
        """Judge what a receiver was told of an SMS, before it is noted; raises Violation."""


@dataclass(slots=True)
class Seen:
    """What a receiver knows of one event."""

    body: bytes
    content: tuple[str, str, str] | None  # None for a digest
    attempt: int
    sequence: int | None
    said_yes: bool = False  # once, completely
    heard_in: int | None = None  # the daemon's life in which that was


@dataclass
class Receiver:
    """One internal service. It checks each request as a good receiver does, and more."""

    name: str
    key: bytes
    world: World
    seen: dict[str, Seen] = field(default_factory=dict)
    by_content: dict[tuple[str, str, str], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    numbers: dict[int, str] = field(default_factory=dict)  # sequence → event id
    in_flight: set[str] = field(default_factory=set)
    requests: int = 0

    def take(self, request: httpx.Request) -> Seen:
        """Note a request that has arrived whole; raises Violation."""
        self.requests += 1
        body, headers = request.content, request.headers
        event_id = headers["webhook-id"]
        self._verify(event_id, body, headers)
        attempt = int(headers["webhook-attempt"])
        number = headers.get("webhook-sequence")
        sequence = None if number is None else int(number)
        known = self.seen.get(event_id)
        if known is None:
            known = self._first(event_id, body, attempt, sequence)
        else:
            self._again(event_id, known, body, attempt, sequence, headers)
        return known

    def _verify(self, event_id: str, body: bytes, headers: httpx.Headers) -> None:
        stamp = headers["webhook-timestamp"]
        signed = f"{event_id}.{stamp}.".encode() + body
        digest = hmac.digest(self.key, signed, hashlib.sha256)
        if f"v1,{base64.b64encode(digest).decode()}" not in headers["webhook-signature"].split():
            raise Violation(f"{self.name}: the signature of {event_id} is wrong")
        if abs(int(stamp) - self.world.timestamp()) > _CLOCK_SKEW:
            raise Violation(f"{self.name}: {event_id} is stamped with another time")

    def _first(self, event_id: str, body: bytes, attempt: int, sequence: int | None) -> Seen:
        document = json.loads(body)
        content = None
        if document["type"] == "sms.received":
            data = document["data"]
            content = data["from"], data["to"], data["body"]
            self.world.judge(self, content, event_id)
            self.by_content[content].add(event_id)
        if sequence is not None and self.numbers.setdefault(sequence, event_id) != event_id:
            raise Violation(f"{self.name}: the number {sequence} is there twice")
        self.seen[event_id] = Seen(body, content, attempt, sequence)
        return self.seen[event_id]

    def _again(
        self,
        event_id: str,
        known: Seen,
        body: bytes,
        attempt: int,
        sequence: int | None,
        headers: httpx.Headers,
    ) -> None:
        if body != known.body:
            raise Violation(f"{self.name}: {event_id} came with other bytes than before")
        if sequence != known.sequence:
            raise Violation(f"{self.name}: {event_id} came with another number than before")
        if attempt <= known.attempt:
            raise Violation(f"{self.name}: attempt {attempt} of {event_id} came a second time")
        if known.heard_in == self.world.lives:
            raise Violation(f"{self.name}: {event_id} came again though the daemon heard the yes")
        if headers.get("webhook-possible-duplicate") != "true":
            raise Violation(f"{self.name}: {event_id} is a duplicate and doesn't say so")
        known.attempt = attempt


class Wire(httpx.AsyncBaseTransport):
    """The way from one life of the daemon to one receiver."""

    def __init__(self, endpoint: Endpoint, receiver: Receiver, alive: Callable[[], bool]) -> None:
        self._timeout = endpoint.timeout
        self._receiver = receiver
        self._alive = alive

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request over, and back what the receiver says, or what happens instead."""
        await self._while_alive()
        receiver, world = self._receiver, self._receiver.world
        event_id = request.headers["webhook-id"]
        if event_id in receiver.in_flight:
            world.report(Violation(f"{receiver.name}: {event_id} is in flight twice"))
        receiver.in_flight.add(event_id)
        try:
            return await self._answer(request, world.faults.answer(receiver.name, world.seconds()))
        except Violation as violation:
            world.report(violation)
            raise
        finally:
            receiver.in_flight.discard(event_id)

    async def _answer(self, request: httpx.Request, answer: Answer) -> httpx.Response:
        world = self._receiver.world
        if answer is Answer.REFUSED:
            raise httpx.ConnectError("connection refused")
        if answer is Answer.DEATH_BEFORE:
            world.kill()
        await self._while_alive()
        request.extensions[SENT] = True
        await asyncio.sleep(world.faults.latency())
        await self._while_alive()
        if answer in _UNTAKEN:
            return await self._refuse(request, answer)
        known = self._receiver.take(request)
        if answer is Answer.DEATH_AFTER:
            world.kill()
        await asyncio.sleep(world.faults.latency())
        await self._while_alive()
        if answer is Answer.TAKEN_LATE:
            await asyncio.sleep(world.faults.rng.choice(_LATE))
        if answer is Answer.TAKEN_SILENTLY:
            raise httpx.ReadError("connection reset")
        if answer is Answer.TAKEN_DENIED:
            return httpx.Response(503, request=request)
        if answer is Answer.CUT_OFF:
            return httpx.Response(200, stream=_BrokenOff(), request=request)
        known.said_yes, known.heard_in = True, world.lives
        return httpx.Response(204, request=request)

    async def _refuse(self, request: httpx.Request, answer: Answer) -> httpx.Response:
        if answer is Answer.SILENT:
            await asyncio.sleep(2 * self._timeout)
        status, headers = _UNTAKEN[answer]
        return httpx.Response(status, headers=headers, request=request)

    async def _while_alive(self) -> None:
        """Go no further for a daemon that was killed."""
        if not self._alive():
            await asyncio.Event().wait()


class _BrokenOff(httpx.AsyncByteStream):
    """An answer's body that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"o"
        raise httpx.RemoteProtocolError("the peer closed the connection")


_UNTAKEN: Final = {
    Answer.FAULT: (500, {}),
    Answer.BUSY: (429, {"retry-after": "20"}),
    Answer.ELSEWHERE: (302, {"location": "http://127.0.0.1/elsewhere"}),
    Answer.GONE: (410, {}),
    Answer.SILENT: (504, {}),
}
