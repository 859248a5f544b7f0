"""Shutdown: what SIGTERM and SIGINT begin, and when the process has ended, whatever hangs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Final

from bridge import logs

log = logs.logger("supervisor")

_AFTERWARDS: Final = 10.0  # seconds after the grace to abort, commit and close
_LEAST: Final = 3.0  # seconds that are always left to deliveries, of a grace that long
_LAST_WORDS: Final = 1.0  # seconds for the log's last lines, if its reader stalls
_KILLED_BY_USER: Final = 130
_CUT_OFF: Final = 1


class Shutdown:
    """One shutdown, from the first signal on.

    Everything acknowledged is committed, so the process may end at any moment: at the second
    signal it does so at once, and ten seconds after the grace if a commit or a thread hangs.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._began = 0.0
        self._begun = asyncio.Event()

    async def wait(self) -> None:
        """Wait until it begins."""
        await self._begun.wait()

    def begin(self) -> None:
        """Begin; a second time: end the process at once."""
        if self._begun.is_set():
            log.warning("killed", detail="second signal: out at once")
            os._exit(_KILLED_BY_USER)
        self._began = time.monotonic()
        self._begun.set()
        threading.Thread(target=self._end, name="shutdown", daemon=True).start()

    def left(self) -> float:
        """Return how many seconds in-flight deliveries may still take.

        The grace counts from the beginning; when the sources have used it up, a little is left.
        """
        return max(self._began + self._grace - time.monotonic(), min(self._grace, _LEAST))

    def _end(self) -> None:
        # A thread, because the event loop and its threads may be what hangs.
        time.sleep(self._grace + _AFTERWARDS)
        log.error(
            "stopped.cut_off",
            detail=f"something still hangs {_AFTERWARDS:.0f} s after [delivery] grace, most likely "
            "a commit: is the disk or the database stuck? Nothing that was acknowledged is lost",
        )
        logs.flush(_LAST_WORDS)
        os._exit(_CUT_OFF)
