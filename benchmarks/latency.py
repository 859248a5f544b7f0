"""How long a sender waits for its 250 at a steady rate, and how long the event loop stands still.

`latency` on a new store; `aged` on one with very many messages, while an audit and scrapes of
/metrics go on beside the mails.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

import filling
import programs
from figures import Bench, Line, Report, Waits
from programs import Daemon, Endpoint

from bridge.config.settings import StoreSettings

# Mails a second, and what 99 of 100 senders may wait at most, in ms. The loop may be held for as
# long as an attack may hold it.
_RATES: Final[Mapping[int, float]] = {50: 10.0, 200: 25.0}
_HELD: Final = 50.0  # ms of processor time
_BESIDE: Final = 1.5  # times as long, with an audit and scrapes beside
_SCRAPES: Final = 1.0  # seconds from one to the next


async def latency(bench: Bench) -> Report:
    """Measure from connect to 250 and from there to the POST, at 50 and at 200 a second."""
    seconds = bench.size.steady_seconds
    report = Report(f"At a steady rate for {seconds} s, ms", ("p50", "p99", "greatest"))
    with ExitStack() as stack:
        endpoint = Endpoint("crm", bench.receiver.url)
        daemon = Daemon(bench.place("daemon"), [endpoint], looked_at=True)
        stack.callback(daemon.end)
        await bench.warm(daemon, 10)
        for rate, most in _RATES.items():
            daemon.look_anew()
            answered, posted = await bench.steady(daemon, rate=rate)
            held, stalled = daemon.held()
            report.lines += [
                _line(f"{rate}/s: connect to 250", answered, f"p99 < {most:.0f}", most),
                _line(f"{rate}/s: 250 to POST", posted),
                Line(
                    f"{rate}/s: the loop held, by processor time", "", "", f"{held:.1f}",
                    f"< {_HELD:.0f}", held < _HELD,
                ),
                Line(f"{rate}/s: the loop stalled, by the clock", "", "", f"{stalled:.1f}"),
            ]  # fmt: skip
            report.numbers[str(rate)] = {
                "connect to 250": asdict(answered),
                "250 to POST": asdict(posted),
                "held": held,
                "stalled": stalled,
            }
        daemon.audit()
    report.notes.append("a POST may come before its 250 is read")
    return report


def _line(figure: str, waits: Waits, target: str = "", most: float | None = None) -> Line:
    good = None if most is None else waits.p99 < most
    return Line(
        figure, f"{waits.p50:.2f}", f"{waits.p99:.2f}", f"{waits.longest:.2f}", target, good
    )


@dataclass(slots=True)
class _Beside:
    """What went on beside the mails."""

    audits: int = 0
    scrapes: list[float] = field(default_factory=list)  # seconds each took


async def aged(bench: Bench) -> Report:
    """Measure connect to 250 on a store that has grown old, alone and beside audit and scrapes."""
    sys.path.append(str(programs.ROOT))  # the server is the tests' own
    from tests.servers.postgres import running_server
    from tests.servers.programs import find

    report = Report(
        f"{bench.size.grown:,} messages delivered: connect to 250, p99 in ms",
        ("beside audit and scrapes", "alone", "ratio"),
    )
    place = bench.place("aged")
    with ExitStack() as stack:
        stores = {"SQLite": f"sqlite:///{place}/bridge.db"}
        if find("pg_ctl") is None:
            report.notes.append("PostgreSQL is not installed (`make servers`): left out")
        else:
            stores["PostgreSQL"] = stack.enter_context(running_server()).create_database()
        for name, url in stores.items():
            await asyncio.to_thread(_fill, StoreSettings(url=url), bench.size.grown)
            await _measure(bench, report, name, url)
    return report


def _fill(settings: StoreSettings, count: int) -> None:
    filling.fill(settings, count)
    filling.deliver(settings)


async def _measure(bench: Bench, report: Report, name: str, url: str) -> None:
    beside = _Beside()
    async with AsyncExitStack() as stack:
        endpoint = Endpoint(filling.ENDPOINT, bench.receiver.url)
        daemon = Daemon(bench.place("daemon"), [endpoint], looked_at=True, store=url)
        stack.callback(daemon.end)
        await bench.steady(daemon)  # caches, connections
        for rate in _RATES:
            alone: list[Waits] = []
            with_all: list[Waits] = []
            helds: list[tuple[float, float]] = []
            for _ in range(bench.size.rounds):
                alone.append((await bench.steady(daemon, rate=rate))[0])
                async with _busy(daemon, beside):
                    daemon.look_anew()
                    with_all.append((await bench.steady(daemon, rate=rate))[0])
                    helds.append(daemon.held())
            ratio = statistics.median([a.p99 / b.p99 for a, b in zip(with_all, alone, strict=True)])
            report.lines.append(
                Line(
                    f"{name}, {rate}/s",
                    f"{statistics.median([each.p99 for each in with_all]):.2f}",
                    f"{statistics.median([each.p99 for each in alone]):.2f}",
                    f"{ratio:.2f}×",
                    f"≤ {_BESIDE}×",
                    ratio <= _BESIDE,
                )
            )
            held, stalled = (max(each) for each in zip(*helds, strict=True))
            report.notes.append(
                f"{name}, {rate}/s: beside audit and scrapes the loop was held {held:.1f} ms by "
                f"processor time, {stalled:.1f} ms by the clock"
            )
            report.numbers[f"{name}, {rate}/s"] = {
                "beside": list(map(asdict, with_all)),
                "alone": list(map(asdict, alone)),
                "held": helds,
            }
    scrape = 1000 * statistics.median(beside.scrapes)
    report.notes.append(f"{name}: {beside.audits} audits, {scrape:.0f} ms a scrape")


@asynccontextmanager
async def _busy(daemon: Daemon, beside: _Beside) -> AsyncIterator[None]:
    """Audit and scrape meanwhile, again and again."""
    working = [
        asyncio.create_task(_audits(daemon, beside)),
        asyncio.create_task(_scrapes(daemon, beside)),
    ]
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        found = await asyncio.gather(*working, return_exceptions=True)
        for each in found:
            if not isinstance(each, asyncio.CancelledError):
                raise programs.NotStarted("audit or scrape ended") from each


async def _audits(daemon: Daemon, beside: _Beside) -> None:
    while True:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "audit", "-c", str(daemon.config),
            cwd=programs.ROOT, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            if await running.wait():
                raise programs.NotStarted("smsbridge audit found something wrong")
        finally:
            if running.returncode is None:
                running.terminate()
                await running.wait()
        beside.audits += 1


async def _scrapes(daemon: Daemon, beside: _Beside) -> None:
    host, port = daemon.web()

    def scrape() -> None:
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=60) as answer:
            answer.read()
        beside.scrapes.append(time.perf_counter() - began)

    while True:
        await asyncio.to_thread(scrape)
        await asyncio.sleep(_SCRAPES)
