"""The event loop of the simulation: virtual time, one thread, the same run for the same seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.loops import UnhurriedLoop


class NothingHappens(AssertionError):
    """Nothing is scheduled any more: what is waited for will never come."""


class SimulatedLoop(UnhurriedLoop):
    """A loop without threads, whose time moves on to the next timer when all else is done.

    What would run in a thread runs at once, so that nothing depends on the order of threads.
    """

    def run_in_executor(
        self, _executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the waiter's
            future.set_exception(error)
        return future

    def _pass(self, seconds: float | None) -> float | None:
        if seconds is None:
            raise NothingHappens("every task waits, and no timer runs")
        return super()._pass(seconds)
