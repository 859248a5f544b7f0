"""A real PostgreSQL server for the tests: its own folder, loopback alone, gone afterwards.

Import `postgres` into a conftest.py. Each xdist worker that needs it starts one of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.servers.programs import need

_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 32MB
fsync = on
"""


@dataclass
class PostgresServer:
    """A running server; every test makes a database of its own on it."""

    port: int
    _process: subprocess.Popen[bytes] = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=count, repr=False)

    def create_database(self) -> str:
        """Make an empty database; return its URL as the config takes it."""
        name = f"test_{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def execute(self, database: str, *statements: str) -> None:
        """Run statements in a database as its superuser, each committed by itself."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop its processes, so that it neither answers nor hangs up; let them go on after it."""
        server = self._process.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text()
        everything = [server, *(int(pid) for pid in children.split())]
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in everything:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a server for the whole test run; skip by name (under CI: fail) where there is none."""
    with running_server() as server:
        yield server


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server until the end of the block."""
    programs = need("pg_ctl").parent
    folder = Path(tempfile.mkdtemp(prefix="smsbridge-pg-"))
    try:
        as_user = _as_postgres(folder)
        data = folder / "data"
        initdb = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]
        _run([*as_user, *initdb, "--no-sync"])  # of the template alone; the server does sync
        with (data / "postgresql.conf").open("a") as config:
            config.write(_CONFIG)
        server, process = _start([*as_user, str(programs / "postgres"), "-D", str(data)], folder)
        try:
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(folder: Path) -> list[str]:
    """Return what to put before a command, for the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _start(command: Sequence[str], folder: Path) -> tuple[PostgresServer, subprocess.Popen[bytes]]:
    """Start on a free port; another process may take it in between, so try again."""
    for _ in range(5):
        port = _free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "-p", str(port)], cwd=folder, stdout=log, stderr=log
            )
        if _answers(port, process):
            return PostgresServer(port, process), process
        _stop(process)
    raise RuntimeError((folder / "log").read_text())


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it takes connections; False if it ended instead."""
    import psycopg

    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=2
            ).close()
        except psycopg.OperationalError:
            time.sleep(0.02)  # there is no event to wait for but the port itself
        else:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server at once: its folder goes with it, so nothing is worth a last checkpoint.

    SIGQUIT takes the server's children along, unlike SIGKILL.
    """
    process.send_signal(signal.SIGQUIT)
    process.wait(timeout=PATIENCE)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
