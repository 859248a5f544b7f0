"""A parallel run does the long tests first, a share in each process."""

from __future__ import annotations

import pytest

from tests.dealing import dealt


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
@pytest.mark.parametrize("storms", [0, 1, 5, 30])
@pytest.mark.parametrize("rest", [0, 3, 100])
def test_each_test_is_dealt_once(storms: int, rest: int, processes: int) -> None:
    """Nothing is left out or run twice, whatever the numbers."""
    cards = [f"storm {i}" for i in range(storms)], [f"calm {i}" for i in range(rest)]
    assert sorted(dealt(*cards, processes)) == sorted(cards[0] + cards[1])


def test_each_process_starts_with_its_share() -> None:
    """Four processes get three storms each, and as many tests."""
    order = dealt([True] * 12, [False] * 88, 4)
    assert order == ([True] * 3 + [False] * 22) * 4
