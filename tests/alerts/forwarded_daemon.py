"""The real daemon on a clock that a test puts forward.

    python -m tests.alerts.forwarded_daemon SECONDS run -c config.toml

SIGUSR1 puts the clocks forward, the wall's and the monotonic one, which is also the event loop's,
and logs `clock.forward` once the daemon has looked at its own health since. In the middle of such a
look the clock stays: on a busy machine it would be late by a step. Otherwise time passes as
everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

_STEP: Final = float(sys.argv.pop(1))  # seconds a signal
_real_monotonic = time.monotonic
_ahead = 0.0


def _monotonic() -> float:
    return _real_monotonic() + _ahead


time.monotonic = _monotonic  # before the daemon's modules take it as a default
_real_gettime = time.clock_gettime
# The steady clock of the bridge's own time: what is put forward was lived, and nobody set a clock.
time.clock_gettime = lambda which: _real_gettime(which) + _ahead

import bridge.app  # noqa: E402
import bridge.supervisor  # noqa: E402
from bridge.__main__ import main  # noqa: E402
from bridge.net import loop  # noqa: E402

_real_now = bridge.app.now


def _now() -> datetime:
    return _real_now() + timedelta(seconds=_ahead)


_asked = _looking = _forwarded = False
_real_check_store = bridge.supervisor._check_store
_real_problem = bridge.logs.problem


def _ask() -> None:
    global _asked
    _asked = True
    _forward()


def _forward() -> None:
    global _ahead, _asked, _forwarded
    if _asked and not _looking:
        _ahead += _STEP
        _asked, _forwarded = False, True


async def _check_store(*arguments: Any) -> bool:
    """Begin to look."""
    global _looking
    _looking = True
    return await _real_check_store(*arguments)


def _problem() -> str | None:
    """Be done with looking; what follows is a pause."""
    global _looking, _forwarded
    _looking = False
    if _forwarded:
        _forwarded = False
        os.write(2, json.dumps({"event": "clock.forward"}).encode() + b"\n")
    asyncio.get_running_loop().call_soon(_forward)
    return _real_problem()


def _run(work: Coroutine[Any, Any, None]) -> None:
    # uvloop keeps its time to itself; asyncio's loop asks time.monotonic.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.get_loop().add_signal_handler(signal.SIGUSR1, _ask)
        runner.run(work)


if __name__ == "__main__":
    bridge.app.now = _now
    bridge.supervisor._check_store = _check_store
    bridge.logs.problem = _problem
    loop.run = _run  # type: ignore[assignment]  # the daemon is the only coroutine here
    main()
