"""The slots of an endpoint: how many attempts run, and who may begin the next one. Pure."""

from __future__ import annotations

from typing import Final

# A slot is free when its call has ended, before the record is committed: otherwise calls would
# mostly wait for the disk. So many pending records per slot stop a lane whose store hangs.
_RECORDS_PER_SLOT: Final = 4
FRESH_SECONDS: Final = 1.0  # after the last fresh delivery its share is left free


class Slots:
    """Counts an endpoint's attempts, and shares its slots between fresh deliveries and the backlog.

    Each may use all slots while the other wants none, and half of them while both do. A single
    slot can't be shared: the backlog has it. Times are seconds of a monotonic clock.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._share = count // 2  # of fresh deliveries
        self._backlog = 0
        self._fresh = 0
        self._fresh_until = 0.0
        self.recording = 0  # attempts whose call has ended and whose record isn't committed yet

    @property
    def busy(self) -> int:
        """How many slots are reserved or running."""
        return self._backlog + self._fresh

    @property
    def share_left(self) -> int:
        """How many of the fresh deliveries' share of the slots they don't have."""
        return self._share - self._fresh

    def for_fresh(self, now: float, *, backlog: bool) -> int:
        """Return how many fresh deliveries may begin now; `backlog`: older ones are due."""
        self._fresh_until = now + FRESH_SECONDS
        return min(self._free, self._share - self._fresh) if backlog else self._free

    def for_backlog(self, now: float) -> int:
        """Return how many deliveries of the backlog may begin now."""
        if now >= self._fresh_until:
            return self._free
        return min(self._free, self._count - self._share - self._backlog)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the backlog may have more by time alone; None if it can't."""
        return self._fresh_until - now if self._free > 0 and now < self._fresh_until else None

    def take(self, count: int = 1, *, fresh: bool = False) -> None:
        """Take slots."""
        if fresh:
            self._fresh += count
        else:
            self._backlog += count

    def give_back(self, count: int = 1, *, fresh: bool = False) -> None:
        """Give slots back."""
        self.take(-count, fresh=fresh)

    @property
    def _free(self) -> int:
        calls = self._count - self.busy
        return min(calls, self._count * _RECORDS_PER_SLOT - self.busy - self.recording)
