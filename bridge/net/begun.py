"""Runs a coroutine at once, as far as it comes without waiting; most need no task then."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class Begun:
    """A coroutine that was begun outside of any task and now waits: await this to go on with it.

    What it does before it first waits can't ask for the current task, so `asyncio.timeout` can't
    be in it. From Python 3.12 on, asyncio's eager tasks do the same.
    """

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: object) -> None:
        self._work = work
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for what it waits for, and go on with it to its end."""
        waits_for = self._waits_for
        try:
            while True:
                try:
                    got = yield waits_for
                except BaseException as error:  # noqa: BLE001 - above all that it was cancelled
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(got)
        except StopIteration:
            return
        finally:
            self._work.close()


def begin(work: Coroutine[Any, Any, None]) -> Begun | None:
    """Run a coroutine until it waits; None: it has ended. Raises what it raises."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return Begun(work, waits_for)
