"""The schedule: a pure function, held to its table and to its promises."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import DeliverySettings
from bridge.delivery.routes import Way
from bridge.delivery.schedule import JITTER_MAX, JITTER_SHARE, decide, step_wait
from bridge.model import Claim, Dead, Decision, Delivered, Event, Hold, Outcome, RetryAt

START = datetime(2026, 4, 8, 12, 0, tzinfo=UTC)
DEFAULT = DeliverySettings()
WEEK = timedelta(days=7)
EVENT = Event("msg_1", "sms.received", "sms.received", b"{}")
CLAIM = Claim(1, "crm", EVENT, attempt=1, step=0, elapsed=0.0, lease="l")

failures = st.one_of(
    st.integers(300, 599).filter(lambda status: status != 410).map(lambda s: Outcome(s, 0.1)),
    st.sampled_from(["timeout", "connect", "tls", "protocol", "internal"]).map(
        lambda error: Outcome(None, 0.1, error=error)
    ),
)
fractions = st.floats(0, 1, exclude_max=True)


def _no_jitter() -> float:
    return 0.0


def _tries(rng: Callable[[], float]) -> list[datetime]:
    """Give the times of all tries of a delivery whose endpoint fails at once, always."""
    claim, now, tries = CLAIM, START, [START]
    while isinstance(
        decision := decide(Outcome(500, 0), claim, now=now, rng=rng, settings=DEFAULT), RetryAt
    ):
        now = decision.at
        elapsed = (now - START).total_seconds()
        claim = replace(claim, attempt=claim.attempt + 1, step=decision.step, elapsed=elapsed)
        tries.append(now)
    assert isinstance(decision, Dead)
    return tries


def test_default_schedule_in_full() -> None:
    """At once, 2 s, 5 s … 4 h, then every 6 h; the first failure after 7 days is the last."""
    tries = _tries(_no_jitter)
    waits = [(later - sooner).total_seconds() for sooner, later in pairwise(tries)]
    first = [2, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400]
    assert waits[: len(first)] == first
    assert set(waits[len(first) :]) == {6 * 3600}
    assert tries[-2] < START + WEEK <= tries[-1]
    assert len(tries) == 40


def test_default_schedule_with_jitter() -> None:
    """With jitter each try is a little later than the table says, the same for the same seed."""
    plain = _tries(_no_jitter)
    jittered = _tries(random.Random(2026).random)
    assert jittered == _tries(random.Random(2026).random)
    assert jittered != _tries(random.Random(2027).random)
    waits = [(b - a).total_seconds() for a, b in pairwise(jittered)]
    for step, wait in enumerate(waits):
        least = step_wait(step, DEFAULT)
        assert least < wait <= least + min(least * JITTER_SHARE, JITTER_MAX)
    assert jittered[-1] >= START + WEEK
    assert len(plain) - 2 <= len(jittered) <= len(plain)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Any 2xx is a success, even after the schedule is over."""
    for weeks in (0, 2):
        claim = replace(CLAIM, elapsed=weeks * WEEK.total_seconds())
        decision = decide(Outcome(status, 1), claim, now=START, rng=_no_jitter, settings=DEFAULT)
        assert decision == Delivered()


def test_gone_holds_the_whole_endpoint() -> None:
    """A 410 holds all deliveries of the endpoint, and kills none, however old."""
    for weeks in (0, 2):
        claim = replace(CLAIM, elapsed=weeks * WEEK.total_seconds())
        decision = decide(Outcome(410, 1), claim, now=START, rng=_no_jitter, settings=DEFAULT)
        assert decision == Hold("the endpoint answered 410 Gone", whole_endpoint=True)


@pytest.mark.parametrize(
    ("status", "failover", "expected"),
    [
        (500, False, RetryAt(START, 3)),  # at once, and the same step
        (410, False, Hold("the endpoint answered 410 Gone", whole_endpoint=True)),
        (410, True, RetryAt(START + timedelta(seconds=DEFAULT.schedule[4]), 4)),
        (500, True, RetryAt(START + timedelta(seconds=DEFAULT.schedule[4]), 4)),
    ],
)
def test_while_the_failover_url_is_in_use(status: int, failover: bool, expected: Decision) -> None:
    """What failed at its own URL goes to the other one at once; there it waits as usual."""
    claim, way = replace(CLAIM, step=3), Way(failover=failover)
    outcome = Outcome(status, 1)
    decision = decide(
        outcome, claim, now=START, rng=_no_jitter, settings=DEFAULT, way=way, over=True
    )
    assert decision == expected


