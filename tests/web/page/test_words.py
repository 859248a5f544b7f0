"""The page's words: times, durations, sizes, and strangers' text that can't hide or turn round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.web.page import charts, words

NOW = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0123, "12 ms"), (1.5, "1.5 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (90061, "1 d 1 h"), (7200, "2 h")],
)  # fmt: skip
def test_durations_have_two_units_at_most(value: float, said: str) -> None:
    assert words.seconds(value) == said


def test_times_are_relative_both_ways() -> None:
    assert words.ago(None, NOW) == "never"
    assert words.ago(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert words.ago("2026-04-08T12:31:52Z", NOW) == "in 1 min"
    assert words.due(NOW - timedelta(minutes=5), NOW) == "now"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 bytes"), (1536, "1.5 KiB"), (200 * 1024, "200 KiB"), (2**41, "2.0 TiB")],
)
def test_sizes(value: int, said: str) -> None:
    assert words.size(value) == said


def test_a_sentence_is_escaped_before_its_commands_and_times_are_shown() -> None:
    """Backticks make code, times become times, and nothing else becomes HTML."""
    shown = words.sentence("`a <b>` since 2026-04-08T12:30:52Z, not 2026-19-39T12:30:52Z")
    assert "<code>a &lt;b&gt;</code>" in shown
    assert '<time datetime="2026-04-08T12:30:52Z" title="2026-04-08 12:30:52 UTC">' in shown
    assert "2026-19-39T12:30:52Z" in shown


def test_what_is_unseen_is_written_out() -> None:
    """Turned-round text and control characters show; lines, tabs and joined emoji stay."""
    assert words.plain("a\u202eb\x1b[1m\tc\nd") == "a\\u202eb\\u001b[1m\tc\nd"
    assert words.plain("👩\u200d👩\u200d👧") == "👩\u200d👩\u200d👧"


def test_a_chart_says_in_words_what_it_draws() -> None:
    """Its newest value is at the right, its highest at the top; one value is no line."""
    drawn = str(charts.line([0.0, 5.0, 10.0], 3, "now <10>"))
    assert 'aria-label="now &lt;10&gt;"' in drawn
    assert "159.0,2.0" in drawn
    assert str(charts.line([1.0], 3, "x")) == ""
    assert "NaN" not in str(charts.line([0.0, 0.0], 3, "x"))
