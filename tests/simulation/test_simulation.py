"""Days in which everything goes wrong lose nothing, and a bug that loses something is found."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.world import simulate

_SEEDS = range(1, 9)
_SMS = 500  # of a seed: 4,000 in all
_BUG_SEEDS = range(100, 108)
_BUG_SMS = 250  # of a seed: a bug is found within 2,000


@pytest.mark.parametrize("seed", _SEEDS)
def test_no_sms_is_lost_repeated_or_out_of_order(seed: int) -> None:
    """Kills, stalls and lying receivers: at the end all agree on every SMS."""
    outcome = simulate(seed, _SMS)
    assert outcome.violation is None, f"python -m tests.simulation --seed {seed} --runs 1"
    assert outcome.lives > 1


def test_a_seed_is_the_same_run_again() -> None:
    """What a seed finds, it finds again."""
    assert simulate(7, 100) == simulate(7, 100)


@pytest.mark.parametrize("bug", BUGS)
def test_finds_a_bug_that_was_put_in(bug: str) -> None:
    """Each is found within two thousand SMS."""
    with BUGS[bug]():
        found = (simulate(seed, _BUG_SMS).violation for seed in _BUG_SEEDS)
        assert any(found)
