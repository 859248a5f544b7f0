"""The circuit breaker: a table of cases, on a clock that is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.breaker import FAILURES, INTERVAL, MAX_INTERVAL, Breaker


def run(breaker: Breaker, outcomes: str) -> str:
    """Record outcomes (+ and -); return after each whether it is closed, open, or the limit."""
    return " ".join(after(breaker, each) for each in outcomes)


def after(breaker: Breaker, outcome: str) -> str:
    _ = breaker.succeeded() if outcome == "+" else breaker.failed()
    if breaker.open:
        return "open"
    allowed = breaker.allows(1000, 0, 1e9)
    return "closed" if allowed == 1000 else str(allowed)


@pytest.mark.parametrize(
    ("before", "opens"),
    [
        ("-" * 9, False),
        ("-" * 10, True),
        ("+" * 1000 + "-" * 9, False),
        ("+" * 1000 + "-" * 10, True),
        ("-+" * 9 + "+-", True),
        ("-+" * 9 + "++-", False),  # the first has left the window
        ("-++" * 100, False),
        ("-" * 9 + "+" * 11 + "-", False),
        ("-" * 9 + "+" * 10 + "-", True),
    ],
)
def test_half_of_the_last_twenty_open_it(before: str, opens: bool) -> None:
    """Ten failures among twenty attempts open it, whether or not they came in a row."""
    breaker = Breaker(10)
    run(breaker, before)
    assert breaker.open is opens


def test_open_allows_one_probe_an_interval() -> None:
    """One attempt at a time, no sooner than a second after the last one began."""
    breaker = Breaker(10)
    run(breaker, "-" * FAILURES)
    breaker.began(100.0)
    assert breaker.allows(10, 0, 100.9) == 0
    assert breaker.wait(0, 100.75) == 0.25
    assert breaker.allows(10, 0, 101.0) == 1
    assert breaker.allows(10, 1, 101.0) == 0
    assert breaker.wait(1, 101.0) is None  # the attempt's end, not the clock, allows more
    assert breaker.allows(0, 0, 101.0) == 0


@pytest.mark.parametrize(
    ("concurrency", "outcomes", "states"),
    [
        # One real delivery, then 1, 2, 4 … at a time until the concurrency is reached.
        (10, "+", "1"),
        (10, "++", "1 2"),
        (10, "++++", "1 2 2 4"),
        (10, "+" * 8, "1 2 2 4 4 4 4 8"),
        (10, "+" * 16, "1 2 2 4 4 4 4 8 8 8 8 8 8 8 8 closed"),
        (2, "++", "1 closed"),
        (1, "+", "closed"),
        # A step of which half fails opens it again.
        (10, "+-", "1 open"),
        (10, "++-", "1 2 open"),
        (10, "++++-++-", "1 2 2 4 4 4 4 open"),
        (10, "++++-+++", "1 2 2 4 4 4 4 8"),
        # What was begun before it opened, and fails late, changes nothing.
        (10, "--+", "open open 1"),
    ],
)
def test_it_closes_step_by_step(concurrency: int, outcomes: str, states: str) -> None:
    """After the outage the endpoint isn't overrun by what has waited."""
    breaker = Breaker(concurrency)
    run(breaker, "-" * FAILURES)
    assert run(breaker, outcomes) == states


def test_large_concurrency_is_reached() -> None:
    """The slow start ends however many attempts a step has."""
    breaker = Breaker(500)
    run(breaker, "-" * FAILURES)
    assert run(breaker, "+" * 512).endswith("256 closed")


def test_slow_start_counts_the_attempts_in_flight() -> None:
    breaker = Breaker(10)
    run(breaker, "-" * FAILURES + "++++")
    assert [breaker.allows(9 - busy, busy, 0.0) for busy in range(6)] == [4, 3, 2, 1, 0, 0]
    assert breaker.allows(1, 0, 0.0) == 1
    assert breaker.wait(4, 0.0) is None


def test_nothing_due_ends_the_slow_start() -> None:
    """Without a backlog there is nothing to spare the endpoint from."""
    breaker = Breaker(10)
    run(breaker, "-" * FAILURES + "+")
    breaker.nothing_due()
    assert breaker.allows(10, 0, 0.0) == 10
    run(breaker, "-" * FAILURES)
    breaker.nothing_due()
    assert breaker.open


def test_relapses_double_the_interval() -> None:
    """An endpoint that flaps is probed less and less often, until it has recovered."""
    breaker = Breaker(10)
    run(breaker, "-" * FAILURES)
    waits = []
    for _ in range(7):
        run(breaker, "+-")
        breaker.began(0.0)
        waits.append(breaker.wait(0, 0.0))
    assert waits == [2, 4, 8, 16, MAX_INTERVAL, MAX_INTERVAL, MAX_INTERVAL]
    run(breaker, "+" * 16 + "-" * FAILURES)
    breaker.began(0.0)
    assert breaker.wait(0, 0.0) == INTERVAL


def test_changes_are_reported_once() -> None:
    """`failed` and `succeeded` say when the endpoint's state changes, and only then."""
    breaker = Breaker(10)
    assert [breaker.failed() for _ in range(12)] == [False] * 9 + [True, False, False]
    assert [breaker.succeeded() for _ in range(3)] == [True, False, False]
    assert [breaker.failed(), breaker.failed()] == [True, False]


def test_a_failing_endpoint_begins_with_a_probe() -> None:
    """After a restart one attempt, not ten, finds out whether it is still failing."""
    breaker = Breaker(10, failing=True)
    assert breaker.allows(10, 0, 0.0) == 1
    assert breaker.succeeded()


@given(concurrency=st.integers(1, 40), outcomes=st.text("+-", max_size=200))
def test_it_never_blocks(concurrency: int, outcomes: str) -> None:
    """Whatever happened, with nothing in flight an attempt may begin: at once or after a wait."""
    breaker = Breaker(concurrency)
    now = 0.0
    for outcome in outcomes:
        allowed = breaker.allows(concurrency, 0, now)
        if not allowed:
            wait = breaker.wait(0, now)
            assert wait is not None
            assert wait <= MAX_INTERVAL
            now += wait
            allowed = breaker.allows(concurrency, 0, now)
        assert 1 <= allowed <= concurrency
        assert breaker.allows(0, concurrency, now) == 0
        breaker.began(now)
        after(breaker, outcome)
