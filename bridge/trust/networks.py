"""Evidence: the machine that handed the mail over has an address in one of these networks.

Only the wire's own peer counts. A Received header or a name says nothing, and a mailbox that we
read ourselves has a peer that never saw the sender.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, SourceKind, Trust
from bridge.trust.base import Absent, Names


async def weigh(
    arrival: Arrival, _email: Email, policy: TrustSettings, _names: Names | None
) -> Trust | Absent | None:
    """Compare the peer's address with the policy's networks."""
    if not policy.networks:
        return None
    if arrival.source is SourceKind.IMAP:
        return Absent("the mail was fetched from a mailbox, so no peer vouches for it")
    if arrival.peer is None:
        return Absent("the peer has no address")
    try:
        addresses = readings(arrival.peer)
    except ValueError:
        return Absent("the peer's address is not an IP address")
    for network in policy.networks:
        if any(address in network for address in addresses):
            return Trust("networks", str(network))
    return Absent(f"the peer {addresses[-1]} is in none of them")


def readings(peer: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Give a peer's address in each of its families; raises ValueError.

    A socket that listens for both shows IPv4 peers as ::ffff:192.0.2.1.
    """
    address = ip_address(peer)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (address,) if mapped is None else (address, mapped)
