"""Ingests a batch of arrivals through the pipeline that sources use: read, plan, store.

For import and reparse; reconcile ingests one mail at a time, through the same intake. So there is
one check of free space and one isolation of poison rows: the store's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.errors import BridgeError, TrustUnavailable
from bridge.intake import Intake
from bridge.model import Arrival, Reason, Receipt, Unreadable
from bridge.reader import Reading, Result

MAX_ARRIVALS: Final = 100  # read before they are stored: they share a sync
MAX_BYTES: Final = 8 * 1024**2  # raw bytes in memory, plus one arrival at most


@dataclass(frozen=True, slots=True)
class Ingested:
    """The outcome of one arrival: its receipt, or its own error.

    `result` is None if its evidence couldn't be checked now.
    """

    receipt: Receipt | BridgeError
    result: Result | None

    @property
    def detail(self) -> str:
        """Why it isn't a message; empty if it is one."""
        if isinstance(self.receipt, BridgeError):
            return str(self.receipt)
        return "" if self.result is None or isinstance(self.result, Reading) else self.result.detail


# Finds the receipt of an arrival that the ledger has as a message, though its evidence is missing.
FindStored = Callable[[Arrival], Awaitable[Receipt | None]]


async def ingest_batch(
    intake: Intake,
    arrivals: Sequence[tuple[Arrival, int | None]],
    find_stored: FindStored | None = None,
) -> list[Ingested]:
    """Read and store arrivals, each with the id of the arrival that it reparses, or None.

    Store errors are per arrival: earlier ones may have been committed. What is untrusted and
    `find_stored` finds isn't stored again as quarantine.
    """
    read = [await _read(intake, arrival) for arrival, _ in arrivals]
    # Concurrently, so that they share transactions.
    return await asyncio.gather(
        *(
            _store(intake, arrival, result, reparse_of, find_stored)
            for (arrival, reparse_of), result in zip(arrivals, read, strict=True)
        )
    )


async def _read(intake: Intake, arrival: Arrival) -> Result | TrustUnavailable:
    try:
        return await intake.read(arrival)
    except TrustUnavailable as error:
        return error


async def _store(
    intake: Intake,
    arrival: Arrival,
    result: Result | TrustUnavailable,
    reparse_of: int | None,
    find_stored: FindStored | None,
) -> Ingested:
    if isinstance(result, TrustUnavailable):
        return Ingested(result, None)
    untrusted = isinstance(result, Unreadable) and result.reason is Reason.UNTRUSTED
    if untrusted and find_stored and (receipt := await find_stored(arrival)):
        return Ingested(receipt, result)
    try:
        return Ingested(await intake.store(arrival, result, reparse_of=reparse_of), result)
    except BridgeError as error:
        return Ingested(error, result)
