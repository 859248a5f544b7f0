"""A mailbox that is no longer read never looks healthy, and nothing stops in silence."""

from __future__ import annotations

import pytest

from bridge.config.imap import ImapSettings
from bridge.sources.imap.liveness import SLACK, Pulse, stuck, trouble

INBOX = ImapSettings(name="inbox", host="h", username="u", password="p", poll=60, timeout=30)


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_not_being_read_is_trouble_by_itself() -> None:
    """After three polls and two timeouts it is told, whatever the source says."""
    assert trouble(INBOX, 240) is None
    assert trouble(INBOX, 241) == "imap.inbox: not read for 4 min"


def test_what_the_source_knows_is_told_at_once() -> None:
    """A refused login needs no silence, and after a silence it says why."""
    assert trouble(INBOX, 0, "refused") == "imap.inbox: refused"
    assert trouble(INBOX, 3600, "refused") == "imap.inbox: not read for 60 min: refused"


@pytest.mark.parametrize("announced", [0.0, 300.0])
def test_silence_is_counted_from_the_end_that_was_announced(announced: float) -> None:
    """A long pause is no silence, and after it a new sign of life begins the count anew."""
    clock = Clock()
    pulse = Pulse(clock)
    pulse.beat(announced)
    clock.now += announced + SLACK
    assert stuck("inbox", pulse) is None
    clock.now += 1
    told = stuck("inbox", pulse)
    assert told is not None
    assert told.startswith("imap.inbox: its source has done nothing for 121 s")
    pulse.beat()
    assert stuck("inbox", pulse) is None
