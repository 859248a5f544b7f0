"""Writes log lines to a pipe or socket without ever waiting for whoever reads them.

Once a stalled reader has let a pipe of 64 KiB fill up, the next line would stop the event loop, and
with it every acknowledgement.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Self, TextIO

MOST_WAITING: Final = 1024**2  # bytes of lines; newer ones are dropped
_PIECE: Final = select.PIPE_BUF  # bytes; a pipe that polls as writable has room for so many


class LogSink:
    """Writes lines in order, at once if there is room, else with a later line or `flush`.

    Lines that there is no room for are dropped; `dropped(count)` makes the line that says how
    many, which is written in their place. For all threads.
    """

    def __init__(self, descriptor: int, dropped: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._line_for = dropped
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._lock = threading.RLock()
        self._writing = False
        self._new: deque[str] = deque()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._unsaid = 0  # dropped, and no line says so yet
        self._uncounted = 0

    @classmethod
    def of(cls, stream: TextIO, dropped: Callable[[int], str]) -> Self | None:
        """Make one for a stream that somebody has to read; None for others, such as a file."""
        try:
            descriptor = stream.fileno()
            mode = os.fstat(descriptor).st_mode
        except (OSError, ValueError):  # closed, or in memory
            return None
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            return cls(_non_blocking(descriptor), dropped)
        return cls(descriptor, dropped) if stat.S_ISSOCK(mode) else None

    def write(self, line: str) -> None:
        """Write a line, without its end; a broken pipe loses it."""
        with self._lock:
            self._new.append(line)
            self._work(0.0)

    def flush(self, seconds: float = 0.0) -> None:
        """Write what waits, as far as the reader takes it within so many seconds."""
        with self._lock:
            self._work(time.monotonic() + seconds)

    @property
    def waiting(self) -> int:
        """How many bytes wait for the reader."""
        return self._size

    def count_dropped(self) -> int:
        """Return how many lines were dropped since this was asked last."""
        with self._lock:
            count, self._uncounted = self._uncounted, 0
        return count

    def _work(self, until: float) -> None:
        if self._writing:
            # Garbage is collected in the middle of this, and what is collected logs: its line is
            # written when this one is.
            return
        self._writing = True
        try:
            self._push(until)
            self._say_dropped()
            while self._new:
                if not self._take(self._new.popleft()):
                    self._unsaid += 1
                    self._uncounted += 1
                self._push(until)
        finally:
            self._writing = False

    def _say_dropped(self) -> None:
        if self._unsaid and self._take(self._line_for(self._unsaid)):
            self._unsaid = 0

    def _take(self, line: str) -> bool:
        data = f"{line}\n".encode(errors="backslashreplace")
        # Once some are dropped, half of it: else every other line would be.
        most = MOST_WAITING // 2 if self._unsaid else MOST_WAITING
        if self._size + len(data) > most:
            return False
        self._waiting.extend(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        self._size += len(data)
        return True

    def _push(self, until: float) -> None:
        while self._waiting and self._room.poll(max(0.0, until - time.monotonic()) * 1000):
            piece = self._waiting.popleft()
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:
                self._waiting.appendleft(piece)
                return
            except OSError:  # nobody reads any more: a broken stderr must not end the daemon
                written = len(piece)
            self._size -= written
            if written < len(piece):
                self._waiting.appendleft(piece[written:])


def _non_blocking(descriptor: int) -> int:
    """Open a pipe or terminal once more: on the old descriptor the flag would be everybody's.

    Where that is not allowed (the pipe is another user's), polling it must do.
    """
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return descriptor
