"""Takes in what a folder holds: search, read, commit, then do with the mails as configured.

The search is the truth: whatever the server pushed or did not push, a mail above the settled UID
is found by the next search. Nothing is done to a mail before its commit. Two windows of mails are
in memory at most: while one is committed, the next one is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bridge import logs, metrics
from bridge.config.imap import Afterwards, ImapSettings, Step
from bridge.errors import BridgeError, ImapRefused, StoreUnavailable, TrustUnavailable
from bridge.model import Arrival, ArrivalOutcome, MailboxPlace, Receipt
from bridge.sources.imap.act import actions_of, do
from bridge.sources.imap.alarms import Alarm, Alarms
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.fetch import Fetch, Fetching, Trials
from bridge.sources.imap.folder import Cursors, Folder
from bridge.sources.imap.liveness import Pulse
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.start import find_wanted
from bridge.sources.imap.windows import portions

log = logs.logger("imap")

_ONLY_MARKED: Final = r"the server has no UIDPLUS: the mails stay, marked \Deleted"


@dataclass(slots=True)
class ImapState:
    """How a mailbox does, for metrics and health; `problem` is a sentence for the operator."""

    connected: bool = False
    last_sync: datetime | None = None  # when it was last looked through to its end
    last_push: datetime | None = None
    lag: float | None = None  # seconds from the last mail's INTERNALDATE to its commit
    open: int = 0  # mails found and not finished
    problem: str | None = None


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
        self._state = state
        self._alarms = alarms
        self._read_at = read
        self._clock = clock
        self._stopping = stopping
        self._actions = actions_of(settings)
        # Where nothing is ever changed, nothing should be able to.
        leaves_all = all(action.step is Step.LEAVE for action in self._actions.values())
        self._folder = Folder(settings, cursors, alarms, read_only=leaves_all, clock=clock)
        self._trials = Trials(settings, alarms, stopping.is_set)
        self._progress: Progress | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._failure: StoreUnavailable | None = None
        self._refused: dict[Afterwards, str] = {}  # in this sync
        self._told: dict[Afterwards, str] = {}  # once for each reason

    def connected(self) -> None:
        """Say that the next run has a new connection."""
        self._folder.connected()

    async def run(self, client: ImapClient) -> int:
        """Take in all that is there now; return how many mails were new.

        Raises StoreUnavailable if the store took something not, ImapError if the server did not
        play along; what was committed until then is known the next time.
        """
        self._refused.clear()
        self._failure = None
        progress = await self._folder.open(client)
        if progress is not self._progress:
            self._progress = progress
            self._trials.forget_all()
        wanted = self._trials.due(progress.see(await find_wanted(client, progress)))
        try:
            await self._take(client, progress, wanted)
        finally:
            self._state.open = progress.open
        if self._failure is not None:
            raise self._failure
        await self._folder.advance()
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
        waiting = self._trials.waiting
        return f"{waiting} mails cannot be taken in yet; the log says which" if waiting else None

    async def _take(self, client: ImapClient, progress: Progress, wanted: Sequence[int]) -> None:
        await self._act(client, progress)  # what an earlier connection committed and could not do
        mails = Fetching(self._settings, self._alarms, self._trials, client, progress, wanted)
        reading = await mails.next()
        while reading is not None:
            commits = [self._commit(mail, progress) for mail in reading]
            reading = None  # the commits have the mails now, and let go of them one by one
            following = None
            if not self._stopping.is_set():
                following = await mails.next()
            await asyncio.wait(commits)
            await self._act(client, progress)
            if self._failure is not None:
                return
            reading = following

    def _commit(self, mail: Fetch, progress: Progress) -> asyncio.Task[None]:
        """Store a mail in a task of its own, which a lost connection does not cancel."""
        task = asyncio.get_running_loop().create_task(self._store(mail, progress))
        self._commits.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._commits.discard)
        return task

    async def _store(self, mail: Fetch, progress: Progress) -> None:
        name = self._settings.name
        settled = progress.cursor
        place = MailboxPlace(name, self._settings.folder, progress.uidvalidity, mail.uid, settled)
        arrival = Arrival(place, name, mail.raw, received_at=self._clock())
        try:
            receipt = await self._accept(arrival)
        except StoreUnavailable as error:
            self._failure = error
            return
        except TrustUnavailable as error:
            self._trials.put_off(mail.uid, str(error))
            return
        except BridgeError as error:
            self._trials.fail(mail.uid, str(error))
            return
        except Exception as error:  # a bug must not become a lost mail
            log.exception("imap.bug", mailbox=name, uid=mail.uid)
            self._alarms.count(Alarm.BUG)
            self._trials.fail(mail.uid, f"a bug in smsbridge ({type(error).__name__})")
            return
        self._trials.forget(mail.uid)
        progress.committed[mail.uid] = receipt.outcome
        self._read_at.beat()  # a backlog may take longer than many polls
        if settled is not None:
            self._folder.stored(settled)
        if mail.meta.internaldate is not None:
            # Whole seconds, and another machine's clock.
            lag = max(0.0, (self._clock() - mail.meta.internaldate).total_seconds())
            self._state.lag = lag
            metrics.IMAP_LAG_SECONDS.labels(name).observe(lag)

    async def _act(self, client: ImapClient, progress: Progress) -> None:
        """Do with all that is committed as configured; what is refused is tried again later."""
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
        return Afterwards(Step.LEAVE) if self._folder.locked else self._actions[outcome]

    def _tell(self, action: Afterwards, alarm: Alarm, detail: str) -> None:
        """Tell an operator what he must see to, once."""
        if self._told.get(action) == detail:
            self._alarms.count(alarm)
            return
        self._told[action] = detail
        self._alarms.tell(alarm, action=str(action), detail=detail)
