"""When an endpoint's failover URL is used, and until when: tables, the time is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.breaker import FAILURES
from bridge.delivery.routes import FIRST_PROBE, LAST_PROBE, Routes, Way

AFTER = 60.0
OWN, OTHER, PROBE = Way(), Way(failover=True), Way(probe=True)


def routes(*, over: bool = False, failing: bool = False, after: float | None = AFTER) -> Routes:
    """Make the routes of an endpoint with ten slots."""
    return Routes(10, after, failing=failing, over=over)


def fails(given: Routes, times: list[float], way: Way = OWN) -> None:
    """Let attempts fail at these times."""
    for now in times:
        given.failed(way, now)


def over(start: float = 100.0) -> Routes:
    """Make the routes of an endpoint whose failover URL is in use."""
    made = routes()
    fails(made, [start - AFTER, start - AFTER, start])
    assert made.is_due(start)
    made.fail_over(start)
    return made


@pytest.mark.parametrize(
    ("times", "now", "due"),
    [
        ([], 1000, False),
        ([0], 1000, False),
        ([0, 2], 1000, False),  # two failures are no outage, however long ago
        ([0, 2, 7], 59, False),
        ([0, 2, 7], 60, True),  # the time passes without another failure
        ([0, 0, 0], 59.9, False),
        ([0] * 10, 59.9, False),  # failing, and not for long enough
        ([0] * 10, 60, True),
        ([0, 59, 60], 60, True),
    ],
)
def test_it_is_used_after_a_while_of_failures(times: list[float], now: float, due: bool) -> None:
    """At least three, none of them followed by a success, the first one `after` ago."""
    made = routes()
    fails(made, times)
    assert made.is_due(now) is due
    assert not routes(after=None).is_due(now)


def test_a_success_begins_the_count_anew() -> None:
    """An endpoint that answers now and then is not left."""
    made = routes()
    for now in range(0, 6000, 30):
        fails(made, [now, now, now])
        made.succeeded(OWN)
        assert not made.is_due(now + 29)
    without = routes(after=None)
    fails(without, [0] * 50)
    assert not without.is_due(1e6)


def test_everything_but_a_probe_goes_there() -> None:
    """The own URL gets one delivery at a time, every ten seconds and then less and less often."""
    made = over()
    waits, last, now = [], 100.0, 100.0
    while now < 2000:
        way = made.began(now)
        if way == PROBE:
            waits.append(round(now - last))
            last = now
            assert made.began(now) == OTHER  # no second one beside it
            made.failed(way, now)
        else:
            assert way == OTHER
            assert not made.succeeded(way)
        assert made.allows(10, 0, now) == 10
        assert not made.open
        now += 0.5
    assert waits[:6] == [FIRST_PROBE, 10, 20, 40, 80, 160]
    assert set(waits[6:]) == {LAST_PROBE}


def test_a_probe_that_succeeds_ends_it() -> None:
    """Then the own URL starts as slowly as after any outage, and the probes begin anew."""
    made = over()
    fails(made, [110.0], made.began(110.0))
    assert made.began(119.0) == OTHER
    probe = made.began(120.0)
    assert probe == PROBE
    assert made.ends_outage(probe)
    assert made.succeeded(probe)
    assert not made.over
    assert made.allows(10, 0, 120.0) == 1
    assert made.began(120.0) == OWN
    assert not made.succeeded(OWN)
    assert made.allows(10, 0, 120.0) == 2
    assert not made.is_due(1e6)


def test_a_late_success_at_the_own_url_ends_it_too() -> None:
    """It was begun before, and shows the same."""
    made = over()
    assert made.succeeded(OWN)
    assert not made.over


def test_late_failures_at_the_own_url_change_nothing() -> None:
    """They began before the failover, and are no probes."""
    made = over()
    fails(made, [101.0] * 20)
    assert made.over
    assert made.began(109.0) == OTHER
    assert made.began(110.0) == PROBE


def test_a_relapse_needs_no_other_wait() -> None:
    """An own URL that answered once and fails again has shown that it is not back."""
    made = over()
    made.succeeded(made.began(110.0))
    fails(made, [111.0])
    assert made.is_due(111.0)
    made.fail_over(111.0)
    assert made.over
    assert made.began(112.0) == OTHER


def test_the_failover_url_is_judged_anew_each_time() -> None:
    """What it answered in the outage before says nothing about now, nor do the probes' waits."""
    made = over()
    fails(made, [110.0], made.began(110.0))
    fails(made, [111.0] * FAILURES, OTHER)
    assert made.open
    made.succeeded(made.began(120.0))
    fails(made, [121.0])
    made.fail_over(121.0)
    assert not made.open
    assert not made.ends_outage(OTHER)
    assert made.began(130.9) == OTHER
    assert made.began(131.0) == PROBE


