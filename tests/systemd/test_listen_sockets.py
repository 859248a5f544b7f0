"""Sockets that systemd opened are taken over: by a real systemd-socket-activate, and when wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from bridge.systemd import listen_sockets
from tests.patience import PATIENCE
from tests.servers.programs import need

pytestmark = pytest.mark.processes


PROJECT = Path(__file__).parents[2]


class HasFileno(Protocol):
    """What has a descriptor: a socket, or a file where none should be."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


# Takes the sockets over and tells on standard output what it got; then answers one client.
CHILD = """
import json, os, sys
from bridge.errors import ListenError
from bridge.systemd import listen_sockets

before = sorted(name for name in os.environ if name.startswith("LISTEN_"))
try:
    taken = listen_sockets()
except ListenError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
told = {
    "before": before,
    "after": sorted(name for name in os.environ if name.startswith("LISTEN_")),
    "again": len(listen_sockets()),
    "names": {name: len(sockets) for name, sockets in taken.items()},
    "inheritable": [s.get_inheritable() for sockets in taken.values() for s in sockets],
    "timeout": [s.gettimeout() for sockets in taken.values() for s in sockets],
    "addresses": [s.getsockname() for sockets in taken.values() for s in sockets],
}
print(json.dumps(told), flush=True)
listening = taken["smtp"][0]
listening.setblocking(True)
client, _ = listening.accept()
client.sendall(b"220 here")
client.close()
"""

# Does what systemd does between fork and exec: its sockets become descriptors 3 and following.
LAUNCHER = """
import os, sys
count, names, child, *descriptors = sys.argv[1:]
kept = [os.dup(int(d)) for d in descriptors]
high = [os.dup2(d, 100 + i) for i, d in enumerate(kept)]
for i, d in enumerate(high):
    os.dup2(d, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count, LISTEN_FDNAMES=names)
if names == "-":
    del os.environ["LISTEN_FDNAMES"]
os.execv(sys.executable, [sys.executable, "-c", child])
"""


def free_port() -> int:
    """Find a port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def launch(sockets: Sequence[HasFileno], count: str, names: str) -> Iterator[subprocess.Popen[str]]:
    """Start the child with these sockets passed as systemd passes them; it never outlives us."""
    descriptors = [s.fileno() for s in sockets]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, count, names, CHILD, *map(str, descriptors)],
        pass_fds=descriptors,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def refusal(sockets: Sequence[HasFileno], count: str, names: str) -> str:
    """Return the sentence with which the child refuses what it was passed."""
    with launch(sockets, count, names) as child:
        out, _ = child.communicate(timeout=PATIENCE)
    return str(json.loads(out)["error"])


def test_systemd_hands_over_a_socket() -> None:
    """A client of the port that systemd opened is answered by us, and no child inherits it."""
    activate = need("systemd-socket-activate")
    port = free_port()
    command = [activate, "-l", f"127.0.0.1:{port}", "--fdname=smtp", sys.executable, "-c", CHILD]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    ) as child:
        try:
            assert child.stderr is not None
            assert f"127.0.0.1:{port}" in child.stderr.readline()  # "Listening on … as 3."
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                answer = client.makefile("rb").read()
            out, _ = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
    told = json.loads(out)

    assert answer == b"220 here"
    assert told["names"] == {"smtp": 1}
    assert told["addresses"] == [["127.0.0.1", port]]
    assert told["before"] == ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"]
    assert told["after"] == []
    assert told["again"] == 0
    assert told["inheritable"] == [False]
    assert told["timeout"] == [0.0]


def test_sockets_of_one_name_come_together() -> None:
    """IPv4 and IPv6 of one .socket unit share its name, and the order stays."""
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.create_server(("127.0.0.1", 0)) as other,
        launch([four, six, other], "3", "smtp:smtp:http") as child,
    ):
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        with socket.create_connection(four.getsockname(), timeout=PATIENCE) as client:
            assert client.makefile("rb").read() == b"220 here"
        child.wait(timeout=PATIENCE)

        assert told["names"] == {"smtp": 2, "http": 1}
        assert [tuple(address) for address in told["addresses"]] == [
            s.getsockname() for s in (four, six, other)
        ]


def test_names_that_do_not_match_the_sockets_are_refused() -> None:
    """Two sockets with one name between them say so, rather than leave one unheard."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert "2 sockets, but 1 names" in refusal([one], "2", "smtp")


def test_a_count_that_is_no_number_is_refused() -> None:
    """LISTEN_FDS that cannot be read is an error and not zero sockets."""
    assert "not a number" in refusal([], "many", "smtp")


def test_a_socket_that_does_not_listen_is_refused() -> None:
    """A connection (Accept=yes) or a datagram socket is refused with what to change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert "Accept=no" in refusal([datagrams], "1", "smtp")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets:
        packets.bind("")  # the kernel chooses a free name
        packets.listen()
        assert "ListenStream=" in refusal([packets], "1", "smtp")
    one, other = socket.socketpair()
    with one, other:
        assert "Accept=no" in refusal([one], "1", "smtp")


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    """A file where a socket was promised is named with its descriptor."""
    with (tmp_path / "file").open("w") as file:
        assert "'smtp' (descriptor 3) is no socket" in refusal([file], "1", "smtp")


def test_without_names_systemd_says_unknown() -> None:
    """Sockets without names are taken under systemd's own default name, so nothing is lost."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        launch([one], "1", "-") as child,
    ):
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["names"] == {"unknown": 1}


@pytest.mark.parametrize("pid", [None, "1", "a neighbour"])
def test_sockets_for_another_process_are_left_alone(pid: str | None) -> None:
    """What systemd passed to a parent of ours is not ours, and the environment stays."""
    if pid == "a neighbour":
        pid = str(os.getpid() + 1)
    environment = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp"} | (
        {"LISTEN_PID": pid} if pid else {}
    )
    before = dict(environment)

    assert listen_sockets(environment) == {}
    assert environment == before
