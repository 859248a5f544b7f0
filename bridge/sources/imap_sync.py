"""Takes in what a folder holds: search, read, commit, then do with the mails as configured.

The search is the truth: whatever the server pushed or did not push, a mail above the settled UID
is found by the next search. Nothing is done to a mail before its commit. Two windows of mails are
in memory at most: while one is committed, the next one is read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from bridge import logs, metrics
from bridge.config.imap import Afterwards, ImapSettings, Step
from bridge.errors import (
    BridgeError,
    ImapRefused,
    ImapTooBig,
    ImapUnavailable,
    StoreUnavailable,
)
from bridge.model import Arrival, ArrivalOutcome, Cursor, MailboxPlace, Receipt, SourceKind
from bridge.sources.alarms import Alarm, Alarms
from bridge.sources.imap_action import actions_of, do
from bridge.sources.imap_client import ImapClient
from bridge.sources.imap_progress import Progress
from bridge.sources.imap_replies import Mailbox, Meta
from bridge.sources.imap_start import LOOK_BACK, begin_afresh, find_last, find_wanted
from bridge.sources.imap_windows import Windows, portions
from bridge.sources.watch import Pulse

log = logs.logger("imap")

_ONLY_MARKED: Final = r"the server has no UIDPLUS: the mails stay, marked \Deleted"
_AGAIN: Final = 300.0  # seconds until a mail that failed twice is tried again
_NOWHERE: Final = Cursor(0, 0)  # no folder has this UIDVALIDITY: whatever it has is another one
_BREAKS: Final = 3  # connections that end over one and the same mail before it is left for later


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


@dataclass(slots=True)
class ImapState:
    """How a mailbox does, for metrics and health; `problem` is a sentence for the operator."""

    connected: bool = False
    last_sync: datetime | None = None  # when it was last known to hold nothing that is not stored
    last_push: datetime | None = None
    lag: float | None = None  # seconds from the last mail's INTERNALDATE to its commit
    open: int = 0  # mails found and not finished
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    uid: int
    meta: Meta
    raw: bytes


class ImapSync:
    """One folder, over however many connections; one `run` at a time."""

    def __init__(
        self,
        settings: ImapSettings,
        accept: Callable[[Arrival], Awaitable[Receipt]],
        cursors: Cursors,
        state: ImapState,
        alarms: Alarms,
        read: Pulse,
        *,
        clock: Callable[[], datetime],
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._cursors = cursors
        self._state = state
        self._alarms = alarms
        self._read_at = read
        self._clock = clock
        self._stopping = stopping
        self._actions = actions_of(settings)
        self._progress: Progress | None = None
        self._stored: int | None = None  # the cursor that the store has
        self._horizon: int | None = None  # where a start that we made ourselves began
        self._commits: set[asyncio.Task[None]] = set()
        self._failure: StoreUnavailable | None = None
        self._failed: dict[int, tuple[int, float]] = {}  # UID → how often, not before
        # One of these is over the limit although its size is not, or ends the connection.
        self._singly_up_to = 0
        self._broke: dict[int, int] = {}  # UID → connections that ended while it alone was read
        self._refused: dict[Afterwards, str] = {}  # in this sync
        self._told: dict[Afterwards, str] = {}  # once for each reason
        self._readonly: bool | None = None
        self._opened_at = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether every mail is left as it is, so that the folder can be opened read-only."""
        return all(action.step is Step.LEAVE for action in self._actions.values())

    def connected(self) -> None:
        """Say that the next run has a new connection."""
        self._opened_at = -math.inf

    async def _open(self, client: ImapClient) -> None:
        """Open the folder, at each poll anew.

        A folder that somebody deletes and makes again has another UIDVALIDITY; a server may leave
        us in the deleted one, where nothing ever comes, and say nothing. And without it (or a
        NOOP) a server need not search in what came since.
        """
        now = asyncio.get_running_loop().time()
        if client.pushed and now < self._opened_at + self._settings.poll:
            return
        mailbox = await client.select(self._settings.folder, readonly=self.changes_nothing)
        await self._begin(mailbox, client)
        self._opened_at = now

    async def _begin(self, mailbox: Mailbox, client: ImapClient) -> None:
        """Find out where to go on in a folder that was just opened."""
        name, folder = self._settings.name, self._settings.folder
        was, self._readonly = self._readonly, mailbox.readonly
        if mailbox.readonly and not was and not self.changes_nothing:
            log.warning(
                "imap.readonly", mailbox=name, folder=folder,
                detail="the folder can only be read: mails are taken in and left as they are",
            )  # fmt: skip
        known = self._progress
        if known is None:
            cursor = await self._cursors.cursor(name, folder)
            if cursor is not None:
                known = self._known(cursor, await self._cursors.horizon(name, folder))
        last = await find_last(client, mailbox)
        if known is None:
            await self._start_first(mailbox.uidvalidity, last)
        elif known.uidvalidity != mailbox.uidvalidity or (
            mailbox.uidnext is not None and last < known.settled
        ):
            # A mailbox that was restored from a backup may keep its UIDVALIDITY and give UIDs a
            # second time: below the cursor, where nobody would look for them. Where the server
            # hides its next UID, the last mail may just have been moved away.
            self._alarms.tell(
                Alarm.UIDVALIDITY_CHANGED, folder=folder,
                was=known.uidvalidity, now=mailbox.uidvalidity, uid=known.settled, last=last,
                detail="every mail has a new number: the folder is read again, what is known is "
                f"found out; after more than {LOOK_BACK.days} days' absence run reconcile --all",
            )  # fmt: skip
            if known.uidvalidity == mailbox.uidvalidity:
                # Or else the store would keep the cursor that is too high, and believe it again
                # after a restart, once the UIDs have come so far.
                await self._cursors.advance(name, folder, _NOWHERE)
            self._start_afresh(mailbox.uidvalidity, last, again=True)
        else:
            self._progress = known

    def _known(self, cursor: Cursor, horizon: int | None) -> Progress:
        """Go on where the store says; a first start that did not come to its end goes on, too."""
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
        self._start_afresh(uidvalidity, last, again=False)
        if self._going_on().cursor is None:
            at, horizon = Cursor(uidvalidity, 0), self._horizon
            name, folder = self._settings.name, self._settings.folder
            await self._cursors.advance(name, folder, at, horizon=horizon)
            self._stored = 0

    def _start_afresh(self, uidvalidity: int, last: int, *, again: bool) -> None:
        start, today = self._settings.start, self._clock().date()
        self._progress = begin_afresh(start, today, uidvalidity, last, again=again)
        self._horizon = self._progress.base + 1
        self._stored = None
        self._failed.clear()
        self._broke.clear()
        self._singly_up_to = 0

    async def run(self, client: ImapClient) -> int:
        """Take in all that is there now; return how many mails were new.

        Raises StoreUnavailable if the store took something not, ImapError if the server did not
        play along; what was committed until then is known the next time.
        """
        self._refused.clear()
        self._failure = None
        await self._open(client)
        progress = self._going_on()
        wanted = progress.see(await find_wanted(client, progress))
        self._failed = {uid: self._failed[uid] for uid in wanted if uid in self._failed}
        self._broke = {uid: self._broke[uid] for uid in wanted if uid in self._broke}
        wanted = [uid for uid in wanted if self._due(uid)]
        try:
            await self._take(client, wanted)
        finally:
            self._state.open = progress.open
        if self._failure is not None:
            raise self._failure
        await self._advance(progress)
        if not self._stopping.is_set():
            self._read_at.beat()
            self._state.last_sync = now = self._clock()
            metrics.IMAP_LAST_SYNC.labels(self._settings.name).set(now.timestamp())
        return len(wanted)

    async def settle(self) -> None:
        """Wait for the commits that are under way, so that no mail is begun with twice."""
        while self._commits:
            await asyncio.wait(self._commits)

    def cut(self) -> None:
        """Wait no longer for commits; what the store has already, it commits all the same."""
        for task in self._commits:
            task.cancel()

    @property
    def problem(self) -> str | None:
        """What an operator must see to although the mailbox is read."""
        if self._refused:
            return next(iter(self._refused.values()))
        waiting = sum(count > 1 for count, _ in self._failed.values())
        return f"{waiting} mails cannot be read or stored; the log says which" if waiting else None

    def _going_on(self) -> Progress:
        assert self._progress is not None, "begin comes first"
        return self._progress

    async def _take(self, client: ImapClient, wanted: Sequence[int]) -> None:
        windows = self._windows(client, wanted)
        await self._act(client)  # what an earlier connection committed and could not do
        reading = await self._next(client, windows)
        while reading is not None:
            commits = [self._commit(mail) for mail in reading]
            reading = None  # the commits have the mails now, and let go of them one by one
            following = None
            if not self._stopping.is_set():
                following = await self._next(client, windows)
            await asyncio.wait(commits)
            await self._act(client)
            if self._failure is not None:
                return
            reading = following

    async def _next(self, client: ImapClient, windows: Windows) -> list[_Read] | None:
        while (window := await windows.next()) is not None:
            if read := await self._read(client, window):
                return read
        return None

    def _windows(self, client: ImapClient, wanted: Sequence[int]) -> Windows:
        async def sizes(uids: Sequence[int]) -> dict[int, Meta]:
            return await self._sizes(client, uids)

        return Windows(sizes, wanted, self._fits, self._singly_up_to)

    async def _sizes(self, client: ImapClient, uids: Sequence[int]) -> dict[int, Meta]:
        """Ask for sizes; a mail for which the server has none is left out and stops no other."""
        singly = [uid for uid in uids if uid <= self._singly_up_to]
        if len(uids) > 1 and singly:
            return await self._sizes_singly(client, singly) | (
                await self._sizes(client, rest) if (rest := uids[len(singly) :]) else {}
            )
        try:
            return await client.fetch_meta(uids)
        except ImapRefused:
            return await self._sizes_singly(client, uids) if len(uids) > 1 else {}
        except ImapUnavailable as error:
            self._suspect(uids, error)
            raise

    async def _sizes_singly(self, client: ImapClient, uids: Sequence[int]) -> dict[int, Meta]:
        found: dict[int, Meta] = {}
        for uid in uids:
            found |= await self._sizes(client, (uid,))
        return found

    def _fits(self, uid: int, meta: Meta | None) -> bool:
        """Say whether a mail is to be read; set it aside, or note that it is not there."""
        if meta is None:
            self._fail(uid, "the server gives no size for it")
            return False
        if meta.size > self._settings.max_message:
            self._set_aside(uid, meta.size)
            return False
        return True

    async def _read(self, client: ImapClient, window: dict[int, Meta]) -> list[_Read]:
        uids = sorted(window)
        expected = sum(meta.size for meta in window.values())
        try:
            bodies = await client.fetch_many(uids, expected)
        except ImapTooBig:
            # The size that the server told was not true. Which of several mails it was we do not
            # know: the next connection reads them one by one.
            if len(uids) == 1:
                self._set_aside(uids[0], None)
            else:
                self._singly_up_to = uids[-1]
            raise
        except ImapUnavailable as error:
            self._suspect(uids, error)
            raise
        except ImapRefused as error:
            if len(uids) == 1:
                self._fail(uids[0], str(error))
                return []
            singly = [await self._read(client, {uid: window[uid]}) for uid in uids]
            return [each for some in singly for each in some]
        for uid in uids:
            if uid not in bodies:
                self._fail(uid, "the server gives no body for it")
        return [_Read(uid, window[uid], raw) for uid, raw in bodies.items()]

    def _commit(self, mail: _Read) -> asyncio.Task[None]:
        """Store a mail in a task of its own, which a lost connection does not cancel."""
        task = asyncio.get_running_loop().create_task(self._store(mail, self._going_on()))
        self._commits.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._commits.discard)
        return task

    async def _store(self, mail: _Read, progress: Progress) -> None:
        name = self._settings.name
        settled = progress.cursor
        place = MailboxPlace(name, self._settings.folder, progress.uidvalidity, mail.uid, settled)
        arrival = Arrival(SourceKind.IMAP, name, mail.raw, received_at=self._clock(), mailbox=place)
        try:
            receipt = await self._accept(arrival)
        except StoreUnavailable as error:
            self._failure = error
            return
        except BridgeError as error:
            self._fail(mail.uid, str(error))
            return
        except Exception as error:  # a bug must not become a lost mail
            log.exception("imap.bug", mailbox=name, uid=mail.uid)
            self._alarms.count(Alarm.BUG)
            self._fail(mail.uid, f"a bug in smsbridge ({type(error).__name__})")
            return
        self._failed.pop(mail.uid, None)
        self._broke.pop(mail.uid, None)
        progress.committed[mail.uid] = receipt.outcome
        self._read_at.beat()  # a backlog may take longer than many polls
        if settled is not None:
            self._stored = max(settled, self._stored or 0)
        if mail.meta.internaldate is not None:
            # Whole seconds, and another machine's clock.
            lag = max(0.0, (self._clock() - mail.meta.internaldate).total_seconds())
            self._state.lag = lag
            metrics.IMAP_LAG_SECONDS.labels(name).observe(lag)

    async def _act(self, client: ImapClient) -> None:
        """Do with all that is committed as configured; what is refused is tried again later."""
        progress = self._going_on()
        todo: dict[Afterwards, list[int]] = {}
        for uid, outcome in progress.committed.items():
            todo.setdefault(self._action(outcome), []).append(uid)
        for action, uids in todo.items():
            if action in self._refused:
                continue
            for some in portions(sorted(uids)):
                try:
                    if not await do(action, client, some):
                        self._tell(action, Alarm.ONLY_MARKED, _ONLY_MARKED)
                except ImapRefused as error:
                    self._refused[action] = str(error)
                    self._tell(action, Alarm.ACTION_REFUSED, str(error))
                    break
                for uid in some:
                    progress.finish(uid)

    def _action(self, outcome: ArrivalOutcome) -> Afterwards:
        return Afterwards(Step.LEAVE) if self._readonly else self._actions[outcome]

    def _tell(self, action: Afterwards, alarm: Alarm, detail: str) -> None:
        """Tell an operator what he must see to, once."""
        if self._told.get(action) == detail:
            self._alarms.count(alarm)
            return
        self._told[action] = detail
        self._alarms.tell(alarm, action=str(action), detail=detail)

    async def _advance(self, progress: Progress) -> None:
        """Store the cursor of what came to its end after the last arrival was handed over."""
        cursor = progress.cursor
        if cursor is None or (self._stored is not None and cursor <= self._stored):
            return
        at = Cursor(progress.uidvalidity, cursor)
        name, folder = self._settings.name, self._settings.folder
        await self._cursors.advance(name, folder, at, horizon=self._horizon)
        self._stored = cursor

    def _due(self, uid: int) -> bool:
        _, not_before = self._failed.get(uid, (0, 0.0))
        return asyncio.get_running_loop().time() >= not_before

    def _fail(self, uid: int, why: str) -> None:
        """Leave a mail for later: it holds the cursor, but none of the other mails."""
        count = self._failed.get(uid, (0, 0.0))[0] + 1
        # The first time it may just have been taken away by somebody; the next search tells.
        wait = _AGAIN if count > 1 else 0.0
        self._failed[uid] = (count, asyncio.get_running_loop().time() + wait)
        if count > 1:
            self._alarms.tell(Alarm.NOT_TAKEN, uid=uid, detail=why, times=count)
        else:
            log.warning("imap.not_taken", mailbox=self._settings.name, uid=uid, detail=why)

    def _suspect(self, uids: Sequence[int], error: ImapUnavailable) -> None:
        """Note over which mails a connection ended: Dovecot hangs up over one that is broken.

        Or else a single mail would keep all others from being read, for ever. The next connection
        reads them one by one; the one over which several have ended is left for later.
        """
        if self._stopping.is_set():
            return  # it was us
        if len(uids) > 1:
            self._singly_up_to = max(self._singly_up_to, uids[-1])
            return
        (uid,) = uids
        self._broke[uid] = self._broke.get(uid, 0) + 1
        if self._broke[uid] >= _BREAKS:
            self._failed.setdefault(uid, (1, 0.0))
            self._fail(uid, str(error))

    def _set_aside(self, uid: int, size: int | None) -> None:
        """Leave a mail over the limit untouched, for good; nothing waits for it."""
        # Of old mail reconcile thinks that `start` left it out.
        command = "reconcile --fix" if uid > self._going_on().base else "reconcile --all --fix"
        self._alarms.tell(
            Alarm.TOO_BIG, uid=uid, size=size,
            most=self._settings.max_message,
            detail=f"left in the mailbox; raise max_message and run {command} to take it in",
        )  # fmt: skip
        self._going_on().finish(uid)
