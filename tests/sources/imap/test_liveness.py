"""A mailbox that is no longer read never looks healthy, and nothing stops in silence."""

from __future__ import annotations

import pytest

from bridge.config.imap import ImapSettings
from bridge.sources.imap.liveness import SLACK, Heartbeat, stall
from bridge.sources.imap.status import MailboxStatus
from tests.sources.peer import pinned_time

INBOX = ImapSettings(name="inbox", host="h", username="u", password="p", poll=60, timeout=30)


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def unread_for(seconds: float, problem: str | None = None) -> str | None:
    """Return what is reported of a mailbox that has not been read for so long."""
    clock = Clock()
    status = MailboxStatus(INBOX, pinned_time, clock)
    status.problem = problem
    clock.now += seconds
    return status.report().problem


def test_not_being_read_is_a_problem_by_itself() -> None:
    """After three polls and two timeouts it is reported, whatever the source says."""
    assert unread_for(240) is None
    assert unread_for(241) == "imap.inbox: not read for 4 min"


def test_what_the_source_knows_is_reported_at_once() -> None:
    """A refused login needs no silence, and after a silence it says why."""
    assert unread_for(0, "refused") == "imap.inbox: refused"
    assert unread_for(3600, "refused") == "imap.inbox: not read for 60 min: refused"


def test_a_sync_and_a_commit_each_count_as_reading() -> None:
    """A long backlog is no silence: each mail that is committed begins the count anew."""
    clock = Clock()
    status = MailboxStatus(INBOX, pinned_time, clock)
    for record in (status.record_sync, lambda: status.record_commit(None)):
        clock.now += 241
        assert status.report().problem == "imap.inbox: not read for 4 min"
        record()
        assert status.report().problem is None


def test_activity_is_no_reading() -> None:
    """Attempts that fail beat the heartbeat, and the mailbox is not read all the same."""
    clock = Clock()
    status = MailboxStatus(INBOX, pinned_time, clock)
    clock.now += SLACK + 241
    status.heartbeat.beat()
    report = status.report()
    assert report.stalled is None
    assert report.problem == "imap.inbox: not read for 6 min"


@pytest.mark.parametrize("announced", [0.0, 300.0])
def test_silence_is_counted_from_the_end_that_was_announced(announced: float) -> None:
    """A long pause is no silence, and after it a new sign of life begins the count anew."""
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.beat(announced)
    clock.now += announced + SLACK
    assert stall("inbox", heartbeat) is None
    clock.now += 1
    sentence = stall("inbox", heartbeat)
    assert sentence is not None
    assert sentence.startswith("imap.inbox: its source has done nothing for 121 s")
    heartbeat.beat()
    assert stall("inbox", heartbeat) is None
