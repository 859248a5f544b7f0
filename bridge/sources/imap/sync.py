"""Takes in the mails of a folder: search, fetch, commit, then mark or move them as configured.

The search is authoritative: whatever the server pushed or did not push, the next search finds a
mail above the settled UID. A mail is not touched before its commit. At most two windows of mails
are in memory: while one is committed, the next is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

from bridge.config.imap import Afterwards, ImapSettings, Step
from bridge.errors import (
    BridgeError,
    ImapRefused,
    QuarantineFull,
    StoreUnavailable,
    TrustUnavailable,
)
from bridge.model import Arrival, ArrivalOutcome, MailboxPlace, Receipt
from bridge.sources.imap.act import actions_of, carry_out
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.fetch import FailedMails, FetchedMail, WindowReader
from bridge.sources.imap.folder import Folder
from bridge.sources.imap.places import Cursors
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.start import find_wanted
from bridge.sources.imap.status import Alarm, MailboxStatus
from bridge.sources.imap.windows import portions

_ONLY_MARKED: Final = r"the server has no UIDPLUS: the mails stay, marked \Deleted"


class ImapSync:
    """Synchronises one folder over any number of connections; one `run` at a time."""

    def __init__(
        self,
        settings: ImapSettings,
        accept: Callable[[Arrival], Awaitable[Receipt]],
        cursors: Cursors,
        status: MailboxStatus,
        *,
        clock: Callable[[], datetime],
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._status = status
        self._clock = clock
        self._stopping = stopping
        self._actions = actions_of(settings)
        # If no mail is ever changed, the folder is opened read-only.
        leaves_all = all(action.step is Step.LEAVE for action in self._actions.values())
        self._folder = Folder(settings, cursors, status, read_only=leaves_all, clock=clock)
        self._failed = FailedMails(settings, status, stopping.is_set)
        self._progress: Progress | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._failure: StoreUnavailable | None = None
        self._refused: dict[Afterwards, str] = {}  # in this sync
        self._logged: dict[Afterwards, str] = {}  # the last reason that was logged

    def connected(self) -> None:
        """Note that the next run has a new connection."""
        self._folder.connected()

    async def run(self, client: ImapClient) -> int:
        """Take in all mails that are there now; return how many were new.

        Raises StoreUnavailable if the store could not store one, ImapError if the server or the
        connection failed; what was committed until then is not read again.
        """
        self._refused.clear()
        self._failure = None
        progress = await self._folder.open(client)
        if progress is not self._progress:
            self._progress = progress
            self._failed.forget_all()
        wanted = self._failed.due(progress.found(await find_wanted(client, progress)))
        try:
            await self._take(client, progress, wanted)
        finally:
            self._status.open = progress.open
        if self._failure is not None:
            raise self._failure
        await self._folder.advance()
        if not self._stopping.is_set():
            self._status.record_sync()
        return len(wanted)

    async def settle(self) -> None:
        """Wait for in-flight commits, so that no mail is read a second time meanwhile."""
        while self._commits:
            await asyncio.wait(self._commits)

    def abort(self) -> None:
        """Stop waiting for commits; what was handed to the store is committed all the same."""
        for task in self._commits:
            task.cancel()

    @property
    def problem(self) -> str | None:
        """What an operator must fix although the mailbox is being read."""
        if self._refused:
            return next(iter(self._refused.values()))
        waiting = self._failed.waiting
        return f"{waiting} mails cannot be taken in yet; the log says which" if waiting else None

    async def _take(self, client: ImapClient, progress: Progress, wanted: Sequence[int]) -> None:
        await self._act(client, progress)  # on what was committed over an earlier connection
        windows = WindowReader(self._settings, self._status, self._failed, client, progress, wanted)
        reading = await windows.next()
        while reading is not None:
            commits = [self._commit(mail, progress) for mail in reading]
            reading = None  # only the commits hold the mails now, and release them one by one
            following = None
            if not self._stopping.is_set():
                following = await windows.next()
            await asyncio.wait(commits)
            await self._act(client, progress)
            if self._failure is not None:
                return
            reading = following

    def _commit(self, mail: FetchedMail, progress: Progress) -> asyncio.Task[None]:
        """Store a mail in its own task, which a lost connection does not cancel."""
        task = asyncio.get_running_loop().create_task(self._store(mail, progress))
        self._commits.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._commits.discard)
        return task

    async def _store(self, mail: FetchedMail, progress: Progress) -> None:
        name = self._settings.name
        settled = progress.cursor
        place = MailboxPlace(name, self._settings.folder, progress.uidvalidity, mail.uid, settled)
        arrival = Arrival(place, name, mail.raw, received_at=self._clock())
        try:
            receipt = await self._accept(arrival)
        except QuarantineFull as error:  # a stranger's mail: the others are still taken
            self._failed.defer_for_room(mail.uid, str(error))
            return
        except StoreUnavailable as error:
            self._failure = error
            return
        except TrustUnavailable as error:
            self._failed.defer(mail.uid, str(error))
            return
        except BridgeError as error:
            self._failed.fail(mail.uid, str(error))
            return
        except Exception as error:  # noqa: BLE001 - a bug must not become a lost mail
            self._status.bug(error, uid=mail.uid)
            self._failed.fail(mail.uid, f"a bug in smsbridge ({type(error).__name__})")
            return
        self._failed.forget(mail.uid)
        progress.committed[mail.uid] = receipt.outcome
        self._status.record_commit(mail.meta.internaldate)
        if settled is not None:
            self._folder.stored(settled)

    async def _act(self, client: ImapClient, progress: Progress) -> None:
        """Mark, move or delete committed mails as configured; retry later what is refused."""
        todo: dict[Afterwards, list[int]] = {}
        for uid, outcome in progress.committed.items():
            todo.setdefault(self._action(outcome), []).append(uid)
        for action, uids in todo.items():
            if action in self._refused:
                continue
            for some in portions(sorted(uids)):
                try:
                    if not await carry_out(action, client, some):
                        self._alarm(action, Alarm.ONLY_MARKED, _ONLY_MARKED)
                except ImapRefused as error:
                    self._refused[action] = str(error)
                    self._alarm(action, Alarm.ACTION_REFUSED, str(error))
                    break
                for uid in some:
                    progress.finish(uid)

    def _action(self, outcome: ArrivalOutcome) -> Afterwards:
        return Afterwards(Step.LEAVE) if self._folder.locked else self._actions[outcome]

    def _alarm(self, action: Afterwards, alarm: Alarm, detail: str) -> None:
        """Raise an alarm; log it when its reason changes."""
        if self._logged.get(action) == detail:
            self._status.count_alarm(alarm)
            return
        self._logged[action] = detail
        self._status.alarm(alarm, action=str(action), detail=detail)
