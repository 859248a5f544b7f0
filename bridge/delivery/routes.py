"""Which of an endpoint's URLs an attempt goes to, and whether it may begin at all. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from bridge.delivery.breaker import Breaker

OUTAGE: Final = 3  # failures in a row
# While the failover URL is in use, one delivery tries the other one so often. It costs that
# delivery time, so the wait doubles with each failure.
FIRST_PROBE: Final = 10.0
LAST_PROBE: Final = 300.0
# Three messages that an endpoint never takes look like an outage each time, and go out before what
# is younger. So what waits is brought forward less and less often.
FIRST_SPACING: Final = 60.0
LAST_SPACING: Final = 3600.0


class Way(NamedTuple):
    """Where an attempt goes; a probe finds out whether the endpoint's own URL is back."""

    failover: bool = False
    probe: bool = False


class Routes:
    """Sends deliveries to an endpoint's failover URL for as long as its own one fails.

    That begins after `after` seconds of failures only, at least three of them; None: there is no
    failover URL. It ends with the first success at the endpoint's own URL, which then starts
    slowly, as after any outage; a relapse meanwhile is no reason to wait again. Each URL has a
    breaker. Times are seconds of a monotonic clock.
    """

    def __init__(
        self, concurrency: int, after: float | None, *, failing: bool = False, over: bool = False
    ) -> None:
        self._concurrency = concurrency
        self._after = after
        self.over = over and after is not None
        self._own = Breaker(concurrency, failing=failing or self.over)
        self._other = Breaker(concurrency)
        self._in_a_row = {False: 0, True: 0}  # failures, by whether at the failover URL
        self._failed_from = 0.0  # the first of those at its own URL
        self._probing = False
        self._probe_wait = FIRST_PROBE
        self._next_probe = 0.0
        self._was_over = False
        self._relapsed = False
        self._proven = False  # by a success since the start
        self._brought_at = 0.0
        self._spacing = 0.0

    # What may begin: as a breaker.

    @property
    def open(self) -> bool:
        """Whether attempts are limited to probes."""
        return self._active.open

    @property
    def limited(self) -> bool:
        """Whether fewer attempts may begin than there are free slots."""
        return self._active.limited

    @property
    def failing(self) -> bool:
        """Whether the endpoint's own URL fails."""
        return self._own.open

    def allows(self, free: int, busy: int, now: float) -> int:
        """Return how many attempts may begin now, given the free and the busy slots."""
        allowed = self._active.allows(free, busy, now)
        return max(allowed, 1) if free > 0 and self._probe_is_due(now) else allowed

    def wait(self, busy: int, now: float) -> float | None:
        """Return the seconds until `allows` can change by time alone; as a breaker's."""
        waits = [self._active.wait(busy, now)]
        if self.over and not self._probing:
            waits.append(max(0.0, self._next_probe - now))
        return min((each for each in waits if each is not None), default=None)

    def began(self, now: float) -> Way:
        """Record that an attempt begins; return where it goes."""
        if self._probe_is_due(now):
            self._probing = True
            self._own.began(now)
            return Way(probe=True)
        self._active.began(now)
        return Way(failover=self.over)

    def nothing_due(self) -> None:
        """End a slow start: there is no backlog to spare the endpoint from."""
        self._active.nothing_due()

    # What attempts came to.

    def ends_outage(self, way: Way) -> bool:
        """Return whether a success there would end an outage.

        The first one since the start does: what the process before knew of one is forgotten, and
        it may have ended in the middle of bringing forward what waited.
        """
        breaker = self._other if way.failover else self._own
        return not self._proven or breaker.open or self._in_a_row[way.failover] >= OUTAGE

    def brings_forward(self, now: float) -> float:
        """Return the seconds until what waits may be brought forward again after an outage."""
        return max(0.0, self._brought_at + self._spacing - now)

    def brought_forward(self, now: float) -> None:
        """Record that some were; after a long time without, the next ones may be at once."""
        long_ago = now - self._brought_at >= self._spacing + LAST_SPACING
        spacing = FIRST_SPACING if long_ago else 2 * self._spacing
        self._spacing = min(max(FIRST_SPACING, spacing), LAST_SPACING)
        self._brought_at = now

    def succeeded(self, way: Way) -> bool:
        """Record a success; True if the endpoint was failing until now: its own URL is in use."""
        self._in_a_row[way.failover] = 0
        self._proven = True
        if way.failover:
            self._other.succeeded()
            return False
        self._probing = self._probing and not way.probe
        self._was_over, self.over = self._was_over or self.over, False
        self._probe_wait = FIRST_PROBE
        recovered = self._own.succeeded()
        self._was_over = self._was_over and self._own.limited  # until the slow start is over
        return recovered

    def failed(self, way: Way, now: float) -> bool:
        """Record a failure; True if the endpoint is failing from now on."""
        self._in_a_row[way.failover] += 1
        if way.failover:
            self._other.failed()
            return False
        if way.probe:
            self._probing = False
            self._next_probe = now + self._probe_wait
            self._probe_wait = min(2 * self._probe_wait, LAST_PROBE)
        if self._in_a_row[False] == 1:
            self._failed_from = now
        starting = self._own.limited
        opened = self._own.failed()
        self._relapsed = self._relapsed or (opened and starting and self._was_over)
        return opened

    def is_due(self, now: float) -> bool:
        """Whether it is time to use the failover URL; then call `fail_over`."""
        if self._after is None or self.over:
            return False
        long = self._in_a_row[False] >= OUTAGE and now - self._failed_from >= self._after
        return long or self._relapsed

    def fail_over(self, now: float) -> None:
        """Use the failover URL from now on."""
        self.over, self._relapsed = True, False
        self._own.trip()
        self._other = Breaker(self._concurrency)
        self._in_a_row[True] = 0
        self._next_probe = now + self._probe_wait

    @property
    def _active(self) -> Breaker:
        return self._other if self.over else self._own

    def _probe_is_due(self, now: float) -> bool:
        return self.over and not self._probing and now >= self._next_probe
