"""Fetches mails from an open folder, a window at a time, and skips those that cannot be fetched.

A mail that cannot be fetched holds back the cursor, so that it is never lost, but not the other
mails: it is retried later. A mail over the size limit is left in the mailbox for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.errors import ImapRefused, ImapTooBig, ImapUnavailable
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.progress import Progress
from bridge.sources.imap.replies import Meta
from bridge.sources.imap.status import Alarm, MailboxStatus
from bridge.sources.imap.windows import Windows

log = logs.logger("imap")

_SOON: Final = 20.0  # seconds until a mail is retried whose evidence needs the DNS
_AGAIN: Final = 300.0  # seconds until a mail that failed twice is retried
_BREAKS: Final = 3  # connections that end at the same mail before it is left for later


@dataclass(frozen=True, slots=True)
class FetchedMail:
    """A mail as it was fetched."""

    uid: int
    meta: Meta
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    times: int
    since: float  # on the loop's clock, as `retry_at`
    retry_at: float


class FailedMails:
    """The mails that could not be taken in, and when to retry each; kept over connections."""

    def __init__(
        self, settings: ImapSettings, status: MailboxStatus, is_stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._status = status
        self._is_stopping = is_stopping
        self._failures: dict[int, _Failure] = {}
        self._no_room: set[int] = set()  # those of strangers, for which quarantine has no room
        self._breaks: dict[int, int] = {}  # UID → connections that ended while only it was fetched
        # Up to this UID mails are fetched one by one: one of them ends the connection, or is bigger
        # than the size that the server gave for it.
        self.singly_up_to = 0

    def forget_all(self) -> None:
        """Forget everything: the UIDs are no longer valid."""
        self._failures.clear()
        self._no_room.clear()
        self._breaks.clear()
        self.singly_up_to = 0

    def forget(self, uid: int) -> None:
        """Forget a mail, because it is stored."""
        self._failures.pop(uid, None)
        self._no_room.discard(uid)
        self._breaks.pop(uid, None)

    def due(self, wanted: Sequence[int]) -> list[int]:
        """Return the UIDs that may be fetched now; forget those no longer wanted."""
        present = set(wanted)
        self._failures = {uid: how for uid, how in self._failures.items() if uid in present}
        self._no_room &= present
        self._breaks = {uid: times for uid, times in self._breaks.items() if uid in present}
        now = asyncio.get_running_loop().time()
        return [
            uid
            for uid in wanted
            if uid not in self._failures or self._failures[uid].retry_at <= now
        ]

    @property
    def waiting(self) -> int:
        """How many mails have failed repeatedly, or have been deferred for long."""
        long_ago = asyncio.get_running_loop().time() - _AGAIN
        return sum(each.times > 1 or each.since < long_ago for each in self._failures.values())

    def fail(self, uid: int, why: str) -> None:
        """Record that a mail could not be taken in, and retry it later."""
        now = asyncio.get_running_loop().time()
        earlier = self._failures.get(uid, _Failure(0, now, now))
        times = earlier.times + 1
        # The first time somebody may just have removed it; the next search shows.
        wait = _AGAIN if times > 1 else 0.0
        self._failures[uid] = _Failure(times, earlier.since, now + wait)
        if times > 1:
            self._status.alarm(Alarm.NOT_TAKEN, uid=uid, detail=why, times=times)
        else:
            log.warning("imap.not_taken", mailbox=self._settings.name, uid=uid, detail=why)

    def defer(self, uid: int, why: str) -> None:
        """Retry a mail soon: nothing is wrong with it, but it cannot be verified now."""
        now = asyncio.get_running_loop().time()
        earlier = self._failures.get(uid)
        if earlier is None:
            log.warning("imap.put_off", mailbox=self._settings.name, uid=uid, detail=why)
        self._failures[uid] = _Failure(1, earlier.since if earlier else now, now + _SOON)

    def defer_for_room(self, uid: int, why: str) -> None:
        """Retry a stranger's mail later: quarantine is full, and only an operator can empty it."""
        now = asyncio.get_running_loop().time()
        earlier = self._failures.get(uid)
        if earlier is None and not self._no_room:
            self._status.alarm(Alarm.QUARANTINE_FULL, uid=uid, detail=why)
        elif earlier is None:
            self._status.count_alarm(Alarm.QUARANTINE_FULL)  # a flood is one line
        self._no_room.add(uid)
        self._failures[uid] = _Failure(1, earlier.since if earlier else now, now + _AGAIN)

    def suspect(self, uids: Sequence[int], error: ImapUnavailable) -> None:
        """Record which mails were being fetched when a connection ended.

        Dovecot hangs up on a broken mail, which would otherwise block all others for ever. The
        next connection fetches these one by one; one that ends several is left for later.
        """
        if self._is_stopping():
            return  # we ended it
        if len(uids) > 1:
            self.singly_up_to = max(self.singly_up_to, uids[-1])
            return
        (uid,) = uids
        self._breaks[uid] = self._breaks.get(uid, 0) + 1
        if self._breaks[uid] >= _BREAKS:
            now = asyncio.get_running_loop().time()
            self._failures.setdefault(uid, _Failure(1, now, now))
            self.fail(uid, str(error))