def test_a_relapse_after_the_slow_start_is_a_new_outage() -> None:
    """What happens when all is well again has nothing to do with it."""
    made = over()
    made.succeeded(made.began(110.0))
    for _ in range(16):
        made.succeeded(made.began(111.0))
    assert made.allows(10, 0, 112.0) == 10
    fails(made, [112.0] * FAILURES)
    assert not made.is_due(112.0)
    assert made.is_due(112.0 + AFTER)


def test_where_both_fail_both_are_probed() -> None:
    """The failover URL has a breaker like any other; the own URL's probes go on."""
    made = over()
    fails(made, [101.0] * FAILURES, OTHER)
    assert made.open
    made._other.began(101.0)
    assert made.ends_outage(OTHER)
    assert made.allows(10, 0, 101.5) == 0
    assert made.wait(0, 101.5) == pytest.approx(0.5)
    assert made.wait(1, 101.5) == pytest.approx(8.5)  # its own URL's probe, beside the other's
    assert made.allows(10, 0, 102.0) == 1
    assert made.began(109.9) == OTHER
    assert made.allows(10, 1, 109.9) == 0
    assert made.allows(10, 1, 110.0) == 1  # beside the other's probe
    assert made.allows(0, 10, 110.0) == 0
    assert made.began(110.0) == PROBE
    assert made.over
    assert made.ends_outage(OTHER)
    assert not made.succeeded(OTHER)
    assert not made.open


def test_after_a_restart_it_is_still_in_use() -> None:
    """And the own URL is tried at once."""
    made = routes(over=True, failing=True)
    assert made.over
    assert made.began(5.0) == PROBE
    assert made.began(5.0) == OTHER
    assert routes(over=True).succeeded(PROBE)  # the endpoint was failing, whoever said it
    assert not routes(over=True, failing=True, after=None).over  # it left the config


@given(
    after=st.sampled_from([None, 0.5, 60.0]),
    events=st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=120),
)
def test_it_never_blocks(after: float | None, events: list[tuple[float, bool]]) -> None:
    """Whatever happened, an attempt may begin now or after a wait, at one of the URLs there are."""
    made, now = routes(after=after), 0.0
    for pause, works in events:
        now += pause
        if made.is_due(now):
            made.fail_over(now)
        if not made.allows(10, 0, now):
            wait = made.wait(0, now)
            assert wait is not None
            now += wait
        assert made.allows(10, 0, now)
        way = made.began(now)
        assert way == OWN or after is not None
        assert way.failover <= made.over
        _ = made.succeeded(way) if works else made.failed(way, now)


def test_what_waits_is_brought_forward_less_and_less_often() -> None:
    """Else messages that are never taken would be tried for ever, before all others."""
    routes = Routes(10, None)
    spacings = []
    now = 1000.0
    assert routes.brings_forward(now) == 0
    for _ in range(8):
        routes.brought_forward(now)
        spacings.append(routes.brings_forward(now))
        now += spacings[-1]
        assert routes.brings_forward(now) == 0
    assert spacings == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    now += 2 * 3600
    routes.brought_forward(now)
    assert routes.brings_forward(now) == 60
