"""Attacks a daemon of this machine, and says what each attack costs it, and others.

    python -m benchmarks.attacks [--only WORD …] [--before COMMIT] [--json]

Each attack has a daemon of its own, on SQLite, and goes on for four seconds. Meanwhile one good
peer sends 20 believed mails a second, each in a connection of its own. The columns:

- *harm*: as the attack's own unit says; most often, how many of the good peer's mails got no 250.
- *processor ms a mail*: of all of the daemon's threads, for one such mail alone.
- *loop held, ms*: the most processor time that the event loop's thread used while everybody else
  waited, as `held.py` finds it.
- *MB more*: the peak of resident memory, over that before the attack.
- *p99 ms*: from the good peer's connecting to its 250.

`--before` does the same to an earlier commit, whose code it unpacks into a temporary folder; each
cell then has two figures. The exit code is 1 if now an attack does harm, a mail costs over 250 ms,
the loop is held for over 50 ms, or memory grows by over 150 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import math
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.attack_kinds import ATTACKS, CONFIG, Attack, Client, Target, bomb, sms
from benchmarks.programs import ROOT, SECRET
from tests.servers.daemon import MAILBOX, Daemon
from tests.servers.receiver import Receiver

MOST_PROCESSOR: Final = 250.0  # ms a mail
MOST_HELD: Final = 50.0  # ms
MOST_MEMORY: Final = 150.0  # MB
_LONGEST: Final = 60.0  # seconds that one attack may last
_PAUSE: Final = 0.05  # seconds between two good mails
_UNDER_WAY: Final = 20  # good mails at a time
_LATE: Final = 10.0  # seconds after which a good mail counts as refused
_HEAD: Final = """\
| attack | attempts | harm | processor ms a mail | loop held, ms | MB more | p99 ms |
|---|---|---|---|---|---|---|"""
_GOOD: Final = "127.0.0.60"


@dataclass(slots=True)
class Others:
    """What others saw of the daemon during an attack."""

    waits: list[float] = field(default_factory=list)  # ms to the 250 of each good mail
    refused: int = 0

    @property
    def p99(self) -> float:
        """The wait that one of a hundred good mails exceeds."""
        if not self.waits:
            return math.inf
        return sorted(self.waits)[math.ceil(0.99 * len(self.waits)) - 1]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one attack did; the units stand above."""

    attempts: int
    harm: float
    processor: float | None
    held: float
    memory: float
    p99: float

    def misses(self, attack: Attack) -> bool:
        """Return whether it did what none may."""
        return (
            self.harm > attack.most
            or (self.processor or 0) > MOST_PROCESSOR
            or self.held > MOST_HELD
            or self.memory > MOST_MEMORY
        )


async def measure(attack: Attack, root: Path = ROOT) -> Figures:
    """Start the daemon whose code is in `root`, attack it, and end it."""
    with tempfile.TemporaryDirectory(prefix="smsbridge-attacks-") as folder, Receiver(SECRET) as to:
        config = Path(folder) / "config.toml"
        text = CONFIG.replace("FOLDER", folder).replace("URL", to.url).replace("SECRET", SECRET)
        config.write_text(text)
        config.chmod(0o600)
        looked_at = (str(ROOT / "benchmarks" / "held.py"),)
        with Daemon(config, command=looked_at, root=root) as daemon:
            await asyncio.to_thread(daemon.start)
            target = Target(daemon, to, Path(folder))
            await target.settled()
            cost = None if attack.mail is None else await _cost(target, attack.mail)
            daemon.signal(signal.SIGUSR2)
            earlier = len(daemon.log("loop.held"))
            before = _memory(daemon, "VmRSS")
            Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")  # the peak is now
            others = Others()
            async with asyncio.timeout(_LONGEST), _watched(target, others):
                if attack.mail is not None:
                    attempts, harm = await bomb(target, attack.mail)
                else:
                    assert attack.run is not None
                    attempts, harm = await attack.run(target)
            memory = _memory(daemon, "VmHWM") - before
            held = max((each["ms"] for each in daemon.log("loop.held")[earlier:]), default=0.0)
    if harm is None:
        harm = others.refused
    return Figures(attempts, harm, cost, held, memory, others.p99)


