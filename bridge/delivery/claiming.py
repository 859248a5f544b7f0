"""Claims an endpoint's due deliveries: fresh ones first, then those that have been due longest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from bridge.delivery.admission import Admission, Begun
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.outbox import Outbox
from bridge.model import Claim

POLL_SECONDS: Final = 1.0  # the most that an operator's retry, or another bridge's row, waits
_WRITTEN: Final = timedelta(seconds=2)  # ago, at most, when its lane hears of a fresh delivery


class Claiming:
    """Claims due deliveries as far as they may begin, and knows whether any are due.

    A fresh delivery for which no slot was free is written as due, behind a whole backlog. So what
    has become due since then is claimed first, in the slots that are the share of fresh ones.
    `begin` starts what is claimed; `clock` is the store's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        outbox: Outbox,
        admission: Admission,
        begin: Callable[[Begun], None],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._name = endpoint.name
        self._order = endpoint.order
        self._outbox = outbox
        self._admission = admission
        self._begin = begin
        self._clock = clock
        self._monotonic = monotonic
        self.due = True  # rows are known to be due, or assumed to be at the start
        self._kicked = False  # a row may have been written during a claim
        self._fresh_since: datetime | None = None  # since when some may be due that had no slot

    def kick(self, *, fresh: bool = False) -> None:
        """Note that a row was just written without a slot."""
        self.due = self._kicked = True
        # What came in during an outage is its backlog.
        if fresh and (self._fresh_since is None or self._admission.routes.open):
            self._fresh_since = self._clock() - _WRITTEN

    async def claim(self, now: float) -> float | None:
        """Claim due deliveries, of which some begin at once.

        Returns the seconds until the next look, 0 only after progress; None: when something ends.
        """
        if self._fresh_since is not None and (slots := self._admission.room_for_fresh(now)):
            await self._claim_fresh(self._fresh_since, slots, now)
            return 0
        begin, ahead = self._admission.room(now)
        wanted = begin + ahead
        if not wanted:
            return self._admission.wait(now, due=True)
        # Slots are taken before waiting for the store, so that ingest can't reserve them.
        self._admission.slots.take(begin)
        self._kicked = False
        claims: Sequence[Claim] = ()
        try:
            claims = await self._outbox.claim(self._name, wanted, self._order, None)
        finally:
            for begun in self._admission.claimed(claims, begin, now, self._monotonic()):
                self._begin(begun)
        self.due = self._kicked or len(claims) == wanted
        if not self.due:
            self._admission.routes.nothing_due()
        if claims or self.due:
            return 0
        # next_due may see rows that claim can't take: wait for the next poll.
        return POLL_SECONDS

    async def _claim_fresh(self, since: datetime, slots: int, now: float) -> None:
        self._admission.slots.take(slots, fresh=True)
        self._fresh_since, more = None, True
        claims: Sequence[Claim] = ()
        try:
            claims = await self._outbox.claim(self._name, slots, self._order, since)
            more = len(claims) == slots
        finally:
            if more:
                self._fresh_since = since
            for begun in self._admission.claimed_fresh(claims, slots, now, self._monotonic()):
                self._begin(begun)

    async def until_due(self) -> float:
        """Return the seconds until the next one is due, or the next look; 0: some are due now."""
        at = await self._outbox.next_due(self._name)
        if at is None:
            return POLL_SECONDS
        seconds = (at - self._clock()).total_seconds()
        if seconds > 0:
            return min(seconds, POLL_SECONDS)
        self.due = True
        return 0

    async def give_back(self) -> None:
        """Give back what is ours and won't begin."""
        if unwanted := self._admission.unwanted(self._monotonic()):
            await self._outbox.give_back(unwanted)
