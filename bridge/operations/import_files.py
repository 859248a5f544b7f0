"""Imports mails from files: mbox of any size, Maildirs, single mails and folders of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from bridge.errors import StoreUnavailable
from bridge.intake import Intake
from bridge.model import Arrival, ArrivalOutcome, MailFile, Receipt
from bridge.operations.batch import MAX_ARRIVALS, MAX_BYTES, FindStored, ingest_batch
from bridge.operations.documents import Document
from bridge.operations.mail_files import FileMail, read_mails
from bridge.reader import Reader, Reading
from bridge.store import Store
from bridge.store.dedupe import find_stored_message

MAX_PROBLEMS: Final = 20  # mails that are named; all are counted
OUTCOMES: Final = ("message", "duplicate", "ignored", "quarantine")


class Tally:
    """The results of an import, counted as mails are stored."""

    def __init__(self) -> None:
        self.read = 0
        self.failed = 0
        self.repeated = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[dict[str, str]] = []

    @property
    def stored(self) -> int:
        """The number of mails stored so far."""
        return self.counts.total()

    def fail(self, mail: str, problem: str) -> None:
        """Count a mail that wasn't stored."""
        self.failed += 1
        self._name(mail, problem)

    def count(self, mail: str, receipt: Receipt, detail: str) -> None:
        """Count a stored mail."""
        self.counts[receipt.outcome.value] += 1
        self.repeated += receipt.repeated
        if receipt.outcome is ArrivalOutcome.QUARANTINE:
            self._name(mail, detail)

    def _name(self, mail: str, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"mail": mail, "problem": problem})

    def document(self) -> Document:
        """Return {"read", "message", …, "failed", "problems": [{"mail", "problem"}]}."""
        counts = {name: self.counts[name] for name in OUTCOMES}
        return {
            "read": self.read, **counts, "repeated": self.repeated, "failed": self.failed,
            "problems": self.problems,
        }  # fmt: skip


async def import_files(
    files: Sequence[Path],
    intake: Intake,
    tally: Tally,
    clock: Callable[[], datetime],
    progress: Callable[[int], None],
    find_stored: FindStored | None = None,
) -> None:
    """Import every mail of the files, counting in `tally`.

    `find_stored` recognises mails without evidence whose message the ledger has.
    `progress` is called with the bytes read. Raises StoreUnavailable or StoreFull when the store
    accepts no more; mails stored by then are in the tally, and duplicates in a second run.
    """
    batch: list[FileMail] = []
    size = 0
    for path in files:
        for mail in read_mails(path):
            tally.read += 1
            progress(mail.consumed)
            if mail.raw is None:
                tally.fail(mail.name, mail.problem or "cannot be read")
                continue
            batch.append(mail)
            size += len(mail.raw)
            if len(batch) >= MAX_ARRIVALS or size >= MAX_BYTES:
                await _ingest(batch, intake, tally, clock, find_stored)
                batch, size = [], 0
    await _ingest(batch, intake, tally, clock, find_stored)


def stored_messages(store: Store, unjudging: Reader) -> FindStored:
    """Return what finds the message that a mail is, whatever its evidence, in the ledger.

    `unjudging` reads without asking for evidence; nothing that it reads is stored.
    """

    async def find(arrival: Arrival) -> Receipt | None:
        result = await unjudging.read(arrival)
        if not isinstance(result, Reading):
            return None
        identities = [each.identity for each in result.messages]
        return await store.read(partial(find_stored_message, identities=identities))

    return find


async def _ingest(
    batch: Sequence[FileMail],
    intake: Intake,
    tally: Tally,
    clock: Callable[[], datetime],
    find_stored: FindStored | None,
) -> None:
    arrivals = [
        (Arrival(MailFile(), str(mail.path), mail.raw, clock()), None)
        for mail in batch
        if mail.raw is not None
    ]
    stopped: StoreUnavailable | None = None
    for mail, ingested in zip(
        batch, await ingest_batch(intake, arrivals, find_stored), strict=True
    ):
        if isinstance(ingested.receipt, Receipt):
            tally.count(mail.name, ingested.receipt, ingested.detail)
        elif isinstance(ingested.receipt, StoreUnavailable):
            stopped = stopped or ingested.receipt
        else:
            tally.fail(mail.name, ingested.detail)
    if stopped is not None:
        raise stopped
