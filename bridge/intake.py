"""From what an arrival is to its receipt: plan the deliveries, store everything, start them.

The only faults that leave here are the store's, and a DNS's that does not answer. They mean that
nothing was taken: the other side keeps the arrival and tries again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from bridge import logs, metrics
from bridge.errors import StoreUnavailable
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    Ignored,
    PlannedDelivery,
    Receipt,
    SmsMessage,
)
from bridge.reader import Reader, Reading, Result
from bridge.store import Ingest, PlannedMessage

log = logs.logger("intake")

# A store that hangs must not keep the other side waiting for longer than it is willing to. What
# was submitted may still be committed: the mail that comes again is a duplicate then.
_COMMIT_DEADLINE: Final = 60.0


class Deliveries(Protocol):
    """What the line needs of the endpoints."""

    def plan(self, message: SmsMessage) -> tuple[PlannedDelivery, ...]:
        """List the deliveries that follow, reserving a lane's slot for those it can run now."""

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Give back the slots of deliveries that were not written."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Run the deliveries that were written as leased to us."""


class Ledger(Protocol):
    """What the line needs of the store."""

    async def ingest(self, item: Ingest) -> Receipt:
        """Commit an arrival with all that follows from it."""


class Intake:
    """Takes arrivals: from the sources, which are given `accept`, and from operations."""

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
        self._deadline = deadline
        self._clock = clock

    async def accept(self, arrival: Arrival) -> Receipt:
        """Read and store an arrival, whatever it is; return the receipt once it is committed.

        Deliveries begin in the background. Raises StoreUnavailable or StoreFull if it is not
        known to be stored, and TrustUnavailable if it was not handed to the store at all: the
        source must then leave the arrival with the other side.
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
        """Store what an arrival is, with its deliveries, and start those that are leased to us.

        `reparse_of` is the id of the stored arrival that was read again. Raises what
        `Store.ingest` raises. If a commit ends after the deadline all the same, the arrival that
        comes again is a duplicate, and the deliveries go out when their lease ends.
        """
        what = self._plan(result) if isinstance(result, Reading) else result
        unused: Sequence[PlannedDelivery] = ()
        if isinstance(what, tuple):
            unused = [delivery for message in what for delivery in message.deliveries]
        try:
            async with asyncio.timeout(self._deadline):
                receipt = await self._ledger.ingest(Ingest(arrival, what, reparse_of))
            unused = _not_started(unused, receipt.claims)
        except TimeoutError:
            raise StoreUnavailable(
                f"the store did not commit within {self._deadline:.0f} s"
            ) from None
        finally:
            self._deliveries.release(unused)
        self._deliveries.start(receipt.claims)
        return receipt

    def _plan(self, reading: Reading) -> tuple[PlannedMessage, ...]:
        return tuple(
            PlannedMessage(
                each.message, each.identity, each.events, self._deliveries.plan(each.message.sms)
            )
            for each in reading.messages
        )


def _not_started(
    planned: Sequence[PlannedDelivery], claims: Sequence[Claim]
) -> list[PlannedDelivery]:
    """Return what was planned, less one claimed plan for each claim."""
    started = Counter(claim.endpoint for claim in claims)
    unused: list[PlannedDelivery] = []
    for plan in planned:
        if plan.claimed and started[plan.endpoint]:
            started[plan.endpoint] -= 1
        else:
            unused.append(plan)
    return unused


def _report(arrival: Arrival, result: Result, receipt: Receipt, seconds: float) -> None:
    """Count the arrival and write its one log line: numbers masked, no text."""
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
