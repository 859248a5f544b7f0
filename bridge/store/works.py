"""What the store's writer is given to commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from bridge.errors import StoreFull
from bridge.model import Attempt, Claim, Reason, Receipt, Unreadable
from bridge.store.ingest import Ingest, Parsed, ingest_many
from bridge.store.lease import Lease
from bridge.store.writer import Work

T = TypeVar("T")


class IngestWork(Work[Receipt]):
    """An arrival."""

    __slots__ = ("item",)

    def __init__(self, item: Ingest) -> None:
        self.item = item

    @property
    def size(self) -> int:
        """The raw bytes."""
        return len(self.item.arrival.raw) * (1 + len(self.item.more))


class RecordWork(Work[None]):
    """An attempt."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt


class ClaimWork(Work[list[Claim]]):
    """A lane that asks for deliveries."""

    __slots__ = ("endpoint", "limit")

    def __init__(self, endpoint: str, limit: int) -> None:
        self.endpoint = endpoint
        self.limit = limit


class ProbeWork(Work[None]):
    """The smallest write."""

    __slots__ = ()

    def __init__(self) -> None:
        self.result = None


class MailboxWork(Work[T]):
    """A small change of a mailbox's row, made after the arrivals of its batch."""

    __slots__ = ("change",)

    def __init__(self, change: Callable[[Connection, datetime], T]) -> None:
        self.change = change


def ingest_all(connection: Connection, works: Sequence[IngestWork], lease: Lease) -> None:
    """Write the arrivals, and give each its receipt."""
    receipts = ingest_many(connection, [work.item for work in works], lease)
    for work, receipt in zip(works, receipts, strict=True):
        work.result = receipt


def without_intake(works: Sequence[Work[Any]], full: StoreFull) -> list[Work[Any]]:
    """Tell arrivals that the disk is full; return the other work, probes included."""
    others: list[Work[Any]] = []
    for work in works:
        if isinstance(work, IngestWork):
            work.result = StoreFull(str(full))
        else:
            others.append(work)
    return others


def as_quarantine(item: Ingest, error: Exception) -> Ingest | None:
    """Return what is stored in place of a message that the database refuses, if that helps.

    Else its sender would try again for ever, and nobody would see why.
    """
    if not isinstance(item.result, Parsed):
        return None
    detail = (
        f"the database refused the message ({type(error).__name__}); the log says where; please "
        "report it, and reparse this arrival after the fix"
    )
    provider = item.result.message.provider
    return replace(item, result=Unreadable(Reason.INTERNAL, detail, provider), more=())
