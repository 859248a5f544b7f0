"""The figures: each starts what it needs, measures in interleaved rounds, and checks what came."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import load
import programs
from programs import SECRET, Daemon, Endpoint, Plain, Program

_LIMIT: Final = 120.0  # seconds that any one round may take
_STEADY_SENDERS: Final = 20
_WARM: Final = 300  # mails before the first round: imports, caches, connections
_runs = itertools.count(int(time.time()))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    messages: int
    rounds: int
    steady_seconds: int
    backlog: int
    mailbox: int  # mails that wait in a mailbox
    pushes: int  # mails that come into it one by one
    grown: int  # messages in a store that has grown old
    outage: int  # messages that wait after a day's outage


FULL: Final = Size(
    messages=3000,
    rounds=5,
    steady_seconds=20,
    backlog=100_000,
    mailbox=10_000,
    pushes=100,
    grown=1_000_000,
    outage=50_000,
)
QUICK: Final = Size(
    messages=1000,
    rounds=2,
    steady_seconds=5,
    backlog=20_000,
    mailbox=2_000,
    pushes=20,
    grown=100_000,
    outage=5_000,
)


@dataclass(frozen=True, slots=True)
class Round:
    """One measured stretch of one program."""

    program: str
    messages: int
    seconds: float  # first mail handed over → receiver has all, and the program is done with all
    accepted_seconds: float  # first mail handed over → last 250
    cpu: float  # processor seconds of the program under measure
    load_cpu: float  # and of this process: senders and receiver
    pipelined: bool

    @property
    def rate(self) -> float:
        """Messages a second, end to end."""
        return self.messages / self.seconds

    @property
    def accepted_rate(self) -> float:
        """Mails a second that got their 250."""
        return self.messages / self.accepted_seconds

    @property
    def cpu_us(self) -> float:
        """Processor time a message, in microseconds."""
        return self.cpu / self.messages * 1e6

    @property
    def load_us(self) -> float:
        """The bench's own processor time a message, in microseconds."""
        return self.load_cpu / self.messages * 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its least and greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise some rounds."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """Print as `median (low to high)`, as exactly as is sensible."""
        digits = 0 if self.median >= 100 else 1 if self.median >= 20 else 2
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({low} to {high})"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the printed table; `target` is what the figure must reach, as text."""

    figure: str
    ours: str
    beside: str = ""
    ratio: str = ""
    target: str = ""
    good: bool | None = None


@dataclass(slots=True)
class Report:
    """What a figure found: lines to print, and numbers for `--json`."""

    title: str
    columns: tuple[str, str, str] = ("smsbridge", "beside", "ratio")
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits in milliseconds."""

    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Waits:
        """Summarise them."""
        values = sorted(values)
        return cls(values[len(values) // 2], values[int(len(values) * 0.99)], values[-1])


@dataclass(frozen=True, slots=True)
class Kind:
    """What is sent: how many of it are made for a run of that name, and who sends it."""

    make: Callable[[int, str], Sequence[load.Mail]]
    sender: Callable[[load.Stream, load.Mail | None], load.Sender | load.Poster]


MAILS: Final = Kind(load.mails, load.Sender)


class Bench:
    """One receiver, one folder, and a way to run a round."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.size = size
        self.receiver = load.Receiver()
        self._delivered: dict[Program, int] = {}  # what a program's store must say

    def place(self, name: str) -> Path:
        """Make an empty folder for one program."""
        made = self.folder / f"{name}-{next(_runs)}"
        made.mkdir()
        return made

    async def round(
        self,
        name: str,
        program: Program,
        count: int,
        senders: int,
        reuse: bool,
        kind: Kind = MAILS,
    ) -> Round:
        """Send, wait until all is done, check what came."""
        made = kind.make(count, f"r{next(_runs)}")
        self.receiver.expect(count)
        expected = self._delivered[program] = self._delivered.get(program, 0) + count
        stream = load.Stream(program.address, reuse, kind.sender)
        await stream.open(senders)
        try:
            with load.without_pauses():
                cpu, load_cpu = program.cpu(), load.own_cpu()
                began = time.perf_counter()
                for mail in made:
                    stream.put(mail)
                await stream.finished(_LIMIT)
                await self.receiver.all(_LIMIT)
                load_cpu = load.own_cpu() - load_cpu  # before the store is asked
                await program.settled(expected)
                ended = time.perf_counter()
                cpu = program.cpu() - cpu
        finally:
            await stream.close()
        self.receiver.check(made, SECRET)
        accepted = max(stream.accepted.values()) - began
        return Round(name, count, ended - began, accepted, cpu, load_cpu, stream.pipelined)

    async def warm(self, program: Program, senders: int, kind: Kind = MAILS) -> None:
        """Let a program have seen some mails before it is measured."""
        await self.round("warm", program, _WARM, senders, reuse=True, kind=kind)

    async def steady(
        self, program: Program, kind: Kind = MAILS, rate: int = 50
    ) -> tuple[Waits, Waits]:
        """Send so many a second; return the waits until the success answer, and then to the POST.

        Each mail has a connection of its own.
        """
        made = kind.make(rate * self.size.steady_seconds, f"r{next(_runs)}")
        self.receiver.expect(len(made))
        stream = load.Stream(program.address, reuse=False, sender=kind.sender)
        await stream.open(_STEADY_SENDERS)
        given: dict[str, float] = {}
        try:
            with load.without_pauses():
                began = time.perf_counter()
                for number, mail in enumerate(made):
                    await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                    given[mail.text] = time.perf_counter()
                    stream.put(mail)
                await stream.finished(_LIMIT)
                await self.receiver.all(_LIMIT)
        finally:
            await stream.close()
        self.receiver.check(made, SECRET)
        waited, answered = [], []
        for webhook in self.receiver.webhooks:
            text = webhook.text()
            waited.append((webhook.at - stream.accepted[text]) * 1000)
            answered.append((stream.accepted[text] - given[text]) * 1000)
        return Waits.of(answered), Waits.of(waited)


