"""The status of one mailbox: kept in one place for `/healthz`, metrics, alarms and the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final

from bridge import logs, metrics
from bridge.config.imap import ImapSettings
from bridge.model import Report
from bridge.shortage import noted
from bridge.sources.imap.liveness import Heartbeat, stall

log = logs.logger("imap")

_POLLS: Final = 3  # so many may be missed, for a reconnect, before it is a problem


class Alarm(StrEnum):
    """What only an operator can fix, or should at least know of; also the log event's name."""

    REFUSED = "refused"  # the server refuses the login, the folder, or shows a bad certificate
    ACTION_REFUSED = "action_refused"  # mails are stored, but cannot be marked, moved or deleted
    ONLY_MARKED = "only_marked"  # the server can only mark mails \Deleted
    NOT_TAKEN = "not_taken"  # a mail failed twice; it is retried now and then
    TOO_BIG = "too_big"  # a mail over max_message is left in the mailbox for good
    QUARANTINE_FULL = "quarantine_full"  # a stranger's mail waits for room; the others are taken
    UIDVALIDITY_CHANGED = "uidvalidity_changed"  # all mails were renumbered and are read again
    BUG = "bug"


class MailboxStatus:
    """What is known of one mailbox's health.

    `heartbeat` beats with everything the source does, and stops only if our code hangs. A problem
    is a sentence for the operator. `clock` gives UTC, `monotonic` seconds.
    """

    def __init__(
        self,
        settings: ImapSettings,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._reading = Heartbeat(monotonic)  # beats with each completed sync and each commit
        self.heartbeat = Heartbeat(monotonic)
        self.connected = False
        self.last_sync: datetime | None = None  # when the folder was last searched and read
        self.last_push: datetime | None = None
        self.lag: float | None = None  # seconds from the last mail's INTERNALDATE to its commit
        self.open = 0  # mails found and not finished
        self.problem: str | None = None
        metrics.IMAP_CONNECTED.labels(settings.name).set(0)  # never reached is not connected
        for alarm in Alarm:
            # Alerts look for an increase, and a series that begins at 1 shows none.
            metrics.IMAP_ALARMS.labels(settings.name, alarm)

    def report(self) -> Report:
        """Return the status as `/healthz` and the watchdog see it.

        A mailbox that hasn't been read for long is a problem whatever the reason: a source that
        merely stopped must not look healthy.
        """
        return Report(
            state="connected" if self.connected else "away",
            problem=self._current_problem(),
            stalled=stall(self._settings.name, self.heartbeat),
            details={
                "last_sync": _iso(self.last_sync),
                "last_push": _iso(self.last_push),
                "lag_seconds": self.lag,
                "open": self.open,
            },
        )

    def _current_problem(self) -> str | None:
        settings, silence = self._settings, self._reading.silence
        if silence > _POLLS * settings.poll + 2 * settings.timeout:
            why = f": {self.problem}" if self.problem else ""
            return f"imap.{settings.name}: not read for {silence / 60:.0f} min{why}"
        return f"imap.{settings.name}: {self.problem}" if self.problem else None

    # What happened

    def record_disconnected(self) -> None:
        """Record that there is no connection."""
        self.connected = False
        metrics.IMAP_CONNECTED.labels(self._settings.name).set(0)

    def record_reachable(self, problem: str | None, *, idle: bool) -> None:
        """Record a sync without a failure; `problem` remains, `idle` says whether IDLE is used."""
        name = self._settings.name
        self.heartbeat.beat()
        if not self.connected:
            self.connected = True
            metrics.IMAP_CONNECTED.labels(name).set(1)
            log.info("imap.connected", mailbox=name, folder=self._settings.folder, idle=idle)
        if self.problem is not None and problem is None:
            log.info("imap.well", mailbox=name)
        self.problem = problem

    def record_refused(self, problem: str, pause: float) -> None:
        """Record a failure that only an operator can fix; logged when the problem changes."""
        if problem == self.problem:
            self.count_alarm(Alarm.REFUSED)
        else:
            self.alarm(Alarm.REFUSED, detail=problem, pause=round(pause, 1))
        self.problem = problem

    def record_unavailable(self, problem: str, pause: float) -> None:
        """Record a failure that passes by itself; logged when the problem changes."""
        if problem != self.problem:
            log.warning(
                "imap.unavailable", mailbox=self._settings.name,
                detail=problem, pause=round(pause, 1),
            )  # fmt: skip
        self.problem = problem

    def record_push(self) -> None:
        """Record that the server announced new mail."""
        self.last_push = now = self._clock()
        metrics.IMAP_LAST_PUSH.labels(self._settings.name).set(now.timestamp())

    def record_sync(self) -> None:
        """Record that the whole folder was searched and what was found has been read."""
        self._reading.beat()
        self.last_sync = now = self._clock()
        metrics.IMAP_LAST_SYNC.labels(self._settings.name).set(now.timestamp())

    def record_commit(self, internaldate: datetime | None) -> None:
        """Record that a mail, which the server received at `internaldate`, is stored."""
        self._reading.beat()  # a backlog may take longer than many polls
        if internaldate is not None:
            # INTERNALDATE has whole seconds, of another machine's clock.
            self.lag = max(0.0, (self._clock() - internaldate).total_seconds())
            metrics.IMAP_LAG_SECONDS.labels(self._settings.name).observe(self.lag)

    # Alarms

    def alarm(self, alarm: Alarm, **fields: object) -> None:
        """Count an alarm, and log it with what an operator needs to act."""
        self.count_alarm(alarm)
        log.error(f"imap.{alarm}", exc_info=None, mailbox=self._settings.name, **fields)

    def count_alarm(self, alarm: Alarm) -> None:
        """Count an alarm that has been logged already."""
        metrics.IMAP_ALARMS.labels(self._settings.name, alarm).inc()

    def bug(self, error: BaseException, **fields: object) -> None:
        """Count a bug of ours, and log it with its traceback; a shortage with its sentence."""
        if (short := noted(error)) is not None:
            log.warning("shortage", mailbox=self._settings.name, detail=short, **fields)
            return
        log.error("imap.bug", exc_info=error, mailbox=self._settings.name, **fields)
        self.count_alarm(Alarm.BUG)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
