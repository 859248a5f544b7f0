"""A mailbox that is no longer read never looks healthy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bridge.config.imap import ImapSettings
from bridge.sources.watch import trouble

INBOX = ImapSettings(name="inbox", host="h", username="u", password="p", poll=60, timeout=30)
NOW = datetime(2026, 4, 8, tzinfo=UTC)


def test_silence_is_trouble_by_itself() -> None:
    """After three polls and two timeouts without a proof it is told, whatever the source says."""
    soon, late = (NOW - timedelta(seconds=seconds) for seconds in (240, 241))
    assert trouble(INBOX, proof=soon, now=NOW) is None
    assert trouble(INBOX, proof=late, now=NOW) == "imap.inbox: not read for 4 min"


def test_what_the_source_knows_is_told_at_once() -> None:
    """A refused login needs no silence, and after a silence it says why."""
    assert trouble(INBOX, proof=NOW, now=NOW, problem="refused") == "imap.inbox: refused"
    late = NOW - timedelta(hours=1)
    told = trouble(INBOX, proof=late, now=NOW, problem="refused")
    assert told == "imap.inbox: not read for 60 min: refused"
