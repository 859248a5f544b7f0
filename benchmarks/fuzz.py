"""Runs 2,000,000 hostile inputs through what strangers reach: none may raise, forge or be slow.

    python -m benchmarks.fuzz [--cases 2000000] [--seed N] [--processes 2]
    python -m benchmarks.fuzz --subject signatures --seed S --case N      # one case again

Each subject is one file, `benchmarks/fuzz_*.py`, and has its share of them: less where each case
is a config of its own, which takes long to load. A case is made from
the seed and its number alone. Its time is processor time, the least of three tries, which a busy
machine hardly stretches, and no case may take 50 ms. What a config costs to load is no stranger's
doing and isn't in it, but may not take half a second either.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import multiprocessing
import os
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rich.progress import Progress

from benchmarks import (
    fuzz_declared,
    fuzz_mails,
    fuzz_posts,
    fuzz_results,
    fuzz_signatures,
    fuzz_templates,
)

SLOWEST_ALLOWED: Final = 0.05  # seconds
LOADING_ALLOWED: Final = 0.5
_TRIES: Final = 3  # of a case that was slow: something else may have been in its way
_CHUNK: Final = 500


class Subject(NamedTuple):
    """What is fuzzed: how a case is made, and what it comes to.

    `load` does what is done once, when the daemon starts, and `run` returns a word for the outcome.
    They raise for whatever must not be, a forgery included. `allowed` is the processor time that a
    run may take, in seconds; `share` is how many of the cases are the subject's.
    """

    make: Callable[[random.Random], Any]
    run: Callable[[Any], str]
    load: Callable[[Any], Any] = lambda case: case
    allowed: float = SLOWEST_ALLOWED
    share: int = 1


SUBJECTS: Final[Mapping[str, Subject]] = MappingProxyType({
    "mails": Subject(fuzz_mails.make, fuzz_mails.run, share=10),
    "posts": Subject(fuzz_posts.make, fuzz_posts.run, share=8),
    "declared": Subject(fuzz_declared.make, fuzz_declared.run, fuzz_declared.load),
    "signatures": Subject(fuzz_signatures.make, fuzz_signatures.run, share=3),
    "results": Subject(fuzz_results.make, fuzz_results.run, share=3),
    "templates": Subject(fuzz_templates.make, fuzz_templates.run, fuzz_templates.load),
})  # fmt: skip


@dataclass(slots=True)
class Run:
    """The outcomes of some cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    raised: list[tuple[int, str]] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, other: Run) -> None:
        """Add the outcomes of other cases."""
        self.outcomes += other.outcomes
        self.raised += other.raised
        self.slow += other.slow
        self.slowest = max(self.slowest, other.slowest)


def mutated(seed: int, number: int, subject: str = "mails") -> Any:
    """Make one case."""
    return SUBJECTS[subject].make(random.Random(f"{seed}:{number}"))


def chunk(first: int, *, seed: int, cases: int, subject: str) -> tuple[int, Run]:
    """Run consecutive cases; return how many, and their outcomes."""
    _warm_up(subject)
    gc.freeze()  # what was there before is no case's time to search for garbage
    run = Run()
    last = min(first + _CHUNK, cases)
    for number in range(first, last):
        case = mutated(seed, number, subject)
        try:
            outcome, took = _timed(SUBJECTS[subject], case)
        except Exception as error:  # noqa: BLE001  finding these is what this is for
            run.raised.append((number, f"{type(error).__name__}: {error}"[:200]))
            continue
        run.outcomes[outcome] += 1
        run.slowest = max(run.slowest, (took, number))
        if took > SUBJECTS[subject].allowed:
            run.slow.append(number)
    gc.unfreeze()
    return last - first, run


def _timed(subject: Subject, case: Any) -> tuple[str, float]:
    """Run a case; return its outcome and the processor time that it took."""
    least = math.inf
    outcome = ""
    for _ in range(_TRIES):
        began = time.process_time()
        loaded = subject.load(case)
        ready = time.process_time()
        assert ready - began <= LOADING_ALLOWED, "the config takes long to load"
        outcome = subject.run(loaded)
        least = min(least, time.process_time() - ready)
        if least <= subject.allowed:
            break
    return outcome, least


@cache
def _warm_up(subject: str) -> None:
    """Run a case, once per process: imports and caches are no case's time."""
    with contextlib.suppress(Exception):  # it is found again if it is one of the cases
        _timed(SUBJECTS[subject], mutated(0, 0, subject))


def fuzz(seed: int, cases: int, processes: int, subject: str = "mails") -> Run:
    """Run all cases of a subject, in this process or in several."""
    total = Run()
    work = partial(chunk, seed=seed, cases=cases, subject=subject)
    firsts = range(0, cases, _CHUNK)
    if processes == 1:
        for first in firsts:
            total.add(work(first)[1])
        return total
    with (
        Progress(disable=not sys.stdout.isatty()) as progress,
        # Not by fork: evidence has threads, which a forked process would wait for in vain.
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        bar = progress.add_task(subject, total=cases)
        for count, run in pool.imap_unordered(work, firsts):
            total.add(run)
            progress.advance(bar, count)
    return total


def main() -> int:
    """Run, print, and return 1 if a case raised or was too slow."""
    parser = argparse.ArgumentParser(description="Runs hostile inputs through the readers.")
    parser.add_argument("--cases", type=int, default=2_000_000, help="of all subjects together")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--subject", choices=SUBJECTS, action="append")
    parser.add_argument("--case", type=int, help="run only this case, and print it")
    wanted = parser.parse_args()
    chosen = wanted.subject or list(SUBJECTS)
    if wanted.case is not None:
        return _again(wanted.seed, wanted.case, chosen[0])
    print(f"seed {wanted.seed}, {wanted.cases} cases, {wanted.processes} processes", flush=True)
    shares = sum(SUBJECTS[subject].share for subject in chosen)
    failed = [
        subject
        for subject in chosen
        if _report(
            subject,
            wanted.seed,
            wanted.cases * SUBJECTS[subject].share // shares,
            wanted.processes,
        )
    ]
    return 1 if failed else 0


def _report(subject: str, seed: int, cases: int, processes: int) -> bool:
    """Run one subject and print its outcomes; return whether a case failed."""
    began = time.monotonic()
    run = fuzz(seed, cases, processes, subject)
    elapsed = time.monotonic() - began
    print(f"{subject}: {cases} cases, {cases / elapsed:.0f}/s")
    for name, count in run.outcomes.most_common():
        print(f"  {name:12} {count:8}")
    seconds, number = run.slowest
    print(
        f"  slowest {seconds * 1000:.1f} ms (case {number}), "
        f"slow {len(run.slow)} {sorted(run.slow)[:10]}, raised {len(run.raised)}",
        flush=True,
    )
    for number, sentence in run.raised[:10]:
        print(f"    case {number}: {sentence}")
    return bool(run.raised or run.slow)


def _again(seed: int, number: int, subject: str) -> int:
    case = mutated(seed, number, subject)
    if isinstance(case, bytes):
        sys.stdout.buffer.write(case)
        sys.stdout.flush()
    else:
        print(case)
    outcome, seconds = _timed(SUBJECTS[subject], case)
    print(f"\n--- {outcome}, {seconds * 1000:.1f} ms", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
