"""What a service tells systemd and gets from it: readiness, the watchdog, sockets already open.

The protocol is a datagram and three environment variables, so it is spoken here and not through a
package. Without systemd every function does nothing, and says so by what it returns.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from bridge.errors import ListenError

FIRST_SOCKET: Final = 3  # systemd passes its sockets as the descriptors from 3 on
_LISTEN_VARIABLES: Final = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
_NO_SOCKETS: Final[Mapping[str, tuple[socket.socket, ...]]] = MappingProxyType({})


def notify(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…` to systemd, if it listens.

    Never waits and never raises: systemd ends a start or a watchdog that it hears nothing of by
    its own timeout, so a lost datagram is its decision and not ours.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract namespace, spelled with a NUL in the kernel
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often systemd expects `WATCHDOG=1` at the latest; None: it doesn't watch us.

    Feed it twice as often: a single late beat then costs nothing.
    """
    pid = environment.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def listen_sockets(
    environment: MutableMapping[str, str] = os.environ,
) -> Mapping[str, tuple[socket.socket, ...]]:
    """Take over the listening sockets that systemd opened for us, by their names.

    Each is a listening stream socket, non-blocking and closed on exec. The variables are cleared,
    so that no child takes the sockets for its own; a second call returns nothing. Raises
    ListenError when what was passed cannot be listened on.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return _NO_SOCKETS
    count = environment.get("LISTEN_FDS", "")
    names = environment.get("LISTEN_FDNAMES")
    for variable in _LISTEN_VARIABLES:
        environment.pop(variable, None)
    if not count.isdecimal():
        raise ListenError("systemd: LISTEN_FDS is not a number of sockets")
    parted = names.split(":") if names else ["unknown"] * int(count)  # systemd's own default name
    if len(parted) != int(count):
        raise ListenError(f"systemd: {count} sockets, but {len(parted)} names in LISTEN_FDNAMES")
    taken: dict[str, tuple[socket.socket, ...]] = {}
    for descriptor, name in enumerate(parted, FIRST_SOCKET):
        taken[name] = (*taken.get(name, ()), _take(descriptor, name))
    return MappingProxyType(taken)


def _take(descriptor: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(
            f"systemd: {name!r} (descriptor {descriptor}) is no socket: {error.strerror}"
        ) from None
    if taken.type != socket.SOCK_STREAM or not taken.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        taken.detach()
        raise ListenError(
            f"systemd: {name!r} is not listening for connections "
            "(the .socket unit needs ListenStream= and Accept=no)"
        )
    taken.set_inheritable(False)
    taken.setblocking(False)
    return taken
