"""The figures of retention: the line while old messages are removed beside it, and the file's size.

Two daemons have the same old messages in their stores, and one of them has `[retention]`. Each
stands still (SIGSTOP) while the other is measured, so that neither pays for the other's work.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import filling
import programs
from figures import Bench, Line, Report, Spread, Waits
from programs import Daemon, Endpoint
from sqlalchemy import text

from bridge.clock import Clock
from bridge.config.settings import StoreSettings
from bridge.operations.retention import Retention
from bridge.store import Database, Lease, Store, ingest_many
from bridge.store.retention import STAGES, find_due

_DAY: Final = 86400.0
_AGE: Final = 30 * _DAY  # what is filled in is from January
_AGES: Final = dict.fromkeys(("raw", "bodies", "attempts", "messages", "records"), _AGE)
_TABLE: Final = "\n[retention]\n" + "".join(f'{name} = "30d"\n' for name in _AGES)
_BATCH: Final = 1000
_MOST: Final = 1.5  # times the idle daemon's
_ROWS: Final = 20
_PIECES: Final = 25
_NUMBER: Final = "+393300000007"  # who sends the eighth mail of each round


async def retention(bench: Bench) -> Report:
    """Measure the line beside a sweep, what the file needs in the long run, and an erasure."""
    count = bench.size.backlog
    report = Report(
        f"{count:,} old messages removed beside 50 new ones a second",
        ("sweeping", "without retention", "ratio"),
    )
    idle_at, swept_at = bench.place("idle"), bench.place("swept")
    await asyncio.to_thread(_fill, _store(swept_at), 0, count)
    shutil.copy(swept_at / "bridge.db", idle_at)
    full = _size(swept_at)
    endpoint = [Endpoint(filling.ENDPOINT, bench.receiver.url)]
    async with AsyncExitStack() as stack:
        idle = Daemon(idle_at, endpoint)
        stack.callback(idle.end)
        sweeping = Daemon(swept_at, endpoint, tables=_TABLE)
        stack.callback(sweeping.end)
        for daemon, other in ((idle, sweeping), (sweeping, idle)):
            await _steady(bench, daemon, other)
        rounds: list[tuple[tuple[Waits, Waits], tuple[Waits, Waits]]] = []
        for _ in range(bench.size.rounds):
            beside = await _steady(bench, idle, sweeping)
            rounds.append((await _steady(bench, sweeping, idle), beside))
        working = not sweeping.said("retention.done")
        grown = _size(swept_at)
        report.notes.append(f"{sweeping.purged():,} raw mails were removed meanwhile")
    _compare(report, rounds)
    report.lines.append(
        Line(
            "the sweep went on until the last round's end",
            "yes" if working else "no", "", "", "yes", working,
        )
    )  # fmt: skip
    report.lines.append(await asyncio.to_thread(_piece, _store(idle_at)))
    _erase(report, sweeping.config)
    for config in (idle.config, sweeping.config):
        programs.audit(config)
    await _sizes(report, swept_at, count, full, grown)
    programs.audit(sweeping.config)
    report.notes.append("audit: 0 wrong, in both stores")
    return report


async def _steady(bench: Bench, daemon: Daemon, other: Daemon) -> tuple[Waits, Waits]:
    """Measure one daemon while the other stands still."""
    with other.standing_still():
        waits = await bench.steady(daemon)
        # Or an attempt that is stopped in flight times out, and is made once more in a later round.
        await daemon.at_rest()
    return waits


def _compare(report: Report, rounds: list[tuple[tuple[Waits, Waits], tuple[Waits, Waits]]]) -> None:
    for at, words in enumerate(("to the 250, ms", "from the 250 to the POST, ms")):
        ours = [each[at] for each, _ in rounds]
        beside = [each[at] for _, each in rounds]
        for name in ("p50", "p99"):
            here = Spread.of([getattr(each, name) for each in ours])
            there = Spread.of([getattr(each, name) for each in beside])
            judged = at == 0 and name == "p99"
            ratio = Spread.of(
                [getattr(a, name) / getattr(b, name) for a, b in zip(ours, beside, strict=True)]
            )
            report.lines.append(
                Line(
                    f"{words[:-4]}, {name}, ms",
                    str(here),
                    str(there),
                    f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})" if at == 0 else "",
                    f"≤ {_MOST}×" if judged else "",
                    ratio.median <= _MOST if judged else None,
                )
            )
        report.numbers[words] = {
            "sweeping": list(map(asdict, ours)),
            "without": list(map(asdict, beside)),
        }


async def _sizes(report: Report, folder: Path, count: int, full: float, grown: float) -> None:
    """Sweep to the end, then twice as many messages in their turn; the file may not grow by it."""
    sizes = [full, grown]
    for again in range(3):
        if again:
            await asyncio.to_thread(_fill, _store(folder), again * count, count)
        await _sweep(_store(folder))
        sizes.append(_size(folder))
    report.lines.append(
        Line(
            "database and log: filled, while sweeping, MB",
            f"{full:.1f}, {grown:.1f}", "", f"{grown / full:.2f}×", "≤ 1.2×", grown <= 1.2 * full,
        )
    )  # fmt: skip
    report.lines.append(
        Line(
            "swept; after as many again; and again, MB",
            ", ".join(f"{each:.1f}" for each in sizes[2:]),
            "",
            f"{sizes[-1] / full:.2f}×",
            "≤ 1.2×",
            sizes[-1] <= 1.2 * full,
        )
    )
    report.numbers["megabytes"] = sizes


def _piece(settings: StoreSettings) -> Line:
    """Measure what the writer's thread does for twenty rows, through all stages."""
    before = datetime.now(UTC) - timedelta(seconds=_AGE)
    medians = {}
    with closing(Database.open(settings)) as database:
        for name in _AGES:
            stage, after, times = STAGES[name], 0, []
            for _ in range(_PIECES):
                with database.read() as reading:
                    ids = find_due(reading, stage, after, after + 10 * _ROWS, before, _ROWS)
                began = time.thread_time()
                with database.begin_again(synced=False) as writing:
                    stage.purge(writing, ids, datetime.now(UTC))
                times.append((time.thread_time() - began) * 1000)
                after = ids[-1]
            medians[name] = median(times)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in medians.items())
    return Line(f"processor ms for {_ROWS} rows: {parts}", f"{sum(medians.values()):.1f}")


