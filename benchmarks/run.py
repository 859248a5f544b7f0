"""`make bench`: what smsbridge costs on this machine, beside a plain script that stores nothing.

    run.py [--quick] [--json] [--only FIGURE ...] [--folder DIR]

Everything runs on 127.0.0.1; the programs under measure are processes of their own, which end
with this one. Exits 1 if a figure misses its target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Final

import figures
import growth
import imap
import intake
import latency
import posts
import programs
import retention
import troubles
import uvloop
from rich.console import Console
from rich.table import Table

FIGURES: Final = {
    **figures.FIGURES,
    "latency": latency.latency,
    "aged": latency.aged,
    "growth": growth.growth,
    "retention": retention.retention,
    "endpoints": troubles.endpoints,
    "outage": troubles.outage,
    "posts": posts.posts,
    "imap": imap.imap,
    "intake": intake.intake,
}


def show(console: Console, report: figures.Report) -> None:
    """Print one figure's table."""
    table = Table("", *report.columns, "target", title=report.title, title_justify="left")
    for line in report.lines:
        mark = (
            "" if line.good is None else " [green]met[/]" if line.good else " [bold red]missed[/]"
        )
        table.add_row(line.figure, line.ours, line.beside, line.ratio, line.target + mark)
    if report.lines:
        console.print(table)
    else:
        console.print(report.title)
    for note in report.notes:
        console.print(f"  {note}", style="dim")


async def measure(
    names: list[str], size: figures.Size, under: Path | None, console: Console
) -> tuple[dict[str, object], int]:
    """Run the figures one after the other; return their numbers, and how many missed a target."""
    missed = 0
    found: dict[str, object] = {}
    with programs.folder(under) as folder:
        disk = programs.commit_seconds(folder, {}) * 1000
        console.print(
            f"{os.cpu_count()} cores, Python {platform.python_version()}, "
            f"a synced SQLite commit takes {disk:.2f} ms, "
            f"{size.rounds} interleaved rounds of {size.messages:,}; medians (least to greatest)"
        )
        bench = figures.Bench(folder, size)
        await bench.receiver.open()
        try:
            for name in names:
                began = time.perf_counter()
                report = await FIGURES[name](bench)
                report.numbers["took_seconds"] = round(time.perf_counter() - began, 1)
                show(console, report)
                found[name] = report.numbers
                missed += sum(line.good is False for line in report.lines)
        finally:
            await bench.receiver.close()
    return {"cores": os.cpu_count(), "commit_ms": disk, "figures": found}, missed


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short look, not a figure to quote")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--only", nargs="+", choices=FIGURES, metavar="FIGURE")
    parser.add_argument("--folder", type=Path, help="where the stores lie; decides which disk")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends as at Ctrl-C
    # Not on a terminal (a log, a pipe) lines are as long as they need to be.
    width = None if sys.stdout.isatty() else 130
    console = Console(stderr=chosen.json, highlight=False, width=width)
    size = figures.QUICK if chosen.quick else figures.FULL
    names = chosen.only or list(FIGURES)
    found, missed = uvloop.run(measure(names, size, chosen.folder, console))
    if chosen.json:
        print(json.dumps(found, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
