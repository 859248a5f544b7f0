"""Runs smsbridge as it is, and tells how long its event loop was held.

    python benchmarks/held.py run -c config.toml

Between two looks at the clock, 2 ms apart, the loop's thread did what kept everybody waiting. The
most processor time of such a span goes to the log as `loop.held` when there is a new maximum, and
so does the most time by the clock (`stalled`), less what the thread waited for a core: that has
what the thread slept for, too, a disk or another thread's hold of the interpreter. SIGUSR2 starts
anew. A busy machine doesn't stretch processor time, and the other one only a little. The code that
runs is that of the working directory.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

_BETWEEN: Final = 0.002  # seconds
_SCHEDULER: Final = Path("/proc/thread-self/schedstat")


def _waited() -> float:
    """Return the seconds that this thread has waited for a core so far."""
    try:
        return int(_SCHEDULER.read_bytes().split()[1]) / 1e9
    except OSError:  # a kernel that doesn't count them
        return 0.0


class Looks:
    """Looks at the loop's processor time again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._start_anew()
        loop.add_signal_handler(signal.SIGUSR2, self._start_anew)
        self._loop.call_later(_BETWEEN, self._look)

    def _start_anew(self) -> None:
        self._longest = self._most = 0.0
        self._remember()

    def _remember(self) -> None:
        self._last, self._at, self._waited = time.thread_time(), time.perf_counter(), _waited()

    def _look(self) -> None:
        held = time.thread_time() - self._last
        stalled = time.perf_counter() - self._at - _BETWEEN - (_waited() - self._waited)
        if held > self._longest or stalled > self._most:
            self._longest, self._most = max(held, self._longest), max(stalled, self._most)
            line = {
                "event": "loop.held",
                "ms": round(1000 * self._longest, 1),
                "stalled": round(1000 * self._most, 1),
            }
            print(json.dumps(line), file=sys.stderr, flush=True)
        self._remember()
        self._loop.call_later(_BETWEEN, self._look)


def main() -> None:
    """Run the command with a loop that is looked at."""
    run = asyncio.Runner.run

    def looked_at(runner: asyncio.Runner, work: Coroutine[Any, Any, Any], **more: Any) -> Any:
        Looks(runner.get_loop())
        return run(runner, work, **more)

    asyncio.Runner.run = looked_at  # type: ignore[method-assign,assignment]
    sys.path.insert(0, str(Path.cwd()))
    sys.argv[0] = "smsbridge"
    runpy.run_module("bridge", run_name="__main__")


if __name__ == "__main__":
    main()
