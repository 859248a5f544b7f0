"""A slice of the fuzzing, and the bound on what reading a mail costs, run with the tests."""

from __future__ import annotations

import random

from benchmarks import fuzz, parse


def test_no_mutation_of_a_fixture_raises() -> None:
    """A few thousand mutated mails are read or refused, none raises, none is slow."""
    seed = random.randrange(1_000_000)
    run = fuzz.fuzz(seed, 3_000, processes=1)
    assert run.raised == [], f"seed {seed}"
    assert run.slow == [], f"seed {seed}"
    assert sum(run.outcomes.values()) == 3_000
    # Most of it reaches the providers: a fuzz that ends at the headers would prove little.
    assert run.outcomes["message"] + run.outcomes["unreadable"] > 1_500


def test_a_case_is_made_again_from_its_seed_and_number() -> None:
    """What a run found can be shown again."""
    assert fuzz.mutated(7, 11) == fuzz.mutated(7, 11)
    assert len({fuzz.mutated(7, number) for number in range(50)}) > 45


def test_what_raises_is_found_and_named() -> None:
    """A reader that fails is not taken for one that refuses."""
    run = fuzz.Run()
    run.add(fuzz.Run(raised=[(3, "ValueError: x")], slowest=(0.1, 3)))
    assert (run.raised, run.slowest) == ([(3, "ValueError: x")], (0.1, 3))


def test_reading_costs_at_most_half_of_the_standard_library() -> None:
    """The ratio of the medians over interleaved rounds is within its bound."""
    ours, theirs = parse.measure(rounds=200)
    assert ours / theirs <= parse.MOST
