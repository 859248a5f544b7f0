"""A real opendkim on loopback, as a milter that verifies, with its keys in a file."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.servers.ports import steady_port
from tests.servers.programs import need


@contextlib.contextmanager
def opendkim(folder: Path, keys: dict[str, bytes], more: str = "") -> Iterator[int]:
    """Run it with these key records; gives its port. `more` are lines of its config."""
    program = need("opendkim")
    port = steady_port()
    public = folder / "keys"
    public.write_text("".join(f"{name} {record.decode()}\n" for name, record in keys.items()))
    config = folder / "opendkim.conf"
    config.write_text(
        f"Mode v\nSocket inet:{port}@127.0.0.1\nTestPublicKeys {public}\n"
        f"PidFile {folder}/pid\nTemporaryDirectory {folder}\n"
        f"InternalHosts {folder}/nobody\n{more}"
    )
    (folder / "nobody").write_text("192.0.2.1\n")  # a peer on loopback is a stranger here
    running = subprocess.Popen(
        [program, "-f", "-x", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if running.poll() is not None or time.monotonic() > deadline:
                assert running.stderr is not None
                pytest.fail(f"opendkim did not start: {running.stderr.read()!r}")
            time.sleep(0.05)
        yield port
    finally:
        running.kill()  # it takes seconds to go when it is asked to, and keeps nothing
        running.communicate(timeout=PATIENCE)
