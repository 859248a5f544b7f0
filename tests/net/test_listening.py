from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.config.address import Address
from bridge.errors import ListenError
from bridge.net import listening
from tests.patience import PATIENCE


def test_every_address_is_two_sockets() -> None:
    """IPv4 and IPv6 are listened on separately, so neither depends on a sysctl."""
    sockets = listening.open_sockets(":0", {}, "smtp.listen")
    try:
        assert [each.family for each in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert sockets[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    finally:
        for each in sockets:
            each.close()


def test_both_families_can_have_the_same_port() -> None:
    """[::]:N beside 0.0.0.0:N is not taken already."""
    (four,) = listening.open_sockets("0.0.0.0:0", {}, "smtp.listen")
    with four:
        (six,) = listening.open_sockets(f"[::]:{four.getsockname()[1]}", {}, "smtp.listen")
        six.close()


def test_an_address_in_use_says_so() -> None:
    """A second listener on one port is refused with a sentence."""
    (first,) = listening.open_sockets("127.0.0.1:0", {}, "smtp.listen")
    with first:
        taken = listening.shown(first)
        with pytest.raises(ListenError, match=r"127\.0\.0\.1:.*another program listens"):
            listening.open_sockets(taken, {}, "smtp.listen")


def test_an_address_of_another_machine_says_so() -> None:
    """An address that is not ours is named as that."""
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:2525: this machine has no such address"):
        listening.open_sockets("192.0.2.1:2525", {}, "smtp.listen")


def test_a_low_port_without_privilege_says_what_it_needs() -> None:
    """Port 25 as nobody names the three ways to get it."""
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    told = listening._listen_error(Address("127.0.0.1", 25), error)
    assert "port 25 needs root, CAP_NET_BIND_SERVICE, or a socket" in str(told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without privilege")
@pytest.mark.processes
def test_a_low_port_is_really_refused_to_nobody() -> None:
    """The kernel's own refusal leads to that sentence."""
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")
    if int(start) <= 25:
        pytest.skip("this machine lets everybody have low ports")
    code = (
        "import os; from bridge.net import listening; from bridge.errors import ListenError\n"
        "listening.open_sockets('127.0.0.1:0', {}, 'smtp.listen')  # imports all that it needs\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: listening.open_sockets('127.0.0.1:25', {}, 'smtp.listen')\n"
        "except ListenError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "port 25 needs root" in done.stdout


def test_a_socket_that_was_not_handed_over_says_where_to_set_it() -> None:
    """A missing name points to the unit."""
    with pytest.raises(ListenError, match="FileDescriptorName=smtp"):
        listening.open_sockets("systemd:smtp", {"other": ()}, "smtp.listen")


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("2001:DB8::1", 1, 0, 0), "2001:db8::1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1"),
        ("", None),
        (None, None),
    ],
)
def test_a_peer_is_its_plain_address(peername: object, address: str | None) -> None:
    """IPv4 through a dual-stack socket is IPv4, for networks are compared with it."""
    assert listening.peer_address(peername) == address
