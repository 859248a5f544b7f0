"""Runs smsbridge as it is, and tells how long its event loop was held.

    python benchmarks/held.py run -c config.toml

Between two looks at the clock, 2 ms apart, the loop's thread did what kept everybody waiting. The
most processor time of such a span goes to the log as `loop.held` when there is a new maximum;
SIGUSR2 starts anew. A busy machine doesn't stretch processor time. The code that runs is that of
the working directory.
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


class Looks:
    """Looks at the loop's processor time again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._longest = 0.0
        self._last = time.thread_time()
        loop.add_signal_handler(signal.SIGUSR2, self._start_anew)
        self._look()

    def _start_anew(self) -> None:
        self._longest = 0.0
        self._last = time.thread_time()

    def _look(self) -> None:
        held = time.thread_time() - self._last
        if held > self._longest:
            self._longest = held
            line = {"event": "loop.held", "ms": round(1000 * held, 1)}
            print(json.dumps(line), file=sys.stderr, flush=True)
        self._last = time.thread_time()
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