@given(
    outcome=failures,
    step=st.integers(0, 60),
    fraction=fractions,
    asked=st.none() | st.floats(0, 1e12),
)
def test_no_wait_is_shortened(
    outcome: Outcome, step: int, fraction: float, asked: float | None
) -> None:
    """Neither jitter nor Retry-After makes a wait shorter, and both are bounded."""
    claim = replace(CLAIM, step=step)
    outcome = replace(outcome, retry_after=asked)
    decision = decide(outcome, claim, now=START, rng=lambda: fraction, settings=DEFAULT)
    assert isinstance(decision, RetryAt)
    assert decision.step == step + 1
    wait = (decision.at - START).total_seconds()
    least = max(step_wait(step, DEFAULT), min(asked or 0.0, DEFAULT.max_retry_after))
    assert least - 1e-6 <= wait <= least + min(least * JITTER_SHARE, JITTER_MAX) + 1e-6


@given(
    outcome=failures,
    seconds=st.floats(-WEEK.total_seconds(), WEEK.total_seconds()),
    step=st.integers(0, 60),
)
def test_dead_exactly_from_give_up(outcome: Outcome, seconds: float, step: int) -> None:
    """A failure is the last if and only if the schedule has gone on for `give_up` or longer."""
    give_up = WEEK.total_seconds()
    claim = replace(CLAIM, step=step, elapsed=max(0.0, give_up + seconds))
    decision = decide(outcome, claim, now=START, rng=_no_jitter, settings=DEFAULT)
    ended = claim.elapsed + outcome.duration >= give_up
    assert isinstance(decision, Dead if ended else RetryAt)


@given(outcome=failures, hours=st.integers(-500_000, 500_000))
def test_no_clock_ends_a_schedule(outcome: Outcome, hours: int) -> None:
    """Whatever the clock says, a delivery that has not waited for `give_up` is tried again."""
    now = START + timedelta(hours=hours)
    decision = decide(outcome, CLAIM, now=now, rng=_no_jitter, settings=DEFAULT)
    assert isinstance(decision, RetryAt)


def test_dead_to_the_microsecond() -> None:
    """The moment of giving up belongs to the dead; the one before does not."""
    week = WEEK.total_seconds()
    for elapsed, kind in ((week - 1e-6, RetryAt), (week, Dead)):
        claim = replace(CLAIM, elapsed=elapsed)
        decision = decide(Outcome(500, 0), claim, now=START, rng=_no_jitter, settings=DEFAULT)
        assert isinstance(decision, kind)


def test_a_new_schedule_begins_anew() -> None:
    """An operator's retry counts attempts on, but its waits and its end begin again."""
    later = START + 3 * WEEK
    claim = replace(CLAIM, attempt=41, step=0, elapsed=0.0)
    decision = decide(Outcome(500, 0), claim, now=later, rng=_no_jitter, settings=DEFAULT)
    assert decision == RetryAt(later + timedelta(seconds=2), 1)


def test_reasons_tell_what_happened() -> None:
    """What a dead letter says is what the last try was."""
    claim = replace(CLAIM, elapsed=WEEK.total_seconds())
    told = [
        decide(outcome, claim, now=START, rng=_no_jitter, settings=DEFAULT)
        for outcome in (Outcome(503, 1), Outcome(None, 1, error="connect", detail="no connection"))
    ]
    assert told == [
        Dead("the endpoint answered 503, and the schedule is over after 1 attempts"),
        Dead("no connection, and the schedule is over after 1 attempts"),
    ]


@given(
    schedule=st.lists(st.floats(0, 1e6), min_size=1, max_size=10),
    repeat=st.floats(0.001, 1e6),
    step=st.integers(0, 20),
)
def test_own_schedule_is_obeyed(schedule: list[float], repeat: float, step: int) -> None:
    """Any schedule of the config is followed entry by entry, then `repeat` for ever."""
    schedule = [0.0, *schedule]
    settings = DeliverySettings(schedule=tuple(schedule), repeat=repeat)
    expected = schedule[step + 1] if step + 1 < len(schedule) else repeat
    assert step_wait(step, settings) == expected


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, None), (0.0, None), (90.0, 90.0), (1e12, 24 * 3600.0)]
)
def test_what_the_endpoint_asked_for_is_kept_apart(
    asked: float | None, seconds: float | None
) -> None:
    """`not_before` is the bounded Retry-After alone, without the schedule and the jitter."""
    outcome = Outcome(503, 1, retry_after=asked)
    decision = decide(outcome, CLAIM, now=START, rng=lambda: 0.5, settings=DEFAULT)
    assert isinstance(decision, RetryAt)
    expected = None if seconds is None else START + timedelta(seconds=seconds)
    assert decision.not_before == expected
