"""The kinds of work that the store's writer commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from bridge.model import Attempt, Claim, Order, Reason, Receipt, Unreadable
from bridge.store.ingest import Ingest
from bridge.store.writer import Work

T = TypeVar("T")


class IngestWork(Work[Receipt]):
    """An arrival."""

    __slots__ = ("item",)

    def __init__(self, item: Ingest) -> None:
        self.item = item

    @property
    def ordered(self) -> bool:
        """Whether a delivery of it has an order."""
        planned = (plan for each in self.item.messages for plan in each.deliveries)
        return any(plan.order is not Order.NONE for plan in planned)

    @property
    def size(self) -> int:
        """The raw bytes, which are stored with each message."""
        return len(self.item.arrival.raw) * max(1, len(self.item.messages))

    def fall_back(self, error: Exception) -> bool:
        """Store the arrival as quarantine in place of a message that the database refuses.

        Otherwise its sender would try again for ever, and nobody would see why.
        """
        if not self.item.messages:
            return False
        detail = (
            f"the database refused the message ({type(error).__name__}); the log says where; "
            "please report it, and reparse this arrival after the fix"
        )
        provider = self.item.messages[0].message.sms.provider
        self.item = replace(self.item, result=Unreadable(Reason.INTERNAL, detail, provider))
        return True


class RecordWork(Work[None]):
    """An attempt."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    @property
    def ordered(self) -> bool:
        """Whether its delivery has an order."""
        return self.attempt.claim.conversation is not None


class ClaimWork(Work[list[Claim]]):
    """A lane that asks for deliveries."""

    __slots__ = ("endpoint", "limit", "order")

    def __init__(self, endpoint: str, limit: int, order: Order) -> None:
        self.endpoint = endpoint
        self.limit = limit
        self.order = order

    @property
    def ordered(self) -> bool:
        """Whether the endpoint has an order."""
        return self.order is not Order.NONE


class ProbeWork(Work[None]):
    """The smallest write."""

    __slots__ = ()

    def __init__(self) -> None:
        self.result = None


class ChangeWork(Work[T]):
    """Any other change, made after the arrivals of its batch."""

    __slots__ = ("_spare", "change")

    def __init__(self, change: Callable[[Connection], T], *, spare: bool = False) -> None:
        self.change = change
        self._spare = spare

    @property
    def spare(self) -> bool:
        """Whether it was given as work that can wait."""
        return self._spare

    @property
    def ordered(self) -> bool:
        """It may touch any delivery."""
        return True
