"""Reads mails out of an open folder, a window at a time, and leaves alone those it cannot have.

A mail that cannot be read holds the cursor, so that it is never passed over, but none of the other
mails: it is tried again later. One over the limit is set aside for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.errors import ImapRefused, ImapTooBig, ImapUnavailable
from bridge.sources.imap.alarms import Alarm, Alarms
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Meta
from bridge.sources.imap.windows import Windows

log = logs.logger("imap")

_SOON: Final = 20.0  # seconds until the DNS is asked again for the key of a mail
_AGAIN: Final = 300.0  # seconds until a mail that failed twice is tried again
_BREAKS: Final = 3  # connections that end over one and the same mail before it is left for later


@dataclass(frozen=True, slots=True)
class Fetch:
    """A mail as it was read."""

    uid: int
    meta: Meta
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Failed:
    times: int
    since: float  # these two on the loop's clock
    not_before: float


class Trials:
    """What became of mails that could not be had, over many connections."""

    def __init__(
        self, settings: ImapSettings, alarms: Alarms, is_stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._alarms = alarms
        self._is_stopping = is_stopping
        self._failed: dict[int, _Failed] = {}
        self._broke: dict[int, int] = {}  # UID → connections that ended while it alone was read
        # One of these is over the limit although its size is not, or ends the connection.
        self.singly_up_to = 0

    def forget_all(self) -> None:
        """Begin anew: the UIDs count for nothing any more."""
        self._failed.clear()
        self._broke.clear()
        self.singly_up_to = 0

    def forget(self, uid: int) -> None:
        """Say that this mail is stored."""
        self._failed.pop(uid, None)
        self._broke.pop(uid, None)

    def due(self, wanted: Sequence[int]) -> list[int]:
        """Give those that may be tried now; what is not wanted any more is forgotten."""
        there = set(wanted)
        self._failed = {uid: how for uid, how in self._failed.items() if uid in there}
        self._broke = {uid: times for uid, times in self._broke.items() if uid in there}
        now = asyncio.get_running_loop().time()
        return [
            uid for uid in wanted if uid not in self._failed or self._failed[uid].not_before <= now
        ]

    @property
    def waiting(self) -> int:
        """How many mails wait for an operator, or for better days."""
        long_ago = asyncio.get_running_loop().time() - _AGAIN
        return sum(each.times > 1 or each.since < long_ago for each in self._failed.values())

    def fail(self, uid: int, why: str) -> None:
        """Leave a mail for later."""
        now = asyncio.get_running_loop().time()
        known = self._failed.get(uid, _Failed(0, now, now))
        times = known.times + 1
        # The first time it may just have been taken away by somebody; the next search tells.
        wait = _AGAIN if times > 1 else 0.0
        self._failed[uid] = _Failed(times, known.since, now + wait)
        if times > 1:
            self._alarms.tell(Alarm.NOT_TAKEN, uid=uid, detail=why, times=times)
        else:
            log.warning("imap.not_taken", mailbox=self._settings.name, uid=uid, detail=why)

    def put_off(self, uid: int, why: str) -> None:
        """Leave a mail for soon: nothing is wrong with it, but it cannot be judged now."""
        now = asyncio.get_running_loop().time()
        known = self._failed.get(uid)
        if known is None:
            log.warning("imap.put_off", mailbox=self._settings.name, uid=uid, detail=why)
        self._failed[uid] = _Failed(1, known.since if known else now, now + _SOON)

    def suspect(self, uids: Sequence[int], error: ImapUnavailable) -> None:
        """Note over which mails a connection ended: Dovecot hangs up over one that is broken.

        Or else a single mail would keep all others from being read, for ever. The next connection
        reads them one by one; the one over which several have ended is left for later.
        """
        if self._is_stopping():
            return  # it was us
        if len(uids) > 1:
            self.singly_up_to = max(self.singly_up_to, uids[-1])
            return
        (uid,) = uids
        self._broke[uid] = self._broke.get(uid, 0) + 1
        if self._broke[uid] >= _BREAKS:
            now = asyncio.get_running_loop().time()
            self._failed.setdefault(uid, _Failed(1, now, now))
            self.fail(uid, str(error))


class Fetching:
    """The wanted mails of one sync, read over one connection; `next` raises ImapError."""

    def __init__(
        self,
        settings: ImapSettings,
        alarms: Alarms,
        trials: Trials,
        client: ImapClient,
        progress: Progress,
        wanted: Sequence[int],
    ) -> None:
        self._settings = settings
        self._alarms = alarms
        self._trials = trials
        self._client = client
        self._progress = progress
        self._windows = Windows(self._sizes, wanted, self._fits, trials.singly_up_to)

    async def next(self) -> list[Fetch] | None:
        """Give the mails of the next window of which one could be read; None after the last."""
        while (window := await self._windows.next()) is not None:
            if read := await self._read(window):
                return read
        return None

    async def _sizes(self, uids: Sequence[int]) -> dict[int, Meta]:
        """Ask for sizes; a mail for which the server has none is left out and stops no other."""
        singly = [uid for uid in uids if uid <= self._trials.singly_up_to]
        if len(uids) > 1 and singly:
            rest = uids[len(singly) :]
            found = await self._sizes_singly(singly)
            return found | await self._sizes(rest) if rest else found
        try:
            return await self._client.fetch_meta(uids)
        except ImapRefused:
            return await self._sizes_singly(uids) if len(uids) > 1 else {}
        except ImapUnavailable as error:
            self._trials.suspect(uids, error)
            raise

    async def _sizes_singly(self, uids: Sequence[int]) -> dict[int, Meta]:
        found: dict[int, Meta] = {}
        for uid in uids:
            found |= await self._sizes((uid,))
        return found

    def _fits(self, uid: int, meta: Meta | None) -> bool:
        """Say whether a mail is to be read; set it aside, or note that it is not there."""
        if meta is None:
            self._trials.fail(uid, "the server gives no size for it")
            return False
        if meta.size > self._settings.max_message:
            self._set_aside(uid, meta.size)
            return False
        return True

    async def _read(self, window: dict[int, Meta]) -> list[Fetch]:
        uids = sorted(window)
        expected = sum(meta.size for meta in window.values())
        try:
            bodies = await self._client.fetch_many(uids, expected)
        except ImapTooBig:
            # The size that the server told was not true. Which of several mails it was we do not
            # know: the next connection reads them one by one.
            if len(uids) == 1:
                self._set_aside(uids[0], None)
            else:
                self._trials.singly_up_to = uids[-1]
            raise
        except ImapUnavailable as error:
            self._trials.suspect(uids, error)
            raise
        except ImapRefused as error:
            if len(uids) == 1:
                self._trials.fail(uids[0], str(error))
                return []
            singly = [await self._read({uid: window[uid]}) for uid in uids]
            return [each for some in singly for each in some]
        for uid in uids:
            if uid not in bodies:
                self._trials.fail(uid, "the server gives no body for it")
        return [Fetch(uid, window[uid], raw) for uid, raw in bodies.items()]

    def _set_aside(self, uid: int, size: int | None) -> None:
        """Leave a mail over the limit untouched, for good; nothing waits for it."""
        # Of old mail reconcile thinks that `start` left it out.
        command = "reconcile --fix" if uid > self._progress.base else "reconcile --all --fix"
        self._alarms.tell(
            Alarm.TOO_BIG, uid=uid, size=size,
            most=self._settings.max_message,
            detail=f"left in the mailbox; raise max_message and run {command} to take it in",
        )  # fmt: skip
        self._progress.finish(uid)