class WindowReader:
    """Fetches the wanted mails of one sync over one connection; `next` raises ImapError."""

    def __init__(
        self,
        settings: ImapSettings,
        status: MailboxStatus,
        failed: FailedMails,
        client: ImapClient,
        progress: Progress,
        wanted: Sequence[int],
    ) -> None:
        self._settings = settings
        self._status = status
        self._failed = failed
        self._client = client
        self._progress = progress
        self._windows = Windows(self._sizes, wanted, self._accept, failed.singly_up_to)

    async def next(self) -> list[FetchedMail] | None:
        """Return the mails of the next window with any that could be fetched; None at the end."""
        while (window := await self._windows.next()) is not None:
            if mails := await self._fetch(window):
                return mails
        return None

    async def _sizes(self, uids: Sequence[int]) -> dict[int, Meta]:
        """Ask for sizes; a mail for which the server gives none is omitted and blocks no other."""
        singly = [uid for uid in uids if uid <= self._failed.singly_up_to]
        if len(uids) > 1 and singly:
            rest = uids[len(singly) :]
            found = await self._sizes_singly(singly)
            return found | await self._sizes(rest) if rest else found
        try:
            return await self._client.fetch_meta(uids)
        except ImapRefused:
            return await self._sizes_singly(uids) if len(uids) > 1 else {}
        except ImapUnavailable as error:
            self._failed.suspect(uids, error)
            raise

    async def _sizes_singly(self, uids: Sequence[int]) -> dict[int, Meta]:
        found: dict[int, Meta] = {}
        for uid in uids:
            found |= await self._sizes((uid,))
        return found

    def _accept(self, uid: int, meta: Meta | None) -> bool:
        """Return whether to fetch a mail; set it aside if too big, record that it has no size."""
        if meta is None:
            self._failed.fail(uid, "the server gives no size for it")
            return False
        if meta.size > self._settings.max_message:
            self._set_aside(uid, meta.size)
            return False
        return True

    async def _fetch(self, window: dict[int, Meta]) -> list[FetchedMail]:
        uids = sorted(window)
        expected = sum(meta.size for meta in window.values())
        try:
            bodies = await self._client.fetch_many(uids, expected)
        except ImapTooBig:
            # The server gave a wrong size. Which of several mails it was we do not know: the next
            # connection fetches them one by one.
            if len(uids) == 1:
                self._set_aside(uids[0], None)
            else:
                self._failed.singly_up_to = uids[-1]
            raise
        except ImapUnavailable as error:
            self._failed.suspect(uids, error)
            raise
        except ImapRefused as error:
            if len(uids) == 1:
                self._failed.fail(uids[0], str(error))
                return []
            singly = [await self._fetch({uid: window[uid]}) for uid in uids]
            return [each for some in singly for each in some]
        for uid in uids:
            if uid not in bodies:
                self._failed.fail(uid, "the server gives no body for it")
        return [FetchedMail(uid, window[uid], raw) for uid, raw in bodies.items()]

    def _set_aside(self, uid: int, size: int | None) -> None:
        """Leave a mail over the limit in the mailbox for good; it doesn't hold back the cursor."""
        # Without --all, reconcile takes old mail as excluded by `start`.
        command = "reconcile --fix" if uid > self._progress.base else "reconcile --all --fix"
        self._status.alarm(
            Alarm.TOO_BIG, uid=uid, size=size,
            most=self._settings.max_message,
            detail=f"left in the mailbox; raise max_message and run {command} to take it in",
        )  # fmt: skip
        self._progress.finish(uid)
