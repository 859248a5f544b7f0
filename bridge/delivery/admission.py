"""Decides which of an endpoint's deliveries begin, and when: by slots, rate and breakers. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from bridge.config.rate import Rate
from bridge.delivery.ahead import Ahead
from bridge.delivery.pace import Pace
from bridge.delivery.routes import Routes, Way
from bridge.delivery.slots import Slots
from bridge.delivery.waiting import AHEAD_SECONDS, Waiting
from bridge.model import Claim

# A fresh delivery may have to wait so long for the endpoint's rate, and begins in time even if
# another one goes first.
_RATE_SECONDS: Final = AHEAD_SECONDS / 2


class Begun(NamedTuple):
    """A delivery that begins now, in a slot of its own."""

    claim: Claim
    fresh: bool
    way: Way


class Admission:
    """Keeps what is leased to us and has not begun, and says what begins next.

    Fresh deliveries have a slot from `reserve` on, also while the rate makes them wait; those of
    the backlog get one when they begin. When all slots are in use, fresh ones are promised the next
    slots (those of their share, if something older is due), and wait for them with what was claimed
    ahead: so they are leased with the commit that writes them, and no other is needed to claim
    them. Times are seconds of a monotonic clock.
    """

    def __init__(self, concurrency: int, rate: Rate | None, routes: Routes) -> None:
        self.routes = routes
        self.slots = Slots(concurrency)
        self._pace = Pace(rate)
        self._ahead = Ahead(concurrency, self._pace.interval)
        self._fresh = Waiting()
        self._reserved: deque[float] = deque()  # when slots were, for what is being written
        self._promised: deque[float] = deque()  # when others of those were promised one

    # Fresh deliveries.

    def reserve(self, now: float, *, due: bool) -> bool:
        """Reserve a slot; False if it can't be used soon. `due`: others are due already."""
        free = self.slots.for_fresh(now, backlog=due or len(self._ahead) > 0)
        if self.routes.open:
            return False
        if self.routes.allows(free, self.slots.busy, 0.0) <= 0:
            may = not due or len(self._promised) < self.slots.share_left
            return may and self._promise(now)
        others = self._pace.before_fresh(
            len(self._reserved) + len(self._fresh), len(self._ahead) or int(due)
        )
        if self._pace.wait_behind(others, now) > _RATE_SECONDS:
            return False
        self._reserved.append(now)
        self.slots.take(fresh=True)
        return True

    def release(self) -> None:
        """Free a reserved slot that isn't used."""
        if self._promised:
            self._promised.popleft()
            return
        self._reserved.pop()
        self.slots.give_back(fresh=True)

    def use(self, claim: Claim, now: float) -> Begun | None:
        """Begin a delivery in its reserved slot; None if it has to wait, or is too old: it is kept.

        It is too old if its commit took so long that its lease may end during the attempt.
        """
        if self._promised and not self._reserved:
            self._ahead.add([claim], self._promised.popleft())
            return None
        asked_at = self._reserved.popleft()
        in_time = now < asked_at + AHEAD_SECONDS
        if in_time and self._pace.ready(now) and not len(self._fresh):
            return self._begin(claim, now, fresh=True)
        self._fresh.add([claim], asked_at)
        return None

    def _promise(self, now: float) -> bool:
        """Promise a fresh delivery one of the next slots; False if it would wait for long."""
        if self._pace.interval:
            return False
        if not self._ahead.has_turn_soon(len(self._promised)):
            return False
        self._promised.append(now)
        return True

    # The backlog.

    def room(self, now: float) -> tuple[int, int]:
        """Return how many of the backlog may begin now, and how many to claim beyond them."""
        ahead = 0 if self.routes.limited else self._ahead.room()
        return min(self._allowed(now), self._pace.ready(now)), ahead

    def claimed(self, claims: Sequence[Claim], begin: int, now: float, then: float) -> list[Begun]:
        """Take what was claimed from `now` until `then`, in `begin` slots; return what begins.

        Slots that aren't needed are given back; what doesn't begin is kept. After a commit that
        took too long, that is all of them.
        """
        in_time = then < now + AHEAD_SECONDS
        begins = min(begin, len(claims), self._pace.ready(then)) if in_time else 0
        self.slots.give_back(begin - begins)
        self._ahead.claimed(then - now)
        self._ahead.add(claims[begins:], now)
        return [self._begin(claim, then, fresh=False) for claim in claims[:begins]]

    # All.

    def next(self, now: float) -> Begun | None:
        """Return what begins now of what is ours already, if anything does."""
        if not self._pace.ready(now):
            return None
        backlog = len(self._ahead) if self._allowed(now) else 0
        fresh = self._pace.turn_of_fresh(len(self._fresh), backlog)
        if not (fresh or backlog):
            return None
        claim = (self._fresh if fresh else self._ahead).take(now)
        if claim is None:
            return None
        self.slots.take(0 if fresh else 1)
        return self._begin(claim, now, fresh=fresh)

    def called(self, seconds: float) -> None:
        """Note how long a call took."""
        self._ahead.called(seconds)

    def wait(self, now: float, *, due: bool) -> float | None:
        """Return the seconds until more may be claimed, or some are too old to begin.

        None: when something ends. `due`: others are due that aren't ours. Call it with the time at
        which `next` and `room` had nothing more.
        """
        waits = [self._ahead.wait(now), self._fresh.wait(now)]
        if due and self._allowed(now):
            waits.append(self._pace.wait(now) or None)
        elif due and self.slots.for_backlog(now) > 0:
            waits.append(self.routes.wait(self.slots.busy, now))
        elif due:
            waits.append(self.slots.wait(now))
        return soonest(*waits)

    def wait_for_rate(self, now: float) -> float | None:
        """Return the seconds until the rate lets begin what is ours already; None: it does."""
        some = len(self._fresh) or len(self._ahead)
        return (self._pace.wait(now) if some else 0.0) or None

    def paced(self, now: float, *, due: bool) -> bool:
        """Return whether a delivery waits for nothing but the endpoint's rate."""
        if self._pace.ready(now):
            return False
        backlog = due or len(self._ahead) > 0
        return len(self._fresh) > 0 or (backlog and self._allowed(now) > 0)

    def dismiss(self, now: float) -> None:
        """Begin nothing more of what is ours already: it is to be given back."""
        self._ahead.dismiss(now)
        self._fresh.dismiss(now)

    def unwanted(self, now: float) -> list[Claim]:
        """Return those that won't begin, once; the slots of fresh ones are free from now on."""
        fresh = self._fresh.unwanted(now)
        self.slots.give_back(len(fresh), fresh=True)
        return [*fresh, *self._ahead.unwanted(now)]

    def _allowed(self, now: float) -> int:
        """Return how many of the backlog slots and breaker let begin now."""
        free = max(0, self.slots.for_backlog(now))
        return max(0, self.routes.allows(free, self.slots.busy, now))

    def _begin(self, claim: Claim, now: float, *, fresh: bool) -> Begun:
        self._pace.began(now, fresh=fresh)
        return Begun(claim, fresh, self.routes.began(now))


def soonest(*waits: float | None) -> float | None:
    """Return the shortest of some waits; None if all of them last until something ends."""
    return min((each for each in waits if each is not None), default=None)
