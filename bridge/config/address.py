"""Listen addresses: `127.0.0.1:2525`, `[::1]:2525`, `:2525` or `systemd:NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

_MAX_PORT: Final = 65535
_LOOPBACK: Final = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_FD_NAME: Final = re.compile(r"[!-9;-~]{1,255}")  # what FileDescriptorName= takes: no colon


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a port; host None means all addresses, port 0 any free port."""

    host: str | None
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host is not None and ip_address(self.host).is_loopback

    @property
    def reachable(self) -> Address:
        """The address that a client on this machine connects to."""
        return Address(_LOOPBACK.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SystemdSocket:
    """A socket passed by systemd, by its FileDescriptorName."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


def parse_listen(text: str) -> Address | SystemdSocket:
    """Parse a listen address; raises ValueError with what is wrong."""
    kind, colon, rest = text.rpartition(":")
    if not colon:
        raise ValueError(f'{text!r} has no port: write it like "127.0.0.1:2525"')
    if kind == "systemd":
        if not _FD_NAME.fullmatch(rest):
            raise ValueError(f"{text!r} names no socket: systemd:NAME, NAME as in the .socket unit")
        return SystemdSocket(rest)
    if not (rest.isascii() and rest.isdigit() and int(rest) <= _MAX_PORT):
        raise ValueError(f"{text!r} has no port from 0 to {_MAX_PORT} after the last colon")
    if not kind:
        return Address(None, int(rest))
    bracketed = kind.startswith("[") and kind.endswith("]")
    host = "127.0.0.1" if kind == "localhost" else kind[1:-1] if bracketed else kind
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} has no IP address: host names are not looked up, use 127.0.0.1 or [::1]"
        ) from None
    if (address.version == 6) != bracketed:
        raise ValueError(f'{text!r}: an IPv6 address, and only one, stands in [ ]: "[::1]:2525"')
    return Address(str(address), int(rest))
