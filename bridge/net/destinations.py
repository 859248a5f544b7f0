"""Which addresses our connections may go to, decided by the address itself. Pure.

A name can lead anywhere, and elsewhere a moment later; so what counts is the address that a socket
is about to be connected to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Kind = Literal["public", "private", "loopback"]

# A cloud's metadata services hand out credentials to whoever asks from inside. The one that all of
# them have, 169.254.169.254, is link-local.
_METADATA: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192"))
)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_BROADCAST: Final = IPv4Address("255.255.255.255")
# IPv6 networks whose last 32 bits are an IPv4 address that the packets end up at: mapped, the
# deprecated compatible one, translated (SIIT), and NAT64. A NAT64 of somebody's own prefix can't be
# told from any other network.
_EMBEDDING: Final = tuple(
    IPv6Network(each)
    for each in (
        "::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
    )
)  # fmt: skip
_NOT_EMBEDDED: Final = frozenset(map(IPv6Address, ("::", "::1")))


class RefusedAddressError(OSError):
    """A host has an address that connections may not go to; `why` is a noun.

    All are the same as text: of several such addresses, aiohttp then raises one of the errors.
    """

    def __init__(self, why: str) -> None:
        super().__init__("refused")
        self.why = why


@dataclass(frozen=True, slots=True)
class Destinations:
    """The addresses that are allowed: all, or those of some kinds and networks.

    Link-local, multicast, broadcast and unspecified addresses and metadata services are not,
    whatever is allowed.
    """

    kinds: frozenset[Kind] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, allowed: Sequence[Kind | Network]) -> Destinations:
        """Allow these kinds and networks only; nothing means all."""
        return cls(
            frozenset(each for each in allowed if isinstance(each, str)),
            tuple(each for each in allowed if not isinstance(each, str)),
        )

    def refusal(self, text: str) -> str | None:
        """Return what keeps us from connecting to an address, as a noun; None if nothing does."""
        address = ip_address(text.partition("%")[0])  # without the interface of a link-local one
        meant = _meant(address)
        for each in (meant, address):
            if (never := _never(each)) is not None:
                return never
        if not (self.kinds or self.networks):
            return None
        kind = kind_of(meant)
        allowed = kind in self.kinds or any(
            each in network for network in self.networks for each in (meant, address)
        )
        return None if allowed else f"a {kind} address"

    def require(self, text: str) -> None:
        """Raise RefusedAddressError if an address is not allowed."""
        why = self.refusal(text)
        if why is not None:
            raise RefusedAddressError(why)


ANYWHERE: Final = Destinations()


def kind_of(address: Address) -> Kind:
    """Return whose an address is: the world's, some network's own, or this machine's."""
    if address.is_loopback:
        return "loopback"
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return "public" if address.is_global and not site_local else "private"


def literal(host: str) -> str | None:
    """Return the address that a URL's host is, without brackets; None if it is a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


def _never(address: Address) -> str | None:
    if address in _METADATA:
        return "the address of a cloud's metadata service"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address == _BROADCAST:
        return "the broadcast address"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "an unspecified address"
    return None


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for; else the address itself."""
    if isinstance(address, IPv4Address) or address in _NOT_EMBEDDED:
        return address
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else address
