"""Turns an arrival into a receipt: plans the deliveries, stores everything, starts them.

The only errors raised are the store's, and a DNS that doesn't answer. They mean that nothing was
accepted: the other side keeps the arrival and tries again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from bridge import formats, logs, metrics
from bridge.errors import StoreUnavailable
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    DeliveryState,
    Ignored,
    Message,
    PlannedDelivery,
    Receipt,
)
from bridge.net.deadline import Deadline
from bridge.reader import Reader, Reading, ReadMessage, Result
from bridge.store import Ingest, PlannedMessage

log = logs.logger("intake")

# Seconds. A store that hangs must not make the other side time out first. What was submitted may
# still be committed: the mail is then a duplicate when it's sent again.
_COMMIT_DEADLINE: Final = 60.0


class Deliveries(Protocol):
    """What the intake needs of the endpoints."""

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        """Plan a message's deliveries, reserving a lane's slot for those that can start now."""

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Release the slots of deliveries that were not committed."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Start the deliveries that were committed with our lease."""


class Ledger(Protocol):
    """What the intake needs of the store."""

    async def ingest(self, item: Ingest) -> Receipt:
        """Commit an arrival with its messages, events and deliveries."""


class Intake:
    """Accepts arrivals from sources, which get `accept`, and from operations."""

    def __init__(
        self,
        reader: Reader,
        ledger: Ledger,
        deliveries: Deliveries,
        deadline: float = _COMMIT_DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._deliveries = deliveries
        self._deadline = Deadline(deadline)
        self._clock = clock

    @property
    def reader(self) -> Reader:
        """The reader in use."""
        return self._reader

    def use(self, reader: Reader) -> None:
        """Read with another config from now on."""
        self._reader = reader

    async def accept(self, arrival: Arrival) -> Receipt:
        """Read and store an arrival; return the receipt once it's committed.

        Deliveries start in the background. Raises StoreUnavailable or StoreFull if it isn't known
        to be stored, and TrustUnavailable if it wasn't submitted to the store: the source must
        then leave the arrival with the other side.
        """
        began = self._clock()
        result = await self.read(arrival)
        receipt = await self.store(arrival, result)
        _report(arrival, result, receipt, self._clock() - began)
        return receipt

    async def read(self, arrival: Arrival) -> Result:
        """Read an arrival without storing it; raises TrustUnavailable."""
        return await self._reader.read(arrival)

    async def store(
        self, arrival: Arrival, result: Result, *, reparse_of: int | None = None
    ) -> Receipt:
        """Store a result with its deliveries, and start those that are leased to us.

        `reparse_of` is the id of the stored arrival that was read again. Raises what
        `Store.ingest` raises. If a commit succeeds after the deadline, the arrival is a duplicate
        when it's sent again, and its deliveries start when their lease expires.
        """
        what = self._plan(result) if isinstance(result, Reading) else result
        unused: Sequence[PlannedDelivery] = ()
        if isinstance(what, tuple):
            unused = [delivery for message in what for delivery in message.deliveries]
        try:
            with self._deadline.within():
                receipt = await self._ledger.ingest(Ingest(arrival, what, reparse_of))
            unused = _not_started(unused, receipt.claims)
        except TimeoutError:
            raise StoreUnavailable(
                f"the store did not commit within {self._deadline.seconds:.0f} s"
            ) from None
        finally:
            self._deliveries.release(unused)
        self._deliveries.start(receipt.claims)
        if isinstance(what, tuple) and receipt.outcome is ArrivalOutcome.MESSAGE:
            _report_unwanted(what)
        return receipt

    def _plan(self, reading: Reading) -> tuple[PlannedMessage, ...]:
        return tuple(self._planned(each) for each in reading.messages)

    def _planned(self, read: ReadMessage) -> PlannedMessage:
        planned = self._deliveries.plan(read.message)
        # The config may have been reloaded since it was read, with formats that nobody wanted.
        known = {event.format for event in read.events}
        missing = dict.fromkeys(each.format for each in planned if each.format not in known)
        events = (*read.events, *formats.events(read.message, missing))
        return PlannedMessage(read.message, read.identity, events, planned)


def _not_started(
    planned: Sequence[PlannedDelivery], claims: Sequence[Claim]
) -> list[PlannedDelivery]:
    """Return the planned deliveries without one claimed plan per claim."""
    started = Counter(claim.endpoint for claim in claims)
    unused: list[PlannedDelivery] = []
    for plan in planned:
        if plan.claimed and started[plan.endpoint]:
            started[plan.endpoint] -= 1
        else:
            unused.append(plan)
    return unused


def _report_unwanted(planned: Sequence[PlannedMessage]) -> None:
    """Count and log the messages that no endpoint wants: they are stored, and go nowhere."""
    for each in planned:
        if all(plan.state is DeliveryState.FILTERED for plan in each.deliveries):
            provider = each.message.sms.provider
            metrics.UNWANTED.labels(provider).inc()
            log.info("message.unwanted", message=each.message.id, provider=provider)


def _report(arrival: Arrival, result: Result, receipt: Receipt, seconds: float) -> None:
    """Count the arrival and log it: one line, numbers masked, no text."""
    source = arrival.source.value
    metrics.ARRIVALS.labels(source, receipt.outcome.value).inc()
    metrics.ACCEPT_SECONDS.labels(source).observe(seconds)
    known = {
        "arrival": receipt.arrival_id,
        "source": arrival.source_name,
        "peer": arrival.peer,
        "outcome": receipt.outcome.value,
        "ms": round(seconds * 1000, 1),
    }
    if isinstance(result, Reading):
        sms = result.messages[0].message.sms
        log.info(
            "arrival.stored",
            **known,
            message=receipt.message_id,
            messages=len(result.messages),
            provider=sms.provider,
            sender=logs.mask(sms.sender),
            recipient=logs.mask(sms.recipient),
        )
    elif receipt.outcome is ArrivalOutcome.IGNORED or isinstance(result, Ignored):
        log.info("arrival.stored", **known, provider=result.provider, detail=result.detail)
    else:
        metrics.QUARANTINE.labels(result.reason.value, result.provider or "").inc()
        log.warning(
            "arrival.stored",
            **known,
            provider=result.provider,
            reason=result.reason.value,
            detail=result.detail,
        )