async def throughput(bench: Bench) -> Report:
    """Measure messages a second, end to end, beside the plain script."""
    return await _beside_plain(bench, "Throughput end to end, 10 senders", {"": MAILS})


async def mails(bench: Bench) -> Report:
    """Measure the same with other mails and senders."""
    kinds = {
        "0.4 kB": Kind(load.short_mails, load.Sender),
        "not pipelined": Kind(load.mails, load.SlowSender),
        "0.4 kB, not pipelined": Kind(load.short_mails, load.SlowSender),
    }
    return await _beside_plain(bench, "Throughput of other mails and senders", kinds)


async def _beside_plain(bench: Bench, title: str, kinds: Mapping[str, Kind]) -> Report:
    report = Report(title, ("smsbridge", "plain script", "ratio"))
    async with AsyncExitStack() as stack:
        daemon = Daemon(bench.place("daemon"), [Endpoint("crm", bench.receiver.url)])
        stack.callback(daemon.end)
        plain = Plain(bench.place("plain"), bench.receiver.url)
        stack.callback(plain.end)
        for name, kind in kinds.items():
            await bench.warm(daemon, 10, kind)
            await bench.warm(plain, 10, kind)
            for reuse, words, target in ((True, "reused", 3.0), (False, "new", 2.5)):
                told = f"{words}, {name}" if name else words
                rounds: list[tuple[Round, Round]] = []
                for _ in range(bench.size.rounds):
                    count = bench.size.messages
                    ours = await bench.round("smsbridge", daemon, count, 10, reuse, kind)
                    theirs = await bench.round("plain", plain, count, 10, reuse, kind)
                    rounds.append((ours, theirs))
                _compare(report, told, rounds, target)
        daemon.audit()
    return report


def _compare(
    report: Report, words: str, rounds: Sequence[tuple[Round, Round]], target: float
) -> None:
    ratio = Spread.of([ours.rate / theirs.rate for ours, theirs in rounds])
    by_cpu = Spread.of([theirs.cpu_us / ours.cpu_us for ours, theirs in rounds])
    spent = Spread.of([ours.cpu_us for ours, _ in rounds])
    report.lines += [
        Line(
            f"messages/s, {words}",
            str(Spread.of([ours.rate for ours, _ in rounds])),
            str(Spread.of([theirs.rate for _, theirs in rounds])),
            f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})",
            f"≥ {target:.1f}×",
            ratio.median >= target,
        ),
        Line(
            f"processor µs, {words}",
            str(spent),
            str(Spread.of([theirs.cpu_us for _, theirs in rounds])),
            f"{by_cpu.median:.2f}× less",
        ),
    ]
    own = statistics.median([ours.load_us for ours, _ in rounds])
    report.notes.append(
        f"{words}: the bench itself used {own:.0f} µs a message; "
        f"smsbridge's senders {'pipelined' if rounds[0][0].pipelined else 'did not pipeline'}"
    )
    report.numbers[words] = {
        "ratio": asdict(ratio),
        "smsbridge": [asdict(ours) for ours, _ in rounds],
        "plain": [asdict(theirs) for _, theirs in rounds],
    }


