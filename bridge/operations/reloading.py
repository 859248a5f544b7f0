"""Has the running daemon take a changed config over, and tells what it said to it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from bridge.errors import NotPossible
from bridge.operations.documents import Document
from bridge.operations.status import Daemon, ask_daemon
from bridge.process import Process

_POLL_SECONDS: Final = 0.1


async def reload_daemon(listen: str, seconds: float, pid: int | None = None) -> Document:
    """Send the daemon behind `[http] listen` a SIGHUP and wait for what becomes of it.

    Returns {"ok", "changed": tables, "needs_restart": tables}; not "ok" if it refused the config.
    Raises NotPossible if it cannot be asked or signalled, or says nothing for so many seconds; or
    if it has another process id than `pid`, by which it is found where no process can be seen.
    """
    before = await _ask(listen)
    process = _process(before)
    if pid not in {None, process.pid}:
        raise NotPossible(
            f"the daemon that answers at {before.url} is process {process.pid} and not {pid}: is "
            "the address in use by another one?"
        )
    try:
        if pid is None:
            process.signal(signal.SIGHUP)
        else:
            os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise NotPossible(
            f"the daemon at {before.url} runs on another machine or in a container: reload it "
            "there, or send it SIGHUP"
        ) from None
    except PermissionError:
        raise NotPossible(
            f"the daemon (pid {process.pid}) belongs to another user: run this as that user, as in "
            "`sudo -u smsbridge smsbridge reload`, or `systemctl reload smsbridge`"
        ) from None
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        now = await _ask(listen)
        if now.reload.get("count") != before.reload.get("count"):
            return {key: now.reload[key] for key in ("ok", "changed", "needs_restart")}
        if asyncio.get_running_loop().time() >= deadline:
            raise NotPossible(
                f"the daemon (pid {process.pid}) got SIGHUP and has not answered for {seconds:g} s"
            )
        await asyncio.sleep(_POLL_SECONDS)


def _process(daemon: Daemon) -> Process:
    try:
        return Process(int(daemon.process["pid"]), int(daemon.process["started"]))
    except (KeyError, TypeError, ValueError):
        raise NotPossible(f"another program answers at {daemon.url}") from None


async def _ask(listen: str) -> Daemon:
    daemon = await ask_daemon(listen)
    if not daemon.up:
        raise NotPossible(
            f"the daemon can't be asked: {daemon.detail}; SIGHUP (`systemctl kill -s HUP "
            "--kill-who=main smsbridge`) reloads one that runs all the same, and its log says what "
            "it did"
        )
    if not daemon.reload:
        raise NotPossible(f"the daemon at {daemon.url} is an older smsbridge: restart it")
    return daemon
