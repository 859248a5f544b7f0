"""What an operator must see to in a mailbox: told by the log, and counted for alerts."""

from __future__ import annotations

from enum import StrEnum

from bridge import logs, metrics

log = logs.logger("imap")


class Alarm(StrEnum):
    """What nobody but an operator can mend, or should at least know of; also the log's event."""

    REFUSED = "refused"  # the server says no: to the login, the folder, the certificate
    ACTION_REFUSED = "action_refused"  # mails are stored, and cannot be marked, moved, deleted
    ONLY_MARKED = "only_marked"  # \Deleted is all that the server can do
    NOT_TAKEN = "not_taken"  # a mail failed twice; it is tried again now and then
    TOO_BIG = "too_big"  # a mail over max_message is left in the mailbox for good
    UIDVALIDITY_CHANGED = "uidvalidity_changed"  # all mails were renumbered and are read again
    BUG = "bug"


class Alarms:
    """The alarms of one mailbox."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        for alarm in Alarm:
            # Alerts look for an increase, and from nothing to 1 there is none.
            metrics.IMAP_ALARMS.labels(mailbox, alarm)

    def count(self, alarm: Alarm) -> None:
        """Count an alarm that was logged already."""
        metrics.IMAP_ALARMS.labels(self._mailbox, alarm).inc()

    def tell(self, alarm: Alarm, **fields: object) -> None:
        """Count an alarm, and log it with what an operator needs to act."""
        self.count(alarm)
        log.error(f"imap.{alarm}", exc_info=None, mailbox=self._mailbox, **fields)
