"""The event loop: uvloop's, in which a name that hangs holds up nobody who needs another one.

uvloop leaves look-ups to libuv's pool, where two run at a time, whoever they are for, and it asks
there even for the IP address that a socket is to connect to. With a dead name server a look-up
hangs for 10 s and more: two of those, and nobody connects to anything. Nor does libuv let the
process end before them.
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
    return socket.getaddrinfo(*query)  # type: ignore[return-value]  # no IPv6 is no case of ours


class Loop(uvloop.Loop):
    """uvloop, with look-ups of its own: one thread for each name, while somebody asks for it.

    Two who ask for the same wait for the same look-up. One that is given up goes on, and the next
    who asks waits for it as well: so a name holds one thread, however often it is tried. A thread
    still under way at the end ends with the process.

    What uvloop does inside itself stays libuv's: give `create_connection` a socket or an IP
    address, and no name.
    """

    def __init__(self, look_up: LookUp = _system) -> None:
        super().__init__()
        self._look_up = look_up
        self._under_way: dict[Query, asyncio.Future[list[Address]]] = {}

    async def getaddrinfo(  # type: ignore[override]  # asyncio's type and uvloop's are at odds
        self,
        host: Host,
        port: Port,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's word
        proto: int = 0,
        flags: int = 0,
    ) -> list[Address]:
        """Look a name up; an IP address is its own answer, at once. OSError if it is not known."""
        query = (host, port, family, type, proto, flags)
        with suppress(OSError, ValueError):
            return _system(host, port, family, type, proto, flags | _NUMERIC)
        found = self._under_way.get(query) or self._begin(query)
        # Awaiting it would cancel it with the first who gives up, and for all the others.
        await asyncio.wait((found,))
        return list(found.result())

    def _begin(self, query: Query) -> asyncio.Future[list[Address]]:
        found: asyncio.Future[list[Address]] = self.create_future()
        # An executor's threads are waited for at the end, by asyncio and by Python; these are not.
        asking = threading.Thread(target=self._ask, args=(query,), name="look-up", daemon=True)
        asking.start()
        self._under_way[query] = found
        return found

    def _ask(self, query: Query) -> None:
        """Ask the system, on a thread of our own."""
        answer: list[Address] | Exception
        try:
            answer = self._look_up(*query)
        except ValueError:  # a name that cannot be written as one: a label of 64 characters
            answer = socket.gaierror(socket.EAI_NONAME, "not a host's name")
        except Exception as error:  # noqa: BLE001  whoever asked is told
            answer = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.call_soon_threadsafe(self._tell, query, answer)

    def _tell(self, query: Query, answer: list[Address] | Exception) -> None:
        found = self._under_way.pop(query)
        if isinstance(answer, Exception):
            found.set_exception(answer)
            found.exception()  # seen, even if all who asked have given up
        else:
            found.set_result(answer)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in such a loop, as `asyncio.run` does in its own."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)
