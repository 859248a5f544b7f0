"""What each layer of the line costs alone: processor µs a message of the one thread that runs it.

    python benchmarks/layers.py [COUNT]

The same work in a row: in the daemon it costs more, because other work comes between.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import load
import programs

sys.path.insert(0, str(programs.ROOT))

from bridge import app, logs
from bridge.config.load import load as load_config
from bridge.config.settings import Settings
from bridge.delivery.attempt import build_request
from bridge.intake import Intake
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Attempt,
    Claim,
    Delivered,
    Envelope,
    Message,
    Outcome,
    PlannedDelivery,
    Receipt,
)
from bridge.store import Database, Ingest, ingest_many
from bridge.store.lease import Lease
from bridge.store.record import record_many

_COUNT: Final = 3000
_BATCHES: Final = (1, 4, 8, 50)


class Kept:
    """A ledger and endpoints that cost nothing; keeps what it was given."""

    def __init__(self, settings: Settings) -> None:
        self.items: list[Ingest] = []
        self.endpoints = app.endpoints_of(settings)

    async def ingest(self, item: Ingest) -> Receipt:
        """Keep an item."""
        self.items.append(item)
        message = item.messages[0]
        number = len(self.items)
        claim = Claim(number, "crm", message.events[0], 1, 0, 0.0, "us:1", None)
        return Receipt(number, ArrivalOutcome.MESSAGE, message.message.id, (claim,))

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        """Plan as lanes do that always have a slot."""
        return tuple(each.plan(message, lambda: True) for each in self.endpoints)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Forget them."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Forget them."""


def _told(what: str, began: float, messages: int) -> None:
    print(f"{what:45} {(time.thread_time() - began) / messages * 1e6:6.0f}")


async def _each(what: str, work: Callable[[Arrival], Awaitable[object]], of: list[Arrival]) -> None:
    began = time.thread_time()
    for arrival in of:
        await work(arrival)
    _told(what, began, len(of))


def _arrivals(messages: int) -> list[Arrival]:
    origin = Envelope("127.0.0.1", load.ENVELOPE_FROM, (load.MAILBOX,))
    run = f"layers{time.time_ns()}"
    return [
        Arrival(origin, "127.0.0.1:25", mail.wire.removesuffix(b".\r\n"), app.now())
        for mail in load.mails(messages, run)
    ]


async def measure(folder: Path, messages: int) -> None:
    """Print a line for each layer."""
    config = programs.write_config(folder, [programs.Endpoint("crm", "http://127.0.0.1:9/")])
    settings = load_config(config)
    with (folder / "log").open("w") as lines:
        logs.configure(settings.log, lines)
        reader = app.reader_of(settings)
        arrivals = _arrivals(messages)
        await _each("reading, numbers never seen", reader.read, arrivals)
        await _each("reading", reader.read, arrivals)
        kept = Kept(settings)
        intake = Intake(reader, kept, kept)
        await _each("reading, planning, metrics and log", intake.accept, arrivals)
        began = time.thread_time()
        for number in range(messages):
            item = kept.items[number].messages[0]
            claim = Claim(number, "crm", item.events[0], 1, 0, 0.0, "us:1", None)
            build_request(kept.endpoints[0], claim, app.now())
        _told("the request of an attempt, signed", began, messages)
        for batch in _BATCHES:
            await _store(settings, await _planned(settings, messages), batch)


async def _planned(settings: Settings, messages: int) -> list[Ingest]:
    kept = Kept(settings)
    intake = Intake(app.reader_of(settings), kept, kept)
    for arrival in _arrivals(messages):
        await intake.accept(arrival)
    return kept.items


async def _store(settings: Settings, items: list[Ingest], batch: int) -> None:
    """Write as the writer's thread does: what was delivered, then what is new."""
    database = Database.open(settings.store, migrate=True)
    made: list[Attempt] = []
    began = time.thread_time()
    for start in range(0, len(items), batch):
        now = app.now()
        with database.begin_again() as connection:
            record_many(connection, made, now)
            lease = Lease("us", now, now)
            receipts = ingest_many(connection, items[start : start + batch], lease)
        claims = [each.claims[0] for each in receipts if isinstance(each, Receipt)]
        made = [Attempt(each, now, Outcome(204, 0.001), Delivered()) for each in claims]
    _told(f"writing, {batch} in a transaction", began, len(items))
    database.close()


if __name__ == "__main__":
    chosen = int(sys.argv[1]) if len(sys.argv) > 1 else _COUNT
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measure(Path(made), chosen))
