"""Starts our commands as forks of one process that has them imported: a start costs a tenth.

    started = launcher("daemon").spawn(("-m", "bridge", "run", "-c", "config.toml"), err)

What runs is a process of its own, as if a fresh Python ran the module: with its own arguments,
environment and signals, and to be killed. Only the imports were done before. Each process of a
parallel run has one launcher, which ends with it and takes along what still runs. It is a program
too, `python -m tests.servers.launcher KIND FD`: no thread of a test is around when it forks.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bridge.cli.run import without_unused
from tests.patience import PATIENCE

_ROOT: Final = Path(__file__).parents[2]
_LONGEST: Final = 1 << 20  # bytes of one order: arguments and environment
# What a daemon imports by and by, and what the commands do.
_IMPORTED: Final = {
    "daemon": (
        "alembic.command",
        "bridge.app",
        "bridge.store.migrations",
        "sqlalchemy.dialects.sqlite",
    ),
    "commands": (
        "bridge.cli.audit",
        "bridge.cli.deliveries",
        "bridge.cli.endpoints",
        "bridge.cli.replay",
        "sqlalchemy.dialects.sqlite",
    ),
}


class Started:
    """A process of ours, with what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, pidfd: int, end: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._end = end.detach()  # here comes the exit code
        self._lock = threading.Lock()

    def __del__(self) -> None:
        os.close(self._pidfd)
        os.close(self._end)

    def poll(self) -> int | None:
        """Return the exit code, or nothing while it runs."""
        with self._lock:
            if self.returncode is None and self._ended(0):
                self.returncode = int(os.read(self._end, 16))
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return the exit code, below zero if a signal ended it."""
        if self.poll() is None:
            self._ended(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _ended(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended: its pid may be another's by then."""
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that has everything imported, seen from the tests."""

    def __init__(self, kind: str) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._orders, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        self._lock = threading.Lock()
        with theirs:
            # It ends when our end of the orders is closed, which the kernel sees to.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, kind, str(theirs.fileno())],
                cwd=_ROOT, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `-m MODULE ARGUMENT …` to its end; return its code, and what it wrote."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            started = self.spawn(command, err.fileno(), out.fileno())
            code = started.wait(PATIENCE)
            written = []
            for file in (out, err):
                file.seek(0)
                written.append(file.read().decode())
        return subprocess.CompletedProcess(command, code, *written)

    def spawn(self, command: Sequence[str], err: int, out: int | None = None) -> Started:
        """Run `-m MODULE ARGUMENT …`, with these descriptors for its errors and its output."""
        assert command[0] == "-m", "only a module can be imported beforehand"
        sys.audit("subprocess.Popen", command, None, None, None)  # the quick run starts none
        order = {"command": command[1:], "environment": dict(os.environ)}
        outputs = [err] if out is None else [err, out]
        end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            descriptors = [theirs.fileno(), *outputs]
            socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)
        pid, pidfds, _, _ = socket.recv_fds(end, 16, 1)
        assert pidfds, "the launcher has ended"
        return Started(int(pid), pidfds[0], end)

    def close(self) -> None:
        """End it, and what it started."""
        self._orders.close()
        self._process.wait()


@functools.cache
def launcher(kind: str) -> Launcher:
    """Return this test run's launcher of a `daemon`, or of `commands`."""
    mine = Launcher(kind)
    atexit.register(mine.close)
    return mine


# The other side.


class _Forks:
    """Forks at each order, and tells whoever gave it when that fork has ended."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._ends: dict[int, socket.socket] = {}  # pid → where its exit code goes
        self._waking, self._woken = socket.socketpair()
        self._woken.setblocking(False)

    def next(self) -> dict[str, Any] | None:
        """Return its order in each fork; nothing, when nobody is left who could give one."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._orders, selectors.EVENT_READ)
            selector.register(self._waking, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._waking in ready:
                    self._waking.recv(4096)
                    self._reap()
                if self._orders in ready:
                    message, descriptors, _, _ = socket.recv_fds(self._orders, _LONGEST, 3)
                    if not message:
                        break
                    if not self._fork(*descriptors):
                        return dict(json.loads(message))
        for pid in self._ends:
            os.kill(pid, signal.SIGKILL)
        return None

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                with self._ends.pop(ended[0]) as end, contextlib.suppress(BrokenPipeError):
                    end.send(str(os.waitstatus_to_exitcode(ended[1])).encode())

    def _fork(self, end: int, *outputs: int) -> int:
        pid = os.fork()
        if pid:
            pidfd = os.pidfd_open(pid)
            self._ends[pid] = socket.socket(fileno=end)
            with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
                socket.send_fds(self._ends[pid], [str(pid).encode()], [pidfd])
            os.close(pidfd)
        else:
            for number, output in zip((2, 1), outputs, strict=False):
                os.dup2(output, number)
            os.close(end)
            self._forget()
        for output in outputs:
            os.close(output)
        return pid

    def _forget(self) -> None:
        """Leave nothing of this in a fork."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._orders, self._waking, self._woken, *self._ends.values()):
            each.close()


def _prepare(kind: str, orders: int) -> dict[str, Any] | None:
    """Import everything, and wait for orders; return one in a fork."""
    if kind == "daemon":
        without_unused()
    for name in _IMPORTED[kind]:
        importlib.import_module(name)
    gc.freeze()  # or each fork's first collection would copy all of it
    order = _Forks(socket.socket(fileno=orders)).next()
    if order is not None:
        os.environ.clear()
        os.environ.update(order["environment"])
        time.tzset()
        sys.argv[1:] = order["command"][1:]
    return order


if __name__ == "__main__":
    if (given := _prepare(sys.argv[1], int(sys.argv[2]))) is not None:
        runpy.run_module(given["command"][0], run_name="__main__", alter_sys=True)
