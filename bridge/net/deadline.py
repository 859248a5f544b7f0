"""One time limit for many tasks, on one timer: a timer for each costs as much as a log line."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """Bounds what is done `within` it, as `asyncio.timeout` does: TimeoutError after `seconds`.

    All have the same limit, so they end in the order in which they began, and one timer for the
    first is enough. To be used in one event loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._limited: dict[_Limited, None] = {}  # in the order in which they end
        self._timer: asyncio.TimerHandle | None = None

    def within(self) -> _Limited:
        """Give a context that the current task leaves in time, or is made to leave."""
        return _Limited(self)

    def begin(self, limited: _Limited, loop: asyncio.AbstractEventLoop) -> None:
        """Watch over a context that was entered."""
        self._limited[limited] = None
        if self._timer is None:
            self._timer = loop.call_at(limited.ends, self._look, loop)

    def end(self, limited: _Limited) -> None:
        """Forget a context that was left."""
        self._limited.pop(limited, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for limited in tuple(self._limited):
            if limited.ends > now:
                self._timer = loop.call_at(limited.ends, self._look, loop)
                return
            del self._limited[limited]
            limited.expire()


class _Limited:
    __slots__ = ("_cancelling", "_deadline", "_expired", "_task", "ends")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        loop = task.get_loop()
        self.ends = loop.time() + self._deadline.seconds
        self._deadline.begin(self, loop)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadline.end(self)
        # Who was cancelled by somebody else as well is cancelled, and not late.
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel what the task waits for."""
        self._expired = True
        self._task.cancel()
