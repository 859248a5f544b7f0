"""The programs under measure: each a process of its own, started, looked at and ended here."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

ROOT: Final = Path(__file__).resolve().parent.parent
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of this bench alone
_PATIENCE: Final = 30.0  # seconds until a program must listen, or have ended
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):
    """A program under measure did not come up; its last words are in the text."""


class Program(Protocol):
    """What a round needs of a program under measure."""

    address: tuple[str, int]

    def cpu(self) -> float:
        """Return the processor seconds used so far."""

    async def settled(self, delivered: int) -> None:
        """Wait until this many deliveries are done with, as the program itself sees it."""


class _Process:
    """A process of ours: its figures in /proc, and its end."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        self.pid = self._process.pid

    def lines(self) -> list[str]:
        """Return what the program has written."""
        return self.log.read_text(errors="replace").splitlines()

    def running(self) -> bool:
        """Say whether it runs."""
        return self._process.poll() is None

    def cpu(self) -> float:
        """Return the processor seconds used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> float:
        """Return the resident memory in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise NotStarted(f"process {self.pid} has no memory: it has ended")

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        if self.running():
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class Plain(_Process):
    """A plain script: `script` is the one for mails or posts, `more` its further arguments."""

    def __init__(self, folder: Path, url: str, script: str = "plain.py", *more: str) -> None:
        path = str(Path(__file__).with_name(script))
        super().__init__([path, url, SECRET, *more], {}, folder / "plain.log")
        deadline = time.monotonic() + _PATIENCE
        while not self.lines():
            if not self.running() or time.monotonic() > deadline:
                raise NotStarted("the plain script did not start")
            time.sleep(0.02)
        self.address = ("127.0.0.1", int(self.lines()[0]))

    async def settled(self, delivered: int) -> None:
        """Wait for nothing: it posts before its 250 and writes nothing down."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of the daemon's config; `provider` is the only one whose messages it gets."""

    name: str
    url: str
    provider: str = "agile"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox of the daemon's config, on a server of this machine."""

    port: int
    user: str
    password: str
    on_message: str = "leave"


class Daemon(_Process):
    """`smsbridge run` on SQLite with a config that says nothing about speed.

    `tables` are more tables of its config; `address` is that of the listener of `source`. With
    `looked_at` it tells how long its event loop was held (`held.py`). `store`: not SQLite.
    `limits` are more lines of `[store]`.
    """

    def __init__(
        self,
        folder: Path,
        endpoints: Sequence[Endpoint],
        environment: Mapping[str, str] | None = None,
        mailbox: Mailbox | None = None,
        tables: str = "",
        source: str = "smtp",
        *,
        looked_at: bool = False,
        store: str | None = None,
        limits: str = "",
    ) -> None:
        self.config = write_config(folder, endpoints, mailbox, tables, store, limits)
        self._looks = 0
        self._database = folder / "bridge.db"
        command = [str(Path(__file__).with_name("held.py"))] if looked_at else ["-m", "bridge"]
        run = [*command, "run", "-c", str(self.config)]
        super().__init__(run, environment or {}, folder / "daemon.log")
        try:
            self.address = self._listening(source)
        except BaseException:
            self.end()
            raise

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop it for a while, so that another one has the machine to itself."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def web(self) -> tuple[str, int]:
        """Return the address of health and metrics."""
        return self._listening("web")

    def _listening(self, source: str) -> tuple[str, int]:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.running():
            for line in self.lines():
                if f'"{source}.listening"' in line:
                    (address, *_) = json.loads(line)["addresses"]
                    host, _, port = str(address).rpartition(":")
                    return host.strip("[]"), int(port)
            time.sleep(0.02)
        raise NotStarted("the daemon did not start:\n" + "\n".join(self.lines()[-8:]))

    def said(self, event: str) -> float | None:
        """Return when the log first told of this, as time.time() counts; None: not yet."""
        for line in self.lines():
            if f'"{event}"' in line:
                return datetime.fromisoformat(json.loads(line)["ts"]).timestamp()
        return None

    def look_anew(self) -> None:
        """Forget for how long the loop was held so far."""
        self._looks = len(self._told_looks())
        os.kill(self.pid, signal.SIGUSR2)

    def held(self) -> tuple[float, float]:
        """Return the longest stall since then in ms: processor time of the loop, and all of it."""
        looks = self._told_looks()[self._looks :]
        return tuple(max((each[of] for each in looks), default=0.0) for of in ("ms", "stalled"))

    def _told_looks(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.lines() if '"loop.held"' in line]

    def delivered(self) -> int:
        """Count the deliveries that the store says are delivered."""
        return self._count("SELECT count(*) FROM deliveries WHERE state = 'delivered'")

    def arrivals(self) -> int:
        """Count the arrivals that are committed; their ids are given without gaps."""
        return self._count("SELECT coalesce(max(id), 0) FROM arrivals")

    def messages(self) -> int:
        """Count the messages that are committed."""
        return self._count("SELECT count(*) FROM messages")

    def purged(self) -> int:
        """Count the arrivals whose raw bytes retention has removed."""
        return self._count("SELECT count(*) FROM arrivals WHERE purged_at IS NOT NULL")

    def _count(self, query: str) -> int:
        reader = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)
        try:
            return int(reader.execute(query).fetchone()[0])
        finally:
            reader.close()

    async def settled(self, delivered: int) -> None:
        """Wait until the store says so."""
        deadline = time.monotonic() + _PATIENCE
        while self.delivered() < delivered:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the store says {self.delivered()} of {delivered} delivered")
            await asyncio.sleep(0.002)

    async def at_rest(self) -> None:
        """Wait until the store says that no delivery is pending."""
        deadline = time.monotonic() + _PATIENCE
        while self._count("SELECT count(*) FROM deliveries WHERE state = 'pending'"):
            if time.monotonic() > deadline:
                raise TimeoutError("the store says that deliveries are still pending")
            await asyncio.sleep(0.002)

    def audit(self) -> None:
        """Let the ledger prove itself."""
        audit(self.config)


