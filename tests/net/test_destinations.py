"""Which addresses connections may go to: a table, with all ways to write IPv4 in IPv6."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.net.destinations import Destinations, RefusedAddressError, kind_of, literal

ANYWHERE = Destinations()
EMBEDDED = ("::ffff:{}", "::{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}")


def _forms(address: str) -> list[str]:
    number = int(IPv4Address(address))
    six = f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"
    teredo = str(IPv6Address((0x20010000 << 96) | (~number & 0xFFFFFFFF)))
    return [address, six, teredo, *(each.format(address) for each in EMBEDDED)]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        *((each, "a link-local address") for each in _forms("169.254.169.254")),
        *((each, "the broadcast address") for each in _forms("255.255.255.255")),
        *((each, "a multicast address") for each in _forms("224.0.0.251")),
        *(
            (each, "the address of a cloud's metadata service")
            for each in _forms("100.100.100.200")
        ),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("ff02::1", "a multicast address"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("::ffff:0.0.0.0", "an unspecified address"),
        ("::", "an unspecified address"),
        ("fd00:ec2::254", "the address of a cloud's metadata service"),
        ("fd00:ec2::254%eth0", "the address of a cloud's metadata service"),
        ("fd20:ce::254", "the address of a cloud's metadata service"),
    ],
)
def test_these_are_refused_whatever_is_allowed(address: str, why: str) -> None:
    """Neither the default nor a network that holds them lets a connection go there."""
    everything = Destinations.of(
        ["public", "private", "loopback", ip_network("0.0.0.0/0"), ip_network("::/0")]
    )
    assert ANYWHERE.refusal(address) == everything.refusal(address) == why
    with pytest.raises(RefusedAddressError):
        ANYWHERE.require(address)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", "public"),
        ("2a00:1450:4001:80b::200e", "public"),
        ("10.0.0.1", "private"),
        ("172.31.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd12:3456::1", "private"),
        ("fec0::1", "private"),
        ("127.0.0.1", "loopback"),
        ("127.255.0.1", "loopback"),
        ("::1", "loopback"),
    ],
)
def test_kinds(address: str, kind: str) -> None:
    """Without a list all of them are allowed; with one, those of its kinds."""
    assert kind_of(ip_address(address)) == kind
    assert ANYWHERE.refusal(address) is None
    for allowed in ("public", "private", "loopback"):
        refused = Destinations.of([allowed]).refusal(address)  # type: ignore[list-item]
        assert refused == (None if allowed == kind else f"a {kind} address")


@pytest.mark.parametrize("address", _forms("10.1.2.3"))
def test_an_address_within_another_one_counts(address: str) -> None:
    """A private address is private, and in its network, in whatever way it is written."""
    assert Destinations.of(["public"]).refusal(address) == "a private address"
    assert Destinations.of([ip_network("10.1.0.0/16")]).refusal(address) is None
    assert Destinations.of(["public", ip_network("10.1.0.0/16")]).refusal(address) is None
    assert Destinations.of([ip_network("10.2.0.0/16")]).refusal(address) == "a private address"


@given(st.ip_addresses())
def test_no_list_allows_more_than_no_list(address: IPv4Address | IPv6Address) -> None:
    """Whatever an address is, it has a verdict, and a list only ever refuses more."""
    text = str(address)
    if ANYWHERE.refusal(text) is not None:
        assert Destinations.of(["public"]).refusal(text) is not None
    if kind_of(address) != "public":
        assert Destinations.of(["public"]).refusal(text) is not None


def test_literals() -> None:
    """A URL's host is an address or a name."""
    assert literal("[fe80::1]") == "fe80::1"
    assert literal("127.0.0.1") == "127.0.0.1"
    assert literal("localhost") is None