async def slow_disk(bench: Bench) -> Report:
    """Measure mails accepted a second from 50 senders, each sync slowed down by 5 ms."""
    report = Report(
        "50 senders, 5 ms added to each sync", ("disk + 5 ms", "disk as it is", "ratio")
    )
    library = programs.slow_sync(bench.folder)
    if library is None:
        report.notes.append("skipped: no C compiler (cc, gcc or clang) to build the delay with")
        return report
    slow = {"LD_PRELOAD": str(library), "SLOW_SYNC_US": "5000"}
    one = programs.commit_seconds(bench.folder, {})
    slow_one = programs.commit_seconds(bench.folder, slow)
    if slow_one < 0.005:
        report.notes.append("skipped: SQLite here does not sync through the C library")
        return report
    report.notes.append(
        f"one synced SQLite commit takes {one * 1000:.2f} ms here, {slow_one * 1000:.2f} ms with "
        f"the delay: one transaction a mail could give {1 / slow_one:.0f}/s"
    )
    async with AsyncExitStack() as stack:
        endpoint = [Endpoint("crm", bench.receiver.url)]
        delayed = Daemon(bench.place("slow"), endpoint, slow)
        stack.callback(delayed.end)
        daemon = Daemon(bench.place("fast"), endpoint)
        stack.callback(daemon.end)
        await bench.warm(delayed, 50)
        await bench.warm(daemon, 50)
        rounds: list[tuple[Round, Round]] = []
        for _ in range(bench.size.rounds):
            with_delay = await bench.round("slow", delayed, bench.size.messages, 50, reuse=True)
            without = await bench.round("fast", daemon, bench.size.messages, 50, reuse=True)
            rounds.append((with_delay, without))
        ratio = statistics.median([a.accepted_rate / b.accepted_rate for a, b in rounds])
        accepted = Spread.of([a.accepted_rate for a, _ in rounds])
        kept_up = statistics.median([a.rate / a.accepted_rate for a, _ in rounds])
        report.lines = [
            Line(
                "accepted/s",
                str(accepted),
                str(Spread.of([b.accepted_rate for _, b in rounds])),
                f"{ratio:.2f}×",
                "≥ 1,000",
                accepted.median >= 1000,
            ),
            Line(
                "end to end, messages/s",
                str(Spread.of([a.rate for a, _ in rounds])),
                str(Spread.of([b.rate for _, b in rounds])),
                f"{statistics.median([a.rate / b.rate for a, b in rounds]):.2f}×",
            ),
            Line(
                "end to end of accepted",
                f"{kept_up:.2f}×",
                f"{statistics.median([b.rate / b.accepted_rate for _, b in rounds]):.2f}×",
                target="≥ 0.7×",
                good=kept_up >= 0.7,
            ),
        ]
        report.numbers = {
            "slow": [asdict(a) for a, _ in rounds],
            "fast": [asdict(b) for _, b in rounds],
        }
        delayed.audit()
    return report


async def memory(bench: Bench) -> Report:
    """Measure resident memory, idle and with deliveries waiting for a dead endpoint."""
    waiting = bench.size.backlog
    report = Report(f"{waiting:,} deliveries waiting for a dead endpoint", ("with", "without", ""))
    async with AsyncExitStack() as stack:
        healthy = Endpoint("crm", bench.receiver.url)
        # Nobody listens on port 9; the crm's messages don't go there.
        dead = Endpoint("dead", "http://127.0.0.1:9/hooks/sms", "other")
        full = bench.place("backlog")
        config = programs.write_config(full, [healthy, dead])
        script = str(Path(__file__).with_name("backlog.py"))
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, script, str(config), str(waiting)],
            cwd=programs.ROOT,
            env={"PYTHONPATH": str(programs.ROOT)},
            check=True,
            timeout=300,
        )
        report.notes.append(f"the backlog was filled in {time.perf_counter() - began:.0f} s")
        idle = Daemon(bench.place("idle"), [healthy, dead])
        stack.callback(idle.end)
        loaded = Daemon(full, [healthy, dead])
        stack.callback(loaded.end)
        await bench.round("one", loaded, 1, 1, reuse=True)
        await bench.round("one", idle, 1, 1, reuse=True)
        await asyncio.sleep(5)
        few = idle.memory()
        many = loaded.memory()
        report.lines += [
            Line(
                "resident MB after one message",
                f"{many:.1f}",
                f"{few:.1f}",
                "",
                "without ≤ 85",
                few <= 85,
            ),
            Line(
                "more with the backlog, MB", f"{many - few:+.1f}", "", "", "≤ 30", many - few <= 30
            ),
        ]
        rounds: list[tuple[Round, Round]] = []
        for _ in range(bench.size.rounds):
            with_it = await bench.round("with", loaded, bench.size.messages, 10, reuse=True)
            without = await bench.round("without", idle, bench.size.messages, 10, reuse=True)
            rounds.append((with_it, without))
        few_after, many_after = idle.memory(), loaded.memory()
        ratio = Spread.of([a.rate / b.rate for a, b in rounds])
        total = bench.size.rounds * bench.size.messages
        report.lines += [
            Line(f"resident MB after {total:,} more", f"{many_after:.1f}", f"{few_after:.1f}"),
            Line(
                "messages/s to a healthy endpoint",
                str(Spread.of([a.rate for a, _ in rounds])),
                str(Spread.of([b.rate for _, b in rounds])),
                f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})",
            ),
        ]
        report.numbers = {
            "idle_mb": few,
            "backlog_mb": many,
            "idle_after_mb": few_after,
            "backlog_after_mb": many_after,
            "with": [asdict(a) for a, _ in rounds],
            "without": [asdict(b) for _, b in rounds],
        }
        loaded.audit()
    return report


FIGURES: Final = {
    "throughput": throughput,
    "mails": mails,
    "slow-disk": slow_disk,
    "memory": memory,
}