def _erase(report: Report, config: Path) -> None:
    """Purge a number whose mails have come through the line, and look for it in every byte."""
    folder = config.parent
    before = _holding(folder)
    _run("purge", "--number", _NUMBER, "-c", str(config))
    _run("backup", str(folder / "copy.db"), "-c", str(config))
    left = _holding(folder)
    report.lines.append(
        Line(
            "files with a number's digits: before and after purge",
            f"{len(before)}, {len(left)}", "", "", "some, 0", bool(before) and not left,
        )
    )  # fmt: skip
    report.notes.append(
        "searched in every file of the store's folder, with a backup made afterwards; before, it "
        f"was in {', '.join(before)}"
    )
    report.numbers["holding"] = {"before": before, "after": left}


def _holding(folder: Path) -> list[str]:
    digits = _NUMBER.removeprefix("+39").encode()
    return sorted(each.name for each in folder.iterdir() if digits in each.read_bytes())


def _run(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=programs.ROOT, check=True, timeout=600, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _fill(settings: StoreSettings, first: int, count: int) -> None:
    """Store delivered messages as the line would have; `first` numbers them."""
    with closing(Database.open(settings, migrate=True)) as database:
        now = datetime.now(UTC)
        for start in range(first, first + count, _BATCH):
            items = [filling.message(number) for number in range(start, start + _BATCH)]
            with database.begin() as connection:
                ingest_many(connection, items, Lease("filling", now, now))
    filling.deliver(settings)
    with closing(Database.open(settings)) as database, database.begin() as connection:
        connection.execute(text(_ANSWERED), {"answer": b"OK"})


# As old as its message, and with an answer, as most are.
_ANSWERED: Final = """
UPDATE attempts SET answer = :answer, started_at = (SELECT min(received_at) FROM arrivals)
"""


async def _sweep(settings: StoreSettings) -> None:
    """Do what the daemon would go on with, without its pauses."""

    def now() -> datetime:
        """Return a time a year on, so that what came in meanwhile is old, too."""
        return datetime.now(UTC) + timedelta(days=365)

    async def pause(_: float) -> None:
        """Rest for no time."""

    store = await Store.open(
        settings,
        owner="bench",
        lease_seconds=60.0,
        endpoints=[filling.ENDPOINT],
        clock=Clock(alone=True),  # not a year on: after such a jump retention rests
    )
    try:
        await Retention(store, _AGES, now, pause).sweep()
    finally:
        await store.close()


def _store(folder: Path) -> StoreSettings:
    return StoreSettings(url=f"sqlite:///{folder}/bridge.db")


def _size(folder: Path) -> float:
    return sum(each.stat().st_size for each in folder.glob("bridge.db*")) / 1e6
