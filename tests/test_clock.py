"""The bridge's clock: steady, set by its beats alone, and what it has lived through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge import clock
from bridge.clock import MOST, Clock

START = datetime(2026, 4, 8, 12, 0, tzinfo=UTC)


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class Machine:
    """A machine's three clocks."""

    def __init__(self) -> None:
        self.says = START
        self.steady = 1000.0
        self.awake = 500.0

    def clock(self) -> Clock:
        return Clock(lambda: self.says, lambda: self.steady, lambda: self.awake)

    def runs(self, seconds: float) -> None:
        self.says += _seconds(seconds)
        self.steady += seconds
        self.awake += seconds

    def sleeps(self, seconds: float) -> None:
        self.says += _seconds(seconds)
        self.steady += seconds


def test_goes_on_whatever_the_machine_says() -> None:
    """Between two beats nobody sets it; it follows when it is set right."""
    machine = Machine()
    ours = machine.clock()
    machine.runs(2)
    machine.says += timedelta(days=400)
    assert ours() == START + _seconds(2)
    ours.set_right(timedelta(days=400))
    machine.runs(1)
    assert ours() == machine.says == START + timedelta(days=400, seconds=3)


def test_a_suspended_machine_is_no_clock_that_was_set() -> None:
    """The time of a suspend goes by, and isn't lived."""
    machine = Machine()
    ours = machine.clock()
    assert ours.lived() is None
    ours.beat(START, machine.awake, timedelta())
    machine.sleeps(8 * 3600)
    machine.runs(2)
    assert ours() == machine.says
    assert ours.lived() == START + _seconds(2)
    assert ours.awake_since_beat(machine.awake) == _seconds(2)


def test_a_stopped_process_lives_for_no_longer_than_a_beat() -> None:
    """What lies between two beats counts up to a bound."""
    machine = Machine()
    ours = machine.clock()
    ours.beat(START, machine.awake, timedelta())
    machine.runs(3600)
    assert ours.lived() == START + MOST


@pytest.mark.parametrize(
    ("took", "ahead", "found"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 60.0, 60.0),
        (0.002, 60.0, 60.0),
        (0.002, -60.0, -60.0),
        (0.2, 0.09, 0.0),  # within what the reading took
        (0.2, -0.09, 0.0),
        (12.0, 5.5, 0.0),  # a server that was frozen says nothing about the time
        (12.0, 3600.0, 3600.0),
    ],
)
def test_how_far_a_clock_is_behind(took: float, ahead: float, found: float) -> None:
    """A difference counts that the reading itself can't explain."""
    truth = START + _seconds(took / 2 + ahead)
    assert clock.behind(START, START + _seconds(took), truth) == _seconds(found)


def test_the_real_clocks_agree() -> None:
    """The machine's clock and the steady one tell the same time, for now."""
    ours = Clock()
    assert abs(ours() - datetime.now(UTC)) < _seconds(2)
    before = clock.steady_seconds()
    assert clock.steady_seconds() >= before
