"""Simulates a night: `python -m tests.simulation [--messages 1000000] [--seed N] [--processes 2]`.

A run is one seed and `--each` SMS. What a seed finds, it finds again:
`python -m tests.simulation --seed N --runs 1`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import sys
import time
from functools import partial

from tests.simulation.world import Outcome, simulate

_EACH = 500


def main() -> int:
    """Run seed after seed; return 1 if one found a violation."""
    parser = argparse.ArgumentParser(description="Simulates days with everything that goes wrong.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of all runs together")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="the first one")
    parser.add_argument("--runs", type=int, help="so many instead of as many as --messages takes")
    parser.add_argument("--each", type=int, default=_EACH, help="SMS of one run")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    wanted = parser.parse_args()
    runs = wanted.runs or -(-wanted.messages // wanted.each)
    seeds = range(wanted.seed, wanted.seed + runs)
    print(f"seeds {seeds[0]} to {seeds[-1]}, {wanted.each} SMS each", flush=True)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(wanted.processes) as pool:
        for outcome in pool.imap_unordered(partial(simulate, count=wanted.each), seeds):
            outcomes.append(outcome)
            if outcome.violation is not None:
                print(f"seed {outcome.seed}: {outcome.violation}", flush=True)
    failed = [each for each in outcomes if each.violation is not None]
    print(
        f"{sum(each.messages for each in outcomes)} SMS in {len(outcomes)} runs: "
        f"{sum(each.requests for each in outcomes)} requests, "
        f"{sum(each.lives - 1 for each in outcomes)} restarts and kills, "
        f"{sum(each.seconds for each in outcomes) / 3600:.1f} simulated hours "
        f"in {time.monotonic() - began:.0f} s; violations: {len(failed)}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
