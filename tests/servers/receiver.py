"""A real webhook receiver that checks every webhook with PyPI `standardwebhooks`.

It runs in a thread with a loop of its own and speaks HTTP/1.1 by hand, so that it can also
answer as no web framework would: drip, hang, send headers without end.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.patience import PATIENCE


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook that was here whole, and whether its signature is right."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: float  # time.monotonic()
    verified: bool

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def attempt(self) -> int:
        return int(self.headers.get("webhook-attempt", "0"))

    @property
    def sequence(self) -> int:
        return int(self.headers["webhook-sequence"])

    @property
    def digest(self) -> bool:
        """Whether it is one of our digests, which have no number."""
        return self.id.startswith("dig_")

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["data"])

    @property
    def text(self) -> str:
        return str(self.data["body"])


@dataclass(slots=True)
class Exchange:
    """One request and the connection that it came on: what an answer is written to."""

    webhook: Received
    writer: asyncio.StreamWriter
    keep: bool = field(default=True)  # whether the connection may take another request

    async def send(self, data: bytes) -> None:
        """Write to the peer, as fast as it reads."""
        self.writer.write(data)
        await self.writer.drain()


Answer = Callable[[Exchange], Awaitable[None]]


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    """Answer with a status, and these headers."""
    head = "\r\n".join([f"HTTP/1.1 {code} X", f"content-length: {len(body)}", *headers, "", ""])

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head.encode() + body)

    return answer


async def taken(exchange: Exchange) -> None:
    """Answer as a healthy service does."""
    await exchange.send(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")


class Receiver:
    """Takes webhooks on 127.0.0.1 and remembers them all; `answer` may be changed at any time."""

    def __init__(self, secret: str, answer: Answer = taken, port: int = 0) -> None:
        self.answer = answer
        self.busy = 0  # webhooks that are here and not answered yet
        self._webhook = Webhook(secret)
        self._all: list[Received] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.port = port
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/sms"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and drop every connection."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def up(self) -> None:
        """Listen, on the same port as before."""

        async def begin() -> None:
            self._server = await asyncio.start_server(
                self._connection, "127.0.0.1", self.port, backlog=512
            )
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(PATIENCE)

    def down(self) -> None:
        """Stop listening and drop every connection."""

        async def end() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(PATIENCE)

    # What came.

    def all(self) -> list[Received]:
        """Return everything so far, in order."""
        with self._changed:
            return list(self._all)

    def by_id(self) -> dict[str, list[Received]]:
        """Return everything so far by webhook-id."""
        found: dict[str, list[Received]] = defaultdict(list)
        for each in self.all():
            found[each.id].append(each)
        return dict(found)

    def count(self) -> int:
        """Count the distinct webhook-ids so far."""
        with self._changed:
            return len({each.id for each in self._all})

    def wait(self, met: Callable[[list[Received]], bool], seconds: float = PATIENCE) -> bool:
        """Wait until what came so far meets a condition; say whether it did in time."""
        with self._changed:
            return self._changed.wait_for(lambda: met(self._all), seconds)

    def wait_for_ids(self, number: int, seconds: float = PATIENCE) -> bool:
        """Wait for this many distinct webhook-ids."""
        return self.wait(lambda got: len({each.id for each in got}) >= number, seconds)

    def assert_honest(self) -> None:
        """Fail unless each webhook verifies, and what came twice is the same to the byte.

        One that came twice has the same number, and no other webhook has it.
        """
        bad = Counter(each.path for each in self.all() if not each.verified)
        assert not bad, f"webhooks with a wrong signature: {bad}"
        for webhook_id, copies in self.by_id().items():
            assert webhook_id.startswith(("msg_", "dig_"))
            assert len({each.body for each in copies}) == 1, f"{webhook_id}: other bytes"
            assert copies[0].data["id"] == webhook_id
        numbers = {(each.path, each.sequence, each.id) for each in self.all() if not each.digest}
        assert len(numbers) == len({(path, number) for path, number, _ in numbers}), (
            "a number twice"
        )
        assert len(numbers) == len({(path, sent) for path, _, sent in numbers}), "another number"

    def assert_no_gap(self) -> None:
        """Fail unless the numbers of all that came are those from 1 on, without a gap."""
        numbers = {each.sequence for each in self.all() if not each.digest}
        assert numbers == set(range(1, len(numbers) + 1)), "a number is missing"

    # Connections.

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the daemon was killed, gave up, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        try:
            self._webhook.verify(body, dict(headers))
            verified = True
        except (WebhookVerificationError, ValueError):  # the latter: a malformed header
            verified = False
        webhook = Received(first.split(" ")[1], headers, body, time.monotonic(), verified)
        with self._changed:
            self._all.append(webhook)
            self._changed.notify_all()
        exchange = Exchange(webhook, writer)
        self.busy += 1
        try:
            await self.answer(exchange)
        finally:
            self.busy -= 1
        return exchange.keep
