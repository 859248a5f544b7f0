"""A small true-to-contract outbox in memory, which can be made to fail: for lanes alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from bridge.errors import StoreUnavailable
from bridge.model import Attempt, Claim, DeliveryState, Event, Hold, Order, RetryAt
from tests.patience import PATIENCE

START = datetime(2026, 4, 8, 12, 0, tzinfo=UTC)
_STATES = {
    "Delivered": DeliveryState.DELIVERED,
    "RetryAt": DeliveryState.PENDING,
    "Hold": DeliveryState.HELD,
    "Dead": DeliveryState.DEAD,
}


@dataclass
class Row:
    """A delivery as the store would hold it."""

    claim: Claim
    due: datetime
    changed: datetime
    state: DeliveryState = DeliveryState.PENDING
    leased: bool = False
    not_before: datetime | None = None

    @property
    def born(self) -> datetime:
        """When it was written, and its schedule began."""
        assert self.claim.created_at is not None
        return self.claim.created_at


@dataclass
class Rows:
    """Deliveries, what was asked for them, and switches that make the store fail."""

    clock: Callable[[], datetime]
    rows: dict[int, Row] = field(default_factory=dict)
    recorded: list[Attempt] = field(default_factory=list)
    claim_calls: int = 0
    forward_calls: int = 0
    next_due_calls: int = 0
    down: bool = False
    bug: bool = False
    blind: bool = False  # claim finds nothing of what next_due sees
    slow: asyncio.Event | None = None  # what a record waits for
    claim_seconds: float = 0.0  # how long a claim takes
    given_back: list[Claim] = field(default_factory=list)
    failed_over: list[str] = field(default_factory=list)  # endpoints, each time
    held: set[str] = field(default_factory=set)  # endpoints
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    def add(self, endpoint: str = "crm", *, leased: bool = False, lane: int = 0) -> Claim:
        """Write a delivery that is due now, or leased for a lane that has a slot for it."""
        number = len(self.rows) + 1
        event = Event(f"msg_{number}", "sms.received", "sms.received", b'{"n":%d}' % number)
        attempt = 1 if leased else 0
        now = self.clock()
        claim = Claim(
            number, endpoint, event, attempt, 0, 0.0, f"lease-{number}", created_at=now, lane=lane
        )
        self.rows[number] = Row(claim, now, now, leased=leased)
        return claim

    def wait(self, *, hours: int) -> None:
        """Let all of them wait for a retry, each a second less than the one before."""
        for number, row in enumerate(self.rows.values()):
            row.due = self.clock() + timedelta(hours=hours, seconds=-number)
            row.claim = replace(row.claim, attempt=5, step=5)

    def age(self, *, hours: int) -> None:
        """Let all of them have been due for so long."""
        for row in self.rows.values():
            row.due = self.clock() - timedelta(hours=hours)

    def states(self, endpoint: str = "crm") -> list[DeliveryState]:
        """Tell the states of an endpoint's deliveries."""
        return [row.state for row in self.rows.values() if row.claim.endpoint == endpoint]

    async def claim(
        self,
        endpoint: str,
        limit: int,
        order: Order = Order.NONE,
        since: datetime | None = None,
    ) -> list[Claim]:
        """Lease what is due."""
        self.claim_calls += 1
        await asyncio.sleep(self.claim_seconds)
        await self._commit()
        if self.blind:
            return []
        found = sorted(self._pending(endpoint), key=lambda row: row.due)
        taken = [row for row in found if (since or row.due) <= row.due <= self.clock()][:limit]
        for row in taken:
            old = row.claim
            row.leased = True
            assert old.created_at is not None
            elapsed = (self.clock() - old.created_at).total_seconds()
            row.claim = replace(old, attempt=old.attempt + 1, elapsed=elapsed)
        return [row.claim for row in taken]

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Undo claims."""
        await self._commit()
        for claim in claims:
            row = self.rows[claim.delivery_id]
            assert row.leased
            assert row.claim is claim
            row.leased = False
            row.state = DeliveryState.HELD if claim.endpoint in self.held else row.state
            row.claim = replace(claim, attempt=claim.attempt - 1)
            self.given_back.append(claim)

    async def next_due(self, endpoint: str) -> datetime | None:
        """Tell the earliest."""
        self.next_due_calls += 1
        await self._commit()
        return min((row.due for row in self._pending(endpoint)), default=None)

    async def bring_forward(
        self,
        endpoint: str,
        after: int,
        limit: int,
        over_since: datetime | None,
        again_since: datetime | None,
    ) -> tuple[int, int | None, datetime]:
        """Make due what failed, unless the endpoint asked for its wait since `over_since`."""
        self.forward_calls += 1
        await self._commit()
        behind = [
            row
            for row in self.rows.values()
            if row.claim.endpoint == endpoint
            and row.state in {DeliveryState.PENDING, DeliveryState.HELD}
            and row.claim.delivery_id > after
        ][:limit]
        failed = [row for row in self._failed(endpoint, over_since) if row in behind]
        for row in failed:
            again = again_since is not None and row.born < again_since <= row.changed
            row.due = self.clock() if again else row.born
        return len(failed), behind[-1].claim.delivery_id if behind else None, self.clock()

    async def try_one(self, endpoint: str, over_since: datetime | None) -> int:
        """Make one of these due that isn't yet."""
        await self._commit()
        later = [row for row in self._failed(endpoint, over_since) if row.due > self.clock()]
        for row in sorted(later, key=lambda row: row.due)[:1]:
            row.due = row.born
        return len(later[:1])

    def _failed(self, endpoint: str, over_since: datetime | None) -> list[Row]:
        return [
            row
            for row in self._pending(endpoint)
            if row.due > row.born
            and (
                row.not_before is None
                or row.not_before <= self.clock()
                or (over_since is not None and row.changed < over_since)
            )
        ]

    async def fail_over(self, endpoint: str) -> datetime:
        """Note it."""
        await self._commit()
        self.failed_over.append(endpoint)
        return self.clock()

    async def recovered(self, endpoint: str) -> None:
        """Forget it."""
        await self._commit()
        self.failed_over.remove(endpoint)

    async def record(self, attempt: Attempt) -> None:
        """Write what came of it."""
        if self.slow is not None:
            await self.slow.wait()
        await self._commit()
        row = self.rows[attempt.claim.delivery_id]
        assert row.leased
        row.leased, row.changed = False, self.clock()
        row.state = _STATES[type(attempt.decision).__name__]
        match attempt.decision:
            case RetryAt(at=at, step=step):
                row.due, row.not_before = at, attempt.decision.not_before
                old = row.claim
                row.claim = replace(old, step=step)
            case Hold(whole_endpoint=True):
                self.held.add(attempt.claim.endpoint)
                for other in self._pending(attempt.claim.endpoint):
                    other.state = DeliveryState.HELD
            case _:
                pass
        async with self._more:
            self.recorded.append(attempt)
            self._more.notify_all()

    async def have(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until this many attempts are recorded."""
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: len(self.recorded) >= count)

    def _pending(self, endpoint: str) -> list[Row]:
        return [
            row
            for row in self.rows.values()
            if row.claim.endpoint == endpoint
            and row.state is DeliveryState.PENDING
            and not row.leased
        ]

    async def _commit(self) -> None:
        await asyncio.sleep(0)
        if self.bug:
            raise ZeroDivisionError
        if self.down:
            raise StoreUnavailable("the database is locked")
