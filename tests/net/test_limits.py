from __future__ import annotations

from bridge import logs
from bridge.net.limits import Budget, ConnectionLimiter
from bridge.sources.throttled_log import ThrottledLog
from tests.conftest import Line


def test_the_door_counts_each_peer_and_all() -> None:
    """A full door refuses, and who leaves makes room."""
    door = ConnectionLimiter(most=3, most_per_peer=2)
    assert [door.acquire("a"), door.acquire("a"), door.acquire("a")] == [True, True, False]
    assert [door.acquire("b"), door.acquire("c")] == [True, False]
    door.release("a")
    assert door.acquire("c")
    assert len(door) == 3


def test_peers_that_left_are_forgotten() -> None:
    """The table of peers does not grow with all who ever came."""
    door = ConnectionLimiter(most=3, most_per_peer=2)
    for number in range(100):
        assert door.acquire(str(number))
        door.release(str(number))
    assert not door._per_peer


def test_the_budget_is_shared_and_given_back_once() -> None:
    """A share takes what is there and gives back exactly that, however often it is closed."""
    budget = Budget(10)
    one, two = budget.share(), budget.share()
    assert one.grow(6)
    assert not two.grow(5)
    assert two.grow(4)
    assert budget.spent
    one.close()
    one.close()
    assert budget.used == 4
    two.close()
    assert budget.used == 0


def test_a_flood_is_one_line_and_a_count(lines: list[Line]) -> None:
    """Within the interval an event is counted only; the next line tells the count."""
    now = 0.0
    throttled = ThrottledLog(logs.logger("test"), interval=10.0, now=lambda: now)
    for _ in range(1000):
        throttled.warning("flood", peer="192.0.2.1")
    throttled.warning("other")
    now = 10.0
    throttled.warning("flood")
    throttled.warning("flood")
    told = [(line["event"], line.get("unlogged")) for line in lines]
    assert told == [("flood", None), ("other", None), ("flood", 999)]
