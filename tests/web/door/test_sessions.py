"""A session ends by itself, and there is no end of them neither."""

from __future__ import annotations

from bridge.web.door import Sessions
from tests.web.door.serving import Time


def test_it_ends_when_it_is_idle() -> None:
    """Half an hour after its last use."""
    time = Time()
    sessions = Sessions(time)
    name = sessions.begin(1)
    for _ in range(3):
        time.seconds += 29 * 60
        assert sessions.find(name) == 1
    time.seconds += 30 * 60
    assert sessions.find(name) is None
    assert len(sessions) == 0


def test_it_ends_after_half_a_day_however_busy() -> None:
    """Who comes with it every ten minutes is logged out, too."""
    time = Time()
    sessions = Sessions(time)
    name = sessions.begin(1)
    found = 0
    while sessions.find(name) is not None:
        found += 1
        time.seconds += 600
    assert found == 12 * 6


def test_there_are_only_so_many() -> None:
    """One too many ends the one that was used the longest ago."""
    sessions = Sessions(Time())
    first, second = sessions.begin(1), sessions.begin(2)
    assert sessions.find(first) == 1
    names = [sessions.begin(3) for _ in range(199)]
    assert len(sessions) == 200
    assert sessions.find(second) is None
    assert sessions.find(first) == 1
    assert len({*names, first, second}) == 201


def test_its_name_is_not_what_is_kept() -> None:
    """So a look-up compares hashes, and tells nothing of how near a guess is."""
    sessions = Sessions(Time())
    name = sessions.begin(1)
    assert name not in repr(vars(sessions))
