"""Evidence: the machine that delivered the mail has one of these addresses.

Only the peer of the connection counts. A Received header or a host name proves nothing, and the
peer of a mailbox that we read is not the machine that sent the mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from bridge.model import Arrival, Email, SourceKind, Trust
from bridge.remembered import remembered
from bridge.trust.base import Absent, Kind, Names, smtp_only

_Networks = Sequence[IPv4Network | IPv6Network]

# By IP version: a shorter prefix, or this one, holds more than one company's mail servers.
_WIDE: Final = {4: 15, 6: 31}


async def _weigh(
    arrival: Arrival, _email: Email, networks: _Networks, _names: Names | None
) -> Trust | Absent:
    if arrival.source is SourceKind.IMAP:
        return Absent("the mail was fetched from a mailbox, so no peer vouches for it")
    if arrival.peer is None:
        return Absent("the peer has no address")
    try:
        addresses = addresses_of(arrival.peer)
    except ValueError:
        return Absent("the peer's address is not an IP address")
    for network in networks:
        for address in addresses:
            if address in network:
                return _trust(network)
    return Absent(f"the peer {addresses[-1]} is in none of them")


@lru_cache(maxsize=256)  # of those in the config
def _trust(network: IPv4Network | IPv6Network) -> Trust:
    return Trust("networks", str(network))


@remembered(entries=1024, longest=64)
def addresses_of(peer: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return a peer's address, and as IPv4 too if it is mapped; raises ValueError.

    A dual-stack socket shows IPv4 peers as ::ffff:192.0.2.1.
    """
    address = ip_address(peer)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (address,) if mapped is None else (address, mapped)


def _describe(networks: _Networks) -> Iterator[str]:
    for network in networks:
        yield f"network {network}"


def _who(networks: _Networks) -> str:
    if all(network.is_loopback for network in networks):
        return "every program and every user on this machine"
    several = sum(network.num_addresses for network in networks) > 1
    machines = "every machine with one of these addresses" if several else "the machine there"
    return f"{machines}, and whoever can send mail through it"


def _guards(networks: _Networks) -> Iterator[str]:
    yield "the address is that of the TCP connection: no header and no host name counts"
    if not all(network.is_loopback for network in networks):
        yield "only who controls the network on the way can use another's address"


def _warnings(networks: _Networks) -> Iterator[str]:
    for network in networks:
        if network.prefixlen == 0:
            yield f"{network} is every address: as with anyone = true, anyone can make messages up"
        elif network.prefixlen <= _WIDE[network.version] and not network.is_private:
            yield (
                f"{network} is open to {network.num_addresses:,} addresses, each of which can make "
                "messages up: name the provider's own"
            )


KIND: Final[Kind[_Networks]] = Kind(
    name="networks",
    proves="the machine that delivered the mail has one of these addresses",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    warnings=_warnings,
    sources=smtp_only,
)
