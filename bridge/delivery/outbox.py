"""What lanes need of the store, and how they wait for one that is down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from bridge.errors import StoreUnavailable
from bridge.model import Attempt, Claim, Order

FIRST_BACKOFF: Final = 0.1  # seconds, doubled up to the last, while the store is down
LAST_BACKOFF: Final = 5.0
T = TypeVar("T")


class Outbox(Protocol):
    """The deliveries of the store."""

    async def claim(
        self, endpoint: str, limit: int, order: Order, since: datetime | None
    ) -> list[Claim]:
        """Lease up to `limit` due deliveries to us, each counted as an attempt already.

        Those that have been due longest; with `since`, of those that became due since then. With an
        order, at most one of each conversation, and none while one of it is in flight.
        """
        ...

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Undo claims of which no attempt began, so that they are due as before.

        Don't ask again after StoreUnavailable: their leases end by themselves.
        """
        ...

    async def next_due(self, endpoint: str) -> datetime | None:
        """Return when the next claimable delivery is due; None if there is none."""
        ...

    async def record(self, attempt: Attempt) -> None:
        """Write an attempt and the delivery's new state."""
        ...

    async def bring_forward(
        self,
        endpoint: str,
        after: int,
        limit: int,
        over_since: datetime | None,
        again_since: datetime | None,
    ) -> tuple[int, int | None, datetime]:
        """Make due what failed, of the next `limit` open deliveries behind the id `after`.

        Returns how many those were, the id to go on behind (None: there are no more), and when that
        was. The oldest is claimed first; but what failed again since `again_since`, when this was
        done before, goes behind the others. Those that wait because the endpoint asked for it
        (Retry-After) go on waiting, unless that was before `over_since`, when its failover URL came
        into use.
        """
        ...

    async def try_one(self, endpoint: str, over_since: datetime | None) -> int:
        """Make one due that waits for a retry, as `bring_forward`; return how many that was."""
        ...

    async def fail_over(self, endpoint: str) -> datetime:
        """Note that the endpoint's failover URL is in use; return since when."""
        ...

    async def recovered(self, endpoint: str) -> None:
        """Note that the endpoint isn't failing, and its own URL is in use."""
        ...


async def until_stored(work: Callable[[], Awaitable[T]]) -> T:
    """Call `work` with exponential backoff until the store accepts it; the first call is late."""
    # A new object each time: tenacity keeps a run's state in it.
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_exponential(multiplier=FIRST_BACKOFF, max=LAST_BACKOFF),
    )
    await asyncio.sleep(FIRST_BACKOFF)
    return await retrying(work)
