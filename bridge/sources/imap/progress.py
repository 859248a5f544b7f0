"""How far a folder is settled, while many of its mails are under way at once.

A mail is finished once it is committed and its place in the mailbox is as configured (or it is
set aside on purpose). Commits end out of order and some fail, so the cursor that is stored never
says "the last one that was committed" but "everything up to here is finished": `settled` stays
below the lowest UID that was found and is not finished, whatever became of those above it. It is
read before an arrival is handed over and stored with it. So it is true in whatever order the
commits end and whichever of them fail; after a crash the mails above it are read once more, turn
out to be duplicates, and what was not yet done with them in the mailbox is done then.
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge.model import ArrivalOutcome


class Progress:
    """One folder under one UIDVALIDITY, from `settled` on.

    Below `base` not every mail is wanted, but those that `criterion` finds: so until they are
    finished there is nothing to store as a cursor (`cursor` is None), for after a restart all
    that is above a cursor is wanted.
    """

    def __init__(
        self, uidvalidity: int, *, base: int, settled: int, criterion: str = "ALL"
    ) -> None:
        self.criterion = criterion
        self.uidvalidity = uidvalidity
        self.base = base
        self.settled = settled
        self.committed: dict[int, ArrivalOutcome] = {}  # stored, their action not yet done
        self._finished: set[int] = set()  # above `settled`
        self._found: list[int] = []
        self._next = 0  # in _found: the lowest that is not finished
        self._top = settled

    @property
    def cursor(self) -> int | None:
        """What may be stored, if something may."""
        return self.settled if self.settled >= self.base else None

    def see(self, uids: Iterable[int]) -> list[int]:
        """Take in what a search found; return what is to be read, in ascending order.

        What was found before and is no longer there is gone: nothing holds the cursor for it.
        """
        self._found = sorted({uid for uid in uids if uid > self.settled})
        self._next = 0
        there = set(self._found)
        self._finished &= there
        self.committed = {uid: how for uid, how in self.committed.items() if uid in there}
        self._top = max(self._top, self.base, self._found[-1] if self._found else 0)
        wanted = [
            uid for uid in self._found if uid not in self._finished and uid not in self.committed
        ]
        self._move()
        return wanted

    def unfinished(self, but: Iterable[int]) -> list[int]:
        """Give what was found up to `base` and is not finished, less `but`, in ascending order."""
        known = {*but, *self._finished}
        later = self._found[self._next :]
        return [uid for uid in later if uid <= self.base and uid not in known]

    def finish(self, uid: int) -> None:
        """Say that nothing is left to be done about a mail."""
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
