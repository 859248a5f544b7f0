"""The event loops of tests: asyncio's, uvloop's as in the daemon, and one without haste."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
import uvloop

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

_TURN: Final = 0.0001  # seconds that one turn of the loop takes on its clock
_IN_THREADS: Final = 0.01  # seconds of ours to wait for what a thread does, before looking again


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """Run on uvloop too: its streams and TLS are another implementation."""
    one = one_loop(item)
    return one if "unhurried" in one else one | {"uvloop": uvloop.new_event_loop}


def one_loop(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the loop that a test asks for: asyncio's, or with its mark the unhurried one."""
    if item.get_closest_marker("unhurried"):
        return {"unhurried": UnhurriedLoop}
    return {"asyncio": asyncio.new_event_loop}


class UnhurriedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock counts turns, and moves on to the next timer when all else is done.

    So a deadline is missed only by whoever waits for something that does not come, never because
    the machine is busy; and an hour takes no time. All that talk to each other must be in this
    loop, or in threads of its executor. A test asks for it with `@pytest.mark.unhurried`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._in_threads = 0
        super().__init__(_Selector(self._pass))

    def time(self) -> float:
        return self._now

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:
        job = super().run_in_executor(*args)
        self._in_threads += 1
        job.add_done_callback(self._back)
        return job

    def _back(self, _: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def _pass(self, seconds: float | None) -> float | None:
        """Let time pass; return for how many real seconds the sockets are to be waited for."""
        self._now += _TURN
        if seconds is None or not self._in_threads:
            self._now += seconds or 0.0
            return None if seconds is None else 0.0
        return _IN_THREADS


class _Selector(selectors.DefaultSelector):
    """A selector that waits as long as the loop's clock says."""

    def __init__(self, passing: Callable[[float | None], float | None]) -> None:
        super().__init__()
        self._passing = passing

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            self._passing(0.0)
            return ready
        return super().select(self._passing(timeout))
