"""Opens a folder, decides where to continue, and stores how far it has been read.

The cursor is committed with each arrival; here it is committed when no arrival carries it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.model import Cursor
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.places import Cursors
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Mailbox
from bridge.sources.imap.start import LOOK_BACK, find_last, first_progress
from bridge.sources.imap.status import Alarm, MailboxStatus

log = logs.logger("imap")

_NOWHERE: Final = Cursor(0, 0)  # no folder has this UIDVALIDITY


class Folder:
    """The one folder of a mailbox that is read.

    `read_only`: nothing in it is ever changed. After `open`, `progress` has the position, and
    `locked` is whether the server allows us to read only.
    """

    def __init__(
        self,
        settings: ImapSettings,
        cursors: Cursors,
        status: MailboxStatus,
        *,
        read_only: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._cursors = cursors
        self._status = status
        self._read_only = read_only
        self._clock = clock
        self._progress: Progress | None = None
        self._stored: int | None = None  # the stored cursor
        self._horizon: int | None = None  # where our own first start began
        self._opened_at = -math.inf
        self.locked: bool | None = None

    @property
    def progress(self) -> Progress:
        """The position in the folder; only after `open`."""
        assert self._progress is not None, "open comes first"
        return self._progress

    def connected(self) -> None:
        """Note that there is a new connection."""
        self._opened_at = -math.inf

    async def open(self, client: ImapClient) -> Progress:
        """Open the folder, again at each poll; return the progress.

        A folder that is deleted and created again has another UIDVALIDITY; a server may silently
        leave us in the deleted one, where no mail ever arrives. And without a new SELECT (or a
        NOOP) a server need not include new mail in a search. The progress is a new object once
        the UIDs are no longer valid.
        """
        now = asyncio.get_running_loop().time()
        if not client.pushed or now >= self._opened_at + self._settings.poll:
            mailbox = await client.select(self._settings.folder, readonly=self._read_only)
            self._note_lock(mailbox)
            await self._begin(mailbox, client)
            self._opened_at = now
        return self.progress

    def stored(self, cursor: int) -> None:
        """Note that the store has this cursor: it was committed with an arrival."""
        self._stored = max(cursor, self._stored or 0)

    async def advance(self) -> None:
        """Store the cursor if mails were finished after the last arrival was handed over."""
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
                detail="the folder is read-only: mails are taken in and left as they are",
            )  # fmt: skip

    async def _begin(self, mailbox: Mailbox, client: ImapClient) -> None:
        """Determine where to continue in a folder that was just opened."""
        before = self._progress or await self._stored_progress()
        last = await find_last(client, mailbox)
        if before is None:
            await self._start_first(mailbox.uidvalidity, last)
        elif before.uidvalidity != mailbox.uidvalidity or (
            mailbox.uidnext is not None and last < before.settled
        ):
            # A mailbox restored from a backup may keep its UIDVALIDITY and assign UIDs a second
            # time: below the cursor, where they would never be found. Where the server hides its
            # next UID, the last mail may just have been moved away.
            await self._start_again(before, mailbox.uidvalidity, last)
        else:
            self._progress = before

    async def _stored_progress(self) -> Progress | None:
        """Continue at the stored cursor; an unfinished first start is continued, too."""
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
        return first_progress(start, today, cursor.uidvalidity, horizon - 1, again=False)

    async def _start_first(self, uidvalidity: int, last: int) -> None:
        """Start for the first time; if only some old mails are wanted, store from where all are.

        Otherwise each restart before the last of them is settled would be another first start, and
        skip mail that arrived since and was read by somebody else.
        """
        begun = self._start(uidvalidity, last, again=False)
        if begun.cursor is None:
            await self._store(Cursor(uidvalidity, 0))
        self._progress = begun

    async def _start_again(self, before: Progress, uidvalidity: int, last: int) -> None:
        """Start again in a folder whose mails have new UIDs."""
        name, folder = self._settings.name, self._settings.folder
        self._status.alarm(
            Alarm.UIDVALIDITY_CHANGED, folder=folder,
            was=before.uidvalidity, now=uidvalidity, uid=before.settled, last=last,
            detail="every mail has a new UID: the folder is read again, duplicates are "
            f"recognised; after more than {LOOK_BACK.days} days' absence run reconcile --all",
        )  # fmt: skip
        if before.uidvalidity == uidvalidity:
            # Otherwise the store would keep the cursor that is too high, and use it after a
            # restart, once the UIDs have grown past it.
            await self._cursors.advance(name, folder, _NOWHERE)
        self._progress = self._start(uidvalidity, last, again=True)

    def _start(self, uidvalidity: int, last: int, *, again: bool) -> Progress:
        start, today = self._settings.start, self._clock().date()
        begun = first_progress(start, today, uidvalidity, last, again=again)
        self._horizon = begun.base + 1
        self._stored = None
        return begun
