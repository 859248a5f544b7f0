"""How far a folder is settled while many of its mails are in flight.

A mail is finished once it is committed and has been marked or moved as configured (or it is set
aside on purpose). Commits complete out of order and some fail, so the stored cursor never means
"the last one committed" but "everything up to here is finished": `settled` stays below the lowest
UID that was found and is not finished. It is read before an arrival is handed over, and stored
with it. So it is correct in whatever order commits complete and whichever of them fail; after a
crash the mails above it are read again and recognised as duplicates, and their action is done then.
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge.model import ArrivalOutcome


class Progress:
    """One folder under one UIDVALIDITY, from `settled` on.

    Up to `base` only the mails that `criterion` finds are wanted. Until they are finished there
    is no cursor to store (`cursor` is None), because after a restart everything above a cursor is
    wanted.
    """

    def __init__(
        self, uidvalidity: int, *, base: int, settled: int, criterion: str = "ALL"
    ) -> None:
        self.criterion = criterion
        self.uidvalidity = uidvalidity
        self.base = base
        self.settled = settled
        self.committed: dict[int, ArrivalOutcome] = {}  # their action not yet done
        self._finished: set[int] = set()  # above `settled`
        self._found: list[int] = []
        self._next = 0  # in _found: the lowest that is not finished
        self._top = settled

    @property
    def cursor(self) -> int | None:
        """The UID that may be stored as the cursor; None if none may."""
        return self.settled if self.settled >= self.base else None

    def found(self, uids: Iterable[int]) -> list[int]:
        """Take the UIDs that a search found; return those to be fetched, in ascending order.

        A mail that was found before and no longer exists doesn't hold back the cursor.
        """
        self._found = sorted({uid for uid in uids if uid > self.settled})
        self._next = 0
        present = set(self._found)
        self._finished &= present
        self.committed = {uid: how for uid, how in self.committed.items() if uid in present}
        self._top = max(self._top, self.base, self._found[-1] if self._found else 0)
        wanted = [
            uid for uid in self._found if uid not in self._finished and uid not in self.committed
        ]
        self._move()
        return wanted

    def unfinished(self, but: Iterable[int]) -> list[int]:
        """Return the UIDs found up to `base` and not finished, except `but`, in ascending order."""
        excluded = {*but, *self._finished}
        later = self._found[self._next :]
        return [uid for uid in later if uid <= self.base and uid not in excluded]

    def finish(self, uid: int) -> None:
        """Record that nothing is left to be done with a mail."""
        self.committed.pop(uid, None)
        self._finished.add(uid)
        self._move()

    def _move(self) -> None:
        while self._next < len(self._found) and self._found[self._next] in self._finished:
            self._finished.discard(self._found[self._next])
            self._next += 1
        if self._next < len(self._found):
            self.settled = max(self.settled, self._found[self._next] - 1)
        else:
            self.settled = self._top

    @property
    def open(self) -> int:
        """How many mails are found and not finished."""
        return len(self._found) - self._next - len(self._finished)
