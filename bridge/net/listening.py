"""Opens the listening sockets of the config's addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv6Address, ip_address
from typing import Final

from bridge.config.address import Address, SystemdSocket, parse_listen
from bridge.errors import ListenError
from bridge.remembered import remembered

BACKLOG: Final = 1024  # the kernel caps it at net.core.somaxconn
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_FIRST_FREE_PORT: Final = 1024  # lower ports need a privilege on Linux


def open_sockets(
    text: str, handed_over: Mapping[str, Sequence[socket.socket]], key: str
) -> tuple[socket.socket, ...]:
    """Return the listening sockets of one address of the config; the caller closes them.

    An address without a host is one socket for IPv4 and, where the machine has it, one for IPv6.
    `handed_over` are systemd's sockets by name. Raises ListenError, which names `key`, the setting
    that holds the address.
    """
    try:
        return _open(parse_listen(text), handed_over)
    except ListenError as error:
        raise ListenError(f"{key}: {error}") from error.__cause__


def _open(
    address: Address | SystemdSocket, handed_over: Mapping[str, Sequence[socket.socket]]
) -> tuple[socket.socket, ...]:
    if isinstance(address, SystemdSocket):
        given = handed_over.get(address.name)
        if not given:
            raise ListenError(
                f"systemd handed over no socket named {address.name!r} "
                f"(FileDescriptorName={address.name} in the .socket unit)"
            )
        return tuple(given)
    if address.host is not None:
        return (_listen(address, address.host),)
    with ExitStack() as opened:
        sockets = [opened.enter_context(_listen(address, "0.0.0.0"))]  # noqa: S104 - asked for
        try:
            sockets.append(opened.enter_context(_listen(address, "::")))
        except ListenError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_IPV6:
                raise
        opened.pop_all()
    return tuple(sockets)


def shown(listening: socket.socket) -> str:
    """Return the address that a socket is bound to, as the config writes it."""
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return str(name)  # a Unix socket's path
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_address(peername: object) -> str | None:
    """Return a peer's IP address without port or zone; None if it has none (a Unix socket).

    A dual-stack socket, systemd's default, reports IPv4 peers as `::ffff:192.0.2.1`, while the
    config writes its trusted networks without that prefix.
    """
    if not isinstance(peername, tuple) or not peername:
        return None
    return _address(peername[0])


@remembered(entries=1024, longest=64)
def _address(host: str) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(address).partition("%")[0]
    return str(address)


def _listen(address: Address, host: str) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host,
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE,
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _listen_error(address, error) from error
    try:
        # A restart must not wait for the old connections' TIME_WAIT. On Linux this does not let
        # two programs listen on one port.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Without it, whether [::] takes IPv4's port as well depends on a sysctl.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(place)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise _listen_error(address, error) from error
    return made


def _listen_error(address: Address, error: OSError) -> ListenError:
    match error.errno:
        case errno.EADDRINUSE:
            why = "address in use, another program listens there already"
        case errno.EACCES | errno.EPERM if address.port < _FIRST_FREE_PORT:
            why = (
                f"port {address.port} needs root, CAP_NET_BIND_SERVICE, or a socket handed over "
                "by systemd (systemd:NAME)"
            )
        case errno.EADDRNOTAVAIL:
            why = "this machine has no such address"
        case _:
            why = error.strerror or "the system refused"
    return ListenError(f"cannot listen on {address}: {why}")
