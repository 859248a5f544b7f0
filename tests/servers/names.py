"""A machine whose name server is dead: one that hears every question and answers none.

The daemon gets a mount namespace of its own, in which `/etc` says whom to ask, so nothing changes
for anybody else. All of it stays on loopback.
"""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from tests.patience import PATIENCE
from tests.servers.absence import cannot
from tests.servers.programs import find

_PORT: Final = 53
_TRIES: Final = 20  # addresses that may be somebody else's
# The most that glibc lets one ask for: a look-up hangs for longer than any test has patience.
_SECONDS: Final = 30
_ATTEMPTS: Final = 5
assert _SECONDS * _ATTEMPTS > PATIENCE
_HEADER: Final = 12  # bytes of a DNS question before its name
_NAMESPACES: Final = (("--mount",), ("--user", "--map-root-user", "--mount"))
_MOUNT: Final = """
for name in resolv.conf hosts nsswitch.conf; do
  mount --bind "$0/$name" "/etc/$name" || exit 99
done
exec "$@"
"""


class DeadNames:
    """A name server that never answers; use it in a `with`."""

    def __init__(self, folder: Path, hosts: Sequence[str]) -> None:
        """Write what `/etc` is to say; these hosts are in its `hosts`, all others must be asked."""
        self._socket = _bound()
        self._folder = folder
        self._told = threading.Condition()
        self._asked: set[str] = set()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        options = f"options timeout:{_SECONDS} attempts:{_ATTEMPTS}"
        self._write("resolv.conf", f"nameserver {self._socket.getsockname()[0]}", options)
        self._write("hosts", f"127.0.0.1 localhost {' '.join(hosts)}")
        self._write("nsswitch.conf", "hosts: files dns")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hear nothing more."""
        ended = self._socket.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ended)
        self._thread.join()
        self._socket.close()

    def command(self) -> tuple[str, ...]:
        """Give what goes in front of a command to run it on this machine; skip if it cannot be."""
        ways = [("unshare", *kind, "sh", "-c", _MOUNT, str(self._folder)) for kind in _NAMESPACES]
        works = next((each for each in ways if find("unshare") and not _fails([*each, "true"])), ())
        if not works:
            cannot("/etc cannot be made another one here (unshare; root, or user namespaces)")
        return works

    def wait_until_asked(self, *names: str, seconds: float = PATIENCE) -> None:
        """Wait until each of these names was asked for: now their look-ups hang."""
        wanted = set(names)
        with self._told:
            asked = self._told.wait_for(lambda: wanted <= self._asked, seconds)
        assert asked, f"nobody asked for {wanted - self._asked}"

    def _write(self, name: str, *lines: str) -> None:
        (self._folder / name).write_text("".join(f"{line}\n" for line in lines))

    def _hear(self) -> None:
        while question := self._socket.recv(2048):
            with self._told:
                self._asked.add(_name(question))
                self._told.notify_all()


def _bound() -> socket.socket:
    """Take port 53 of some address of loopback that nobody else has."""
    found = next(filter(None, (_one_bound() for _ in range(_TRIES))), None)
    if found is None:
        cannot(f"port {_PORT} cannot be taken here (root, and no name server on all addresses)")
    return found


def _one_bound() -> socket.socket | None:
    one = random.SystemRandom().randint
    address = f"127.{one(1, 254)}.{one(0, 254)}.{one(1, 254)}"
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listening.bind((address, _PORT))
    except OSError:
        listening.close()
        return None
    return listening


def _name(question: bytes) -> str:
    labels, at = [], _HEADER
    while at < len(question) and (length := question[at]):
        labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels)


def _fails(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0
