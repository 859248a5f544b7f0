"""The real daemon on a clock that a test puts forward.

    python -m tests.alerts.forwarded_daemon SECONDS run -c config.toml

SIGUSR1 puts the clocks forward, the wall's and the monotonic one, which is also the event loop's,
and logs `clock.forward`. Between two signals time passes as everywhere.
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

import bridge.app  # noqa: E402
from bridge.__main__ import main  # noqa: E402
from bridge.net import loop  # noqa: E402

_real_now = bridge.app.now


def _now() -> datetime:
    return _real_now() + timedelta(seconds=_ahead)


def _forward() -> None:
    global _ahead
    _ahead += _STEP
    os.write(2, json.dumps({"event": "clock.forward"}).encode() + b"\n")


def _run(work: Coroutine[Any, Any, None]) -> None:
    # uvloop keeps its time to itself; asyncio's loop asks time.monotonic.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.get_loop().add_signal_handler(signal.SIGUSR1, _forward)
        runner.run(work)


if __name__ == "__main__":
    bridge.app.now = _now
    loop.run = _run  # type: ignore[assignment]  # the daemon is the only coroutine here
    main()