async def _cost(target: Target, raw: bytes) -> float:
    """Return the processor time of one mail, in ms."""
    began = target.daemon.processor_time()
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_LONGEST / 2), target.connection() as client:
            await client.mail(raw)
    return 1000 * (target.daemon.processor_time() - began)


@asynccontextmanager
async def _watched(target: Target, others: Others) -> AsyncIterator[None]:
    """Be the good peer and the one that asks, as long as it lasts."""
    sending = asyncio.create_task(_send(target, others))
    try:
        yield
    finally:
        sending.cancel()
        await sending


async def _send(target: Target, others: Others) -> None:
    """Send good mails at an even pace, as long as not too many are under way."""
    places = asyncio.Semaphore(_UNDER_WAY)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        try:
            while True:
                await places.acquire()
                task = group.create_task(_send_one(target, others, stop))
                task.add_done_callback(lambda _: places.release())
                await asyncio.sleep(_PAUSE)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(_LATE / 2, stop.set)


async def _send_one(target: Target, others: Others, stop: asyncio.Event) -> None:
    began = time.monotonic()
    sending = asyncio.create_task(_good(target))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([sending, stopping], timeout=_LATE, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if sending.done() and sending.result() == 250:
        others.waits.append(1000 * (time.monotonic() - began))
    else:
        sending.cancel()
        others.refused += 1


async def _good(target: Target) -> int:
    with contextlib.suppress(OSError):
        async with Client.connected(target.daemon.smtp, _GOOD) as client:
            return await client.mail(sms(f"good {time.monotonic_ns()}"), MAILBOX)
    return 0


def _memory(daemon: Daemon, which: str) -> float:
    """Return a figure of the daemon's memory, in MB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{which}:"))
    return int(line.split()[1]) * 1024 / 1e6


def _unpacked(commit: str, folder: str) -> Path:
    """Unpack an earlier commit."""
    done = subprocess.run(
        ["git", "archive", commit, "bridge"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"no commit {commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Path(folder)


def _row(attack: Attack, figures: Sequence[Figures]) -> str:
    def cell(name: str, digits: str = ",.0f") -> str:
        values = [getattr(each, name) for each in figures]
        return " → ".join("–" if each is None else format(each, digits) for each in values)

    cells = [
        attack.name, cell("attempts"), f"{cell('harm')} {attack.unit}", cell("processor"),
        cell("held"), cell("memory"), cell("p99"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Attack, print a table, and return 1 if something does harm now."""
    parser = argparse.ArgumentParser(description="Attacks a daemon of this machine.")
    parser.add_argument("--only", action="append", help="attacks whose name contains this word")
    parser.add_argument("--before", metavar="COMMIT", help="attack this commit's daemon, too")
    parser.add_argument("--json", action="store_true", dest="as_json")
    wanted = parser.parse_args()
    chosen = [
        each
        for each in ATTACKS
        if not wanted.only or any(word in each.name for word in wanted.only)
    ]
    with tempfile.TemporaryDirectory(prefix="smsbridge-before-") as folder:
        roots = [ROOT]
        if wanted.before:
            roots.insert(0, _unpacked(wanted.before, folder))
        if not wanted.as_json:
            print(_HEAD, flush=True)
        missed = []
        for attack in chosen:
            figures = [asyncio.run(measure(attack, root)) for root in roots]
            if wanted.as_json:
                print(json.dumps({"attack": attack.name, "figures": list(map(asdict, figures))}))
            else:
                print(_row(attack, figures), flush=True)
            if figures[-1].misses(attack):
                missed.append(attack.name)
    if missed:
        print(f"harm is done by: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
