"""A listen address is read exactly, and refused with what to write instead."""

from __future__ import annotations

import pytest

from bridge.config.address import Address, SystemdSocket, parse_listen


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:2525", Address("127.0.0.1", 2525), True),
        ("localhost:0", Address("127.0.0.1", 0), True),
        ("[::1]:25", Address("::1", 25), True),
        ("192.0.2.1:25", Address("192.0.2.1", 25), False),
        (":25", Address(None, 25), False),
        ("0.0.0.0:25", Address("0.0.0.0", 25), False),
    ],
)
def test_addresses(text: str, address: Address, loopback: bool) -> None:
    """IPv4, IPv6 in brackets and every address are read; loopback is known as such."""
    assert parse_listen(text) == address
    assert address.is_loopback is loopback


def test_a_socket_of_systemd() -> None:
    """systemd:NAME is a socket that is handed over."""
    assert parse_listen("systemd:smtp") == SystemdSocket("smtp")


@pytest.mark.parametrize(
    "text",
    ["", "2525", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:²",
     "::1:25", "[127.0.0.1]:25", "[::1]", "example.com:25", "systemd:", "systemd:a b"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"has no|names no|stands in"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["127.0.0.1:25", "[::1]:25", ":25", "systemd:smtp"])
def test_an_address_prints_as_it_is_written(text: str) -> None:
    """str() gives the form of the config."""
    assert str(parse_listen(text)) == text
