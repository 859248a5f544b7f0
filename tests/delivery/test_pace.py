"""The pace that a rate sets: tables and a property, on a clock that is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.rate import Rate
from bridge.delivery.pace import Pace

TEN = Rate("10/s", 0.1)


def starts(pace: Pace, seconds: float, step: float = 0.001) -> list[float]:
    """Begin whatever may begin, looked at every `step` seconds."""
    began = []
    for number in range(round(seconds / step)):
        now = 100.0 + number * step
        while pace.ready(now):
            pace.began(now, fresh=False)
            began.append(now - 100.0)
    return began


def test_without_a_rate_everything_may_begin() -> None:
    """No wait, whatever began."""
    pace = Pace(None)
    for _ in range(1000):
        pace.began(5.0, fresh=True)
    assert pace.wait(5.0) == 0
    assert pace.ready(5.0) >= 1000
    assert pace.wait_behind(1000, 5.0) == 0


def test_one_after_the_other() -> None:
    """Ten a second are one every tenth of a second, from the first one on."""
    began = starts(Pace(TEN), 1.95)
    assert began == pytest.approx([number / 10 for number in range(20)], abs=0.0021)


def test_a_burst_comes_at_once_and_is_earned_again() -> None:
    """After a pause that is long enough; in between the rate goes on."""
    pace = Pace(TEN.with_burst(5))
    assert starts(pace, 0.35) == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3], abs=0.0021)
    assert pace.ready(100.3 + 0.25) == 2
    assert pace.ready(1000.0) == 5


@pytest.mark.parametrize("late", [0.003, 0.009, 0.017])
def test_late_timers_cost_nothing(late: float) -> None:
    """Whoever looks every few milliseconds still gets what the rate says."""
    began = starts(Pace(Rate("100/s", 0.01)), 10.0, step=late)
    assert 990 <= len(began) <= 1003


@given(
    looks=st.lists(st.floats(0, 3), max_size=60),
    interval=st.sampled_from([0.001, 0.1, 1.0, 60.0]),
    burst=st.integers(1, 5),
)
def test_no_time_has_more_than_the_rate(looks: list[float], interval: float, burst: int) -> None:
    """In any stretch of time no more begin than the rate, the burst and 20 ms of grace allow."""
    pace = Pace(Rate("x", interval, burst))
    now, began = 0.0, []
    for look in looks:
        now += look * interval
        while pace.ready(now):
            pace.began(now, fresh=True)
            began.append(now)
        assert 0 < pace.wait(now) <= interval + 0.001 + 1e-9
    for first, start in enumerate(began):
        for last in range(first, len(began)):
            stretch = began[last] - start
            assert last - first + 1 <= burst + (stretch + 0.022) / interval + 1e-6


@pytest.mark.parametrize(
    ("fresh", "backlog", "fresh_last", "turn", "before"),
    [
        (0, 0, False, False, 0),
        (1, 0, True, True, 1),
        (0, 9, False, False, 0),
        (0, 9, True, False, 1),  # one more fresh one would wait for one of the backlog
        (3, 9, False, True, 6),
        (3, 9, True, False, 7),
        (3, 1, True, False, 4),
    ],
)
def test_turns(fresh: int, backlog: int, fresh_last: bool, turn: bool, before: int) -> None:
    """While both wait, they take turns."""
    pace = Pace(TEN)
    pace.began(0.0, fresh=fresh_last)
    assert pace.turn_of_fresh(fresh, backlog) is turn
    assert pace.before_fresh(fresh, backlog) == before
