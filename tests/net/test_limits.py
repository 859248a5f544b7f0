from __future__ import annotations

import math

import pytest

from bridge import logs
from bridge.net.limits import (
    SMALL,
    Budget,
    ConnectionLimiter,
    Guesses,
    Limit,
    Pace,
    network_of,
    patience,
)
from bridge.sources.throttled_log import ThrottledLog
from tests.conftest import Line

PER_PEER = Limit.CONNECTIONS_PER_PEER


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (None, ""),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
    ],
)
def test_a_peer_is_counted_by_its_network(peer: str | None, network: str) -> None:
    """One IPv6 customer has a /64 full of addresses."""
    assert network_of(peer) == network


def test_the_door_counts_each_peer_and_all() -> None:
    """A full door refuses, and who leaves makes room."""
    door = ConnectionLimiter(most=3, most_per_peer=2)
    assert [door.enter("a"), door.enter("a"), door.enter("a")] == [None, None, PER_PEER]
    assert [door.enter("b"), door.enter("c")] == [None, Limit.CONNECTIONS]
    door.leave("a")
    assert door.enter("c") is None
    assert len(door) == 3


def test_the_door_forgets_peers_that_left() -> None:
    """The table of peers does not grow with all who ever came."""
    door = ConnectionLimiter(most=3, most_per_peer=2)
    for number in range(100):
        assert door.enter(str(number)) is None
        assert door.yielding_to("another") is None
        door.leave(str(number))
    assert not door._inside
    for number in range(10_000):
        door.remember(str(number))
    assert len(door._known) < 5000
    assert door.is_known("9999")


def inside(**counts: int) -> ConnectionLimiter:
    door = ConnectionLimiter(most=sum(counts.values()), most_per_peer=50)
    for network, count in counts.items():
        for _ in range(count):
            assert door.enter(network) is None
    return door


def test_a_network_with_many_places_yields_to_one_with_few() -> None:
    """It is the one with most that does, and never one that would then have fewer."""
    door = inside(a=4, b=3, c=1)
    assert door.yielding_to("new") == "a"
    assert door.yielding_to("c") == "a"
    assert door.yielding_to("b") is None
    assert inside(a=2, b=2, c=1).yielding_to("c") is None
    assert inside(a=1, b=1).yielding_to("new") is None


def test_a_known_network_gets_a_place_from_any_other() -> None:
    """Even where all have one place each; and strangers take none from known ones."""
    door = inside(a=1, b=1, known=8)
    door.remember("known")
    assert door.yielding_to("stranger") is None
    assert door.yielding_to("known") in {"a", "b"}
    door.remember("other")
    assert door.yielding_to("other") in {"a", "b"}
    door.remember("a")
    door.remember("b")
    assert door.yielding_to("other") == "known"


def test_patience_is_whole_while_there_is_plenty() -> None:
    """Then it shrinks, and never to nothing."""
    assert [patience(used) for used in (0, 0.5, 0.75, 1.0)] == [1, 1, 0.5, 0.125]


def test_the_budget_is_shared_and_given_back_once() -> None:
    """A share takes what is there and gives back exactly that, however often it is closed."""
    budget = Budget(10, 10)
    one, two = budget.share("a"), budget.share("b")
    assert one.grow(6)
    assert not two.grow(5)
    assert two.limit is Limit.MEMORY
    assert two.grow(4)
    assert budget.spent("c")
    one.close()
    one.close()
    assert budget.used == 4
    two.close()
    assert budget.used == 0
    assert not budget._networks


def test_one_network_has_a_part_of_the_budget() -> None:
    """Beyond it, it alone is refused."""
    budget = Budget(100, 25)
    one, two, other = budget.share("a"), budget.share("a"), budget.share("b")
    assert one.grow(20)
    assert not two.grow(6)
    assert two.limit is Limit.MEMORY_PER_PEER
    assert other.grow(25)


def test_big_mails_leave_room_for_small_ones() -> None:
    """Of the total and of a network's part alike; however fast they grow."""
    budget = Budget(64 * SMALL, 16 * SMALL)
    big = [budget.share(network) for network in "abcdef"]
    for each in big:
        for _ in range(20):
            each.grow(SMALL)
    assert big[0].taken == 12 * SMALL
    assert big[-1].taken == SMALL  # which is a small mail
    assert budget.used <= 57 * SMALL
    assert not budget.share("x").grow(SMALL + 1)
    small = [budget.share(network) for network in "abcdefg"]
    assert all(each.grow(SMALL) for each in small)


def test_a_pace_is_that_of_two_windows() -> None:
    """A new peer is not called slow, and one that stops is soon."""
    pace = Pace(10.0)
    assert pace.recent(10.9) == math.inf
    pace.add(100)
    assert pace.recent(12.0) == 50
    assert not pace.is_over(19.9, 10)
    assert pace.is_over(20.0, 10)
    assert pace.in_window(20.0) == 10
    pace.next_window(20.0)
    assert (pace.in_window(30.0), pace.recent(30.0)) == (0, 5)
    pace.next_window(30.0)
    assert pace.recent(40.0) == 0


def test_guesses_slow_down() -> None:
    """A burst is free; then each waits for its turn, and time pays the debt."""
    guesses = Guesses(burst=3, seconds=2.0)
    assert [guesses.wrong("a", 0.0) for _ in range(5)] == [0, 0, 0, 2, 4]
    assert guesses.delay("a", 0.0) == 6
    assert guesses.wrong("b", 0.0) == 0
    assert guesses.delay("a", 20.0) == 0
    assert guesses.wrong("a", 20.0) == 0
    for number in range(10_000):
        guesses.wrong(str(number), 0.0)
    assert len(guesses._paid_until) < 5000


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
