"""A folder over many connections: it is opened, we find out where to go on, and how far we are.

What is settled is in the store; here it is kept while we read, and committed when nothing else
carries it there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.model import Cursor
from bridge.sources.imap.alarms import Alarm, Alarms
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Mailbox
from bridge.sources.imap.start import LOOK_BACK, begin_afresh, find_last

log = logs.logger("imap")

_NOWHERE: Final = Cursor(0, 0)  # no folder has this UIDVALIDITY: whatever it has is another one


class Cursors(Protocol):
    """What the source needs of the store: where it was. Raises StoreError."""

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Give what was last committed; None if the folder was never read."""

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        """Give the UID from which on every mail is wanted; None if all are, or it is unknown."""

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        """Commit how far the folder is settled; under the same UIDVALIDITY never backwards.

        From `horizon` on every mail is wanted.
        """


class Folder:
    """The one folder of a mailbox that is read.

    `read_only`: nothing is ever changed in it. After `open`, `progress` says where we are, and
    `locked` whether the server lets us read only.
    """

    def __init__(
        self,
        settings: ImapSettings,
        cursors: Cursors,
        alarms: Alarms,
        *,
        read_only: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._cursors = cursors
        self._alarms = alarms
        self._read_only = read_only
        self._clock = clock
        self._progress: Progress | None = None
        self._stored: int | None = None  # the cursor that the store has
        self._horizon: int | None = None  # where a start that we made ourselves began
        self._opened_at = -math.inf
        self.locked: bool | None = None

    @property
    def progress(self) -> Progress:
        """How far we are; `open` comes first."""
        assert self._progress is not None, "open comes first"
        return self._progress

    def connected(self) -> None:
        """Say that there is a new connection."""
        self._opened_at = -math.inf

    async def open(self, client: ImapClient) -> Progress:
        """Open the folder, at each poll anew; give how far we are.

        A folder that somebody deletes and makes again has another UIDVALIDITY; a server may leave
        us in the deleted one, where nothing ever comes, and say nothing. And without it (or a
        NOOP) a server need not search in what came since. The progress is another object once
        its UIDs count for nothing.
        """
        now = asyncio.get_running_loop().time()
        if not client.pushed or now >= self._opened_at + self._settings.poll:
            mailbox = await client.select(self._settings.folder, readonly=self._read_only)
            self._note_lock(mailbox)
            await self._begin(mailbox, client)
            self._opened_at = now
        return self.progress

    def stored(self, cursor: int) -> None:
        """Note that the store has this cursor: it came with an arrival."""
        self._stored = max(cursor, self._stored or 0)

    async def advance(self) -> None:
        """Store the cursor of what came to its end after the last arrival was handed over."""
        cursor = self.progress.cursor
        if cursor is not None and (self._stored is None or cursor > self._stored):
            await self._store(Cursor(self.progress.uidvalidity, cursor))

    async def _store(self, at: Cursor) -> None:
        name, folder = self._settings.name, self._settings.folder
        await self._cursors.advance(name, folder, at, horizon=self._horizon)
        self._stored = at.uid

    def _note_lock(self, mailbox: Mailbox) -> None:
        was, self.locked = self.locked, mailbox.readonly
        if mailbox.readonly and not was and not self._read_only:
            log.warning(
                "imap.readonly", mailbox=self._settings.name, folder=self._settings.folder,
                detail="the folder can only be read: mails are taken in and left as they are",
            )  # fmt: skip

    async def _begin(self, mailbox: Mailbox, client: ImapClient) -> None:
        """Find out where to go on in a folder that was just opened."""
        known = self._progress or await self._remembered()
        last = await find_last(client, mailbox)
        if known is None:
            await self._start_first(mailbox.uidvalidity, last)
        elif known.uidvalidity != mailbox.uidvalidity or (
            mailbox.uidnext is not None and last < known.settled
        ):
            # A mailbox that was restored from a backup may keep its UIDVALIDITY and give UIDs a
            # second time: below the cursor, where nobody would look for them. Where the server
            # hides its next UID, the last mail may just have been moved away.
            await self._start_again(known, mailbox.uidvalidity, last)
        else:
            self._progress = known

    async def _remembered(self) -> Progress | None:
        """Go on where the store says; a first start that did not come to its end goes on, too."""
        name, folder = self._settings.name, self._settings.folder
        cursor = await self._cursors.cursor(name, folder)
        if cursor is None:
            return None
        horizon = await self._cursors.horizon(name, folder)
        self._stored = cursor.uid
        if horizon is None or cursor.uid >= horizon - 1:
            return Progress(cursor.uidvalidity, base=cursor.uid, settled=cursor.uid)
        self._horizon = horizon
        start, today = self._settings.start, self._clock().date()
        return begin_afresh(start, today, cursor.uidvalidity, horizon - 1, again=False)

    async def _start_first(self, uidvalidity: int, last: int) -> None:
        """Begin for the first time; where only some old mails are wanted, keep since when all are.

        Else each restart before the last of them is settled would begin anew, and pass over what
        came since and was read by somebody else.
        """
        begun = self._start(uidvalidity, last, again=False)
        if begun.cursor is None:
            await self._store(Cursor(uidvalidity, 0))
        self._progress = begun

    async def _start_again(self, known: Progress, uidvalidity: int, last: int) -> None:
        """Begin anew in a folder whose mails have other numbers than we know."""
        name, folder = self._settings.name, self._settings.folder
        self._alarms.tell(
            Alarm.UIDVALIDITY_CHANGED, folder=folder,
            was=known.uidvalidity, now=uidvalidity, uid=known.settled, last=last,
            detail="every mail has a new number: the folder is read again, what is known is "
            f"found out; after more than {LOOK_BACK.days} days' absence run reconcile --all",
        )  # fmt: skip
        if known.uidvalidity == uidvalidity:
            # Or else the store would keep the cursor that is too high, and believe it again
            # after a restart, once the UIDs have come so far.
            await self._cursors.advance(name, folder, _NOWHERE)
        self._progress = self._start(uidvalidity, last, again=True)

    def _start(self, uidvalidity: int, last: int, *, again: bool) -> Progress:
        start, today = self._settings.start, self._clock().date()
        begun = begin_afresh(start, today, uidvalidity, last, again=again)
        self._horizon = begun.base + 1
        self._stored = None
        return begun
