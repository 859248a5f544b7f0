"""The event loop: uvloop, with name look-ups that don't block each other.

uvloop runs look-ups in libuv's pool, two at a time over the whole process, and resolves even the
IP address of a connecting socket there. With a dead name server a look-up hangs for 10 s and more:
two of them, and nothing connects any more. libuv also waits for them before the process can end.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import uvloop

_Place = tuple[str, int] | tuple[str, int, int, int]
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Place]
Host = str | bytes | None
Port = str | bytes | int | None
# Host, port, family, kind, protocol, flags: what the system's getaddrinfo takes.
Query = tuple[Host, Port, int, int, int, int]
LookUp = Callable[[Host, Port, int, int, int, int], list[Address]]

T = TypeVar("T")

_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _system(*query: *Query) -> list[Address]:
    return socket.getaddrinfo(*query)  # type: ignore[return-value]  # IPv6 is always compiled in


class Loop(uvloop.Loop):
    """uvloop with its own look-ups: one thread per name being resolved.

    Concurrent callers share the look-up of a name. An abandoned look-up continues, and later
    callers wait for it too, so a name never holds more than one thread. Threads still running at
    the end die with the process.

    uvloop's own code still uses libuv: give `create_connection` a socket or an IP address, never
    a name.
    """

    def __init__(self, look_up: LookUp = _system) -> None:
        super().__init__()
        self._look_up = look_up
        self._pending: dict[Query, asyncio.Future[list[Address]]] = {}

    async def getaddrinfo(  # type: ignore[override]  # asyncio's type and uvloop's differ
        self,
        host: Host,
        port: Port,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Address]:
        """Resolve a name; an IP address is returned at once. OSError if the name is unknown."""
        query = (host, port, family, type, proto, flags)
        with suppress(OSError, ValueError):
            return _system(host, port, family, type, proto, flags | _NUMERIC)
        found = self._pending.get(query) or self._begin(query)
        # Awaiting it directly would cancel it for everyone when one caller gives up.
        await asyncio.wait((found,))
        return list(found.result())

    def _begin(self, query: Query) -> asyncio.Future[list[Address]]:
        found: asyncio.Future[list[Address]] = self.create_future()
        # Daemon threads: asyncio and Python wait for an executor's threads at exit.
        asking = threading.Thread(target=self._ask, args=(query,), name="look-up", daemon=True)
        asking.start()
        self._pending[query] = found
        return found

    def _ask(self, query: Query) -> None:
        """Resolve a name, on its own thread."""
        answer: list[Address] | Exception
        try:
            answer = self._look_up(*query)
        except ValueError:  # not a valid host name: a label of 64 characters, for example
            answer = socket.gaierror(socket.EAI_NONAME, "not a host's name")
        except Exception as error:  # noqa: BLE001 - raised by the callers' future
            answer = error
        with suppress(RuntimeError):  # the loop is closed, and with it every caller
            self.call_soon_threadsafe(self._resolve, query, answer)

    def _resolve(self, query: Query, answer: list[Address] | Exception) -> None:
        found = self._pending.pop(query)
        if isinstance(answer, Exception):
            found.set_exception(answer)
            found.exception()  # marks it as retrieved, even if every caller has given up
        else:
            found.set_result(answer)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new `Loop`, as `asyncio.run` does on asyncio's."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)
