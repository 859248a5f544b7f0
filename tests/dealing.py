"""How the tests are shared out between the processes of a parallel run.

Half of a whole run is waiting: for servers to start, for killed daemons to come back. So there are
two tests at a time for each core. The storms of `tests/chaos` take a minute or more each; they are
dealt out like cards and come first, so that no process is left alone with several at the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import pytest

_TESTS_PER_CORE: Final = 2
_STORMS: Final = Path(__file__).with_name("chaos")

T = TypeVar("T")


def processes() -> int:
    """Return how many tests `-n auto` runs at a time."""
    return _TESTS_PER_CORE * len(os.sched_getaffinity(0))


def deal(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put `items` into the order in which a parallel run is done soonest."""
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    if processes > 1:
        storms = [item for item in items if _STORMS in item.path.parents]
        rest = [item for item in items if _STORMS not in item.path.parents]
        items[:] = dealt(storms, rest, processes)


def dealt(storms: Sequence[T], rest: Sequence[T], processes: int) -> list[T]:
    """Return all tests as equal runs, one per process, that each begin with a share of `storms`.

    `--dist worksteal` gives each process one such run; one that is done takes from another's end.
    """
    order: list[T] = []
    total, taken = len(storms) + len(rest), 0
    for process in range(processes):
        share = storms[process::processes]
        size = (total - len(order)) // (processes - process)
        calm = rest[taken : taken + size - len(share)] if size > len(share) else []
        order += [*share, *calm]
        taken += len(calm)
    return order