def audit(config: Path) -> None:
    """Run `smsbridge audit`; a figure of a run whose ledger is wrong is no figure."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "audit", "-c", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise NotStarted(f"smsbridge audit says:\n{done.stdout}{done.stderr}")


def write_config(
    folder: Path,
    endpoints: Sequence[Endpoint],
    mailbox: Mailbox | None = None,
    tables: str = "",
    store: str | None = None,
    limits: str = "",
) -> Path:
    """Write the daemon's config: its defaults, free ports, and this bench's two providers."""
    # What lies in a mailbox has no peer whose network could be evidence.
    evidence = 'networks = ["127.0.0.0/8"]' if mailbox is None else "anyone = true"
    text = f"""\
[store]
url = "{store or f"sqlite:///{folder}/bridge.db"}"
{limits}

[smtp]
listen = ["127.0.0.1:0"]
hostname = "bridge.test"

[http]
listen = "127.0.0.1:0"

[log]
format = "json"

[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
[providers.trust]
{evidence}

[[providers]]
name = "other"
preset = "agile"
time_zone = "Europe/Rome"
senders = ["sms@other.example"]
[providers.trust]
networks = ["127.0.0.0/8"]
"""
    for endpoint in endpoints:
        text += f"""
[[endpoints]]
name = "{endpoint.name}"
url = "{endpoint.url}"
secret = "{SECRET}"
providers = ["{endpoint.provider}"]
"""
    if mailbox is not None:
        text += f"""
[[imap]]
name = "bench"
host = "127.0.0.1"
port = {mailbox.port}
tls = false
username = "{mailbox.user}"
password = {json.dumps(mailbox.password)}
start = "all"
on_message = "{mailbox.on_message}"
"""
    config = folder / "config.toml"
    config.write_text(text + tables)
    config.chmod(0o600)
    return config


@contextmanager
def folder(under: Path | None) -> Iterator[Path]:
    """Give a folder for a program's files, and take it away afterwards."""
    made = Path(tempfile.mkdtemp(prefix="smsbridge-bench-", dir=under))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def slow_sync(folder: Path) -> Path | None:
    """Compile the library that slows each sync; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"],
        check=True,
        timeout=60,
    )
    return library


def commit_seconds(folder: Path, environment: Mapping[str, str]) -> float:
    """Measure one synced SQLite commit in a process of its own: what the disk really costs."""
    script = """
import sqlite3, statistics, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA journal_mode=WAL"); base.execute("PRAGMA synchronous=FULL")
base.execute("CREATE TABLE IF NOT EXISTS t (x)")
took = []
for _ in range(50):
    began = time.perf_counter()
    base.execute("INSERT INTO t VALUES (1)")
    took.append(time.perf_counter() - began)
print(statistics.median(took))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "disk.db")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return float(done.stdout)
