"""How far each mailbox may be called read, while some of its mails are still under way.

A cursor that has passed a mail which was not committed would lose it: after a restart nobody
looks below the cursor. Mails are read and committed many at a time, one may take longer than the
next, and a commit may fail while the following one succeeds. So a UID that a source has begun
with holds the cursor below itself until it is committed, however often that fails.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bridge.model import Cursor, MailboxPlace

Folder = tuple[str, str]  # the mailbox's name and the folder's


@dataclass(slots=True, eq=False)
class _Track:
    """One reading of a folder, from where its cursor was."""

    uidvalidity: int
    begun: set[int] = field(default_factory=set)
    top: int | None = None  # the highest UID that was begun and is committed

    def reached(self, committed: Iterable[int]) -> int | None:
        """Say how far it is read once these are committed too; None: no further than before."""
        done = self.begun.intersection(committed)
        highest = max((*done, *([] if self.top is None else [self.top])), default=None)
        lowest_open = min(self.begun - done, default=None)
        if highest is None or lowest_open is None:
            return highest
        return min(highest, lowest_open - 1)


class Tracks:
    """Keeps what is under way in each folder; for the event loop and the writer's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks: dict[Folder, _Track] = {}

    def restart(self, mailbox: str, folder: str) -> None:
        """Forget what is under way: its source begins again at the cursor.

        What was begun before and is committed later moves the cursor no more.
        """
        with self._lock:
            self._tracks.pop((mailbox, folder), None)

    def expect(self, place: MailboxPlace) -> None:
        """Hold the cursor below this UID until it is committed."""
        with self._lock:
            track = self._tracks.get((place.mailbox, place.folder))
            if track is None or track.uidvalidity != place.uidvalidity:
                track = self._tracks[place.mailbox, place.folder] = _Track(place.uidvalidity)
            track.begun.add(place.uid)

    def reached(self, places: Sequence[MailboxPlace]) -> dict[Folder, Cursor]:
        """Say where each folder's cursor is to be once these are committed; changes nothing."""
        found: dict[Folder, Cursor] = {}
        with self._lock:
            for folder, (track, uids) in self._sorted(places).items():
                uid = track.reached(uids)
                if uid is not None:
                    found[folder] = Cursor(track.uidvalidity, uid)
        return found

    def committed(self, places: Sequence[MailboxPlace]) -> None:
        """Take these as committed."""
        with self._lock:
            for track, uids in self._sorted(places).values():
                done = track.begun.intersection(uids)
                track.begun -= done
                track.top = max((*done, *([] if track.top is None else [track.top])), default=None)

    def capped(self, mailbox: str, folder: str, cursor: Cursor) -> Cursor:
        """Lower a cursor to below what is still under way."""
        with self._lock:
            track = self._tracks.get((mailbox, folder))
            if track is None or track.uidvalidity != cursor.uidvalidity or not track.begun:
                return cursor
            return Cursor(cursor.uidvalidity, min(cursor.uid, min(track.begun) - 1))

    def _sorted(self, places: Sequence[MailboxPlace]) -> dict[Folder, tuple[_Track, list[int]]]:
        """Sort UIDs by folder, leaving out those of a UIDVALIDITY that is over."""
        uids: defaultdict[Folder, list[int]] = defaultdict(list)
        for place in places:
            track = self._tracks.get((place.mailbox, place.folder))
            if track is not None and track.uidvalidity == place.uidvalidity:
                uids[place.mailbox, place.folder].append(place.uid)
        return {folder: (self._tracks[folder], some) for folder, some in uids.items()}
