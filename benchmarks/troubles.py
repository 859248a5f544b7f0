"""The figures of endpoints in trouble: what the healthy ones notice, and the end of an outage.

`endpoints`: twenty of them, of which five hang, drip, ask to wait, refuse connections and flap,
beside a daemon whose twenty are all healthy. `outage`: an endpoint that is back after a day, with
all of that day's messages waiting for their next try, and fresh ones that come meanwhile. What is
measured is from the moment at which a mail is handed over to its POST.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Final

import filling
import load
from figures import Bench, Line, Report, Spread, Waits
from programs import Daemon, Endpoint

from bridge.config.settings import StoreSettings

_MAILS: Final = 10  # a second, each to twenty endpoints
_FRESH: Final = 20  # mails a second while the backlog drains
_WITHIN: Final = 1.2  # times as long, beside endpoints in trouble
_DURING: Final = 2.0  # times as long, during the drain
_SENDERS: Final = 20
_LIMIT: Final = 300.0  # seconds
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SEQUENCE: Final = re.compile(rb"\r\nwebhook-sequence: *(\d+)", re.IGNORECASE)
_runs = itertools.count(int(time.time()))


async def endpoints(bench: Bench) -> Report:
    """Measure healthy endpoints beside five in trouble, and beside none."""
    report = Report(
        f"15 healthy endpoints of 20, {_MAILS} mails a second: mail to POST, ms",
        ("beside five in trouble", "beside five more", "ratio"),
    )
    healthy = [f"e{number:02d}" for number in range(15)]
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(_troubled())
        # Nobody listens on port 9.
        urls["dead"] = "http://127.0.0.1:9/hooks/sms"
        base = bench.receiver.url
        fine = [Endpoint(name, f"{base}/{name}") for name in healthy]
        troubled = Daemon(
            bench.place("troubled"), [*fine, *(Endpoint(*each) for each in urls.items())]
        )
        stack.callback(troubled.end)
        sound = Daemon(
            bench.place("sound"), [*fine, *(Endpoint(each, f"{base}/{each}") for each in urls)]
        )
        stack.callback(sound.end)
        paths = {f"/hooks/sms/{name}".encode() for name in healthy}
        waits: dict[str, list[Waits]] = {"troubled": [], "sound": []}
        used: dict[str, list[float]] = {"troubled": [], "sound": []}
        for number in range(bench.size.rounds + 1):
            turns = (("troubled", troubled, sound), ("sound", sound, troubled))
            for name, daemon, other in turns if number % 2 else reversed(turns):
                with other.standing_still():
                    await asyncio.sleep(1)  # what came due while it stood still
                    cpu = daemon.cpu()
                    found = await _at_endpoints(
                        bench, daemon, paths, bench.size.steady_seconds if number else 2
                    )
                    if number:  # the first ones warm up, and let the breakers open
                        waits[name].append(found)
                        used[name].append(daemon.cpu() - cpu)
        for each in (troubled, sound):
            await asyncio.to_thread(each.audit)
    for which in ("p50", "p99", "longest"):
        ours, theirs = (
            [getattr(each, which) for each in waits[name]] for name in ("troubled", "sound")
        )
        ratio = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
        goal = (f"≤ {_WITHIN}×", ratio.median <= _WITHIN) if which == "p99" else ("", None)
        told = f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})"
        report.lines.append(Line(which, str(Spread.of(ours)), str(Spread.of(theirs)), told, *goal))
    report.notes.append(
        "processor seconds a round: "
        + ", ".join(f"{name} {statistics.median(each):.2f}" for name, each in used.items())
    )
    report.numbers = {name: list(map(asdict, each)) for name, each in waits.items()}
    return report


async def _at_endpoints(bench: Bench, daemon: Daemon, paths: set[bytes], seconds: int) -> Waits:
    """Send at a steady rate; return the waits of all of these paths together."""
    count = _MAILS * seconds
    given = await _send(bench, daemon, _MAILS, count)

    def waited() -> list[float]:
        first: dict[tuple[bytes, str], float] = {}
        for each in bench.receiver.webhooks:
            path = each.head.split(b" ", 2)[1]
            if path in paths and (text := each.text()) in given:
                first.setdefault((path, text), each.at)
        return [1000 * (at - given[text]) for (_, text), at in first.items()]

    return await _until(lambda: _all(waited(), count * len(paths)))


def _all(found: list[float], count: int) -> list[float] | None:
    return found if len(found) == count else None


async def outage(bench: Bench) -> Report:
    """Measure the end of a day's outage: the drain, its order, and fresh messages meanwhile."""
    count = bench.size.outage
    report = Report(
        f"A day's outage ends, {count:,} waiting; mail to POST at {_FRESH}/s, ms",
        ("during the drain", "afterwards", "ratio"),
    )
    rates, orders, during, after = [], [], [], []
    for _ in range(bench.size.rounds):
        place = bench.place("outage")
        settings = StoreSettings(url=f"sqlite:///{place}/bridge.db")
        await asyncio.to_thread(filling.fill, settings, count)
        await asyncio.to_thread(filling.age, settings, 86_400)
        bench.receiver.expect(count)
        daemon = Daemon(place, [Endpoint(filling.ENDPOINT, bench.receiver.url)])
        try:
            waits, old = await _drain(bench, daemon, count)
            during.append(waits)
            rates.append(count / (old[-1][0] - old[0][0]))
            orders.append(_displaced([number for _, number in old]))
            bench.receiver.expect(1)
            given = await _send(bench, daemon, _FRESH, _FRESH * bench.size.steady_seconds)
            after.append(await _until(partial(_fresh, bench, given)))
            await daemon.at_rest()
        finally:
            daemon.end()
        daemon.audit()
    report.lines.append(Line("drained, messages/s", str(Spread.of(rates))))
    share = Spread.of([100 * each for each in orders])
    report.lines.append(Line("out of the order of age by, p99, % of all", str(share)))
    for which in ("p50", "p99", "longest"):
        ours, theirs = ([getattr(each, which) for each in some] for some in (during, after))
        ratio = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
        goal = (f"≤ {_DURING:.0f}×", ratio.median <= _DURING) if which == "p99" else ("", None)
        told = f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})"
        report.lines.append(Line(which, str(Spread.of(ours)), str(Spread.of(theirs)), told, *goal))
    report.numbers = {
        "rates": rates,
        "displaced": orders,
        "during": list(map(asdict, during)),
        "after": list(map(asdict, after)),
    }
    return report


async def _drain(bench: Bench, daemon: Daemon, count: int) -> tuple[Waits, list[tuple[float, int]]]:
    """Send fresh mails until the backlog is out; return their waits, and when each old one came."""
    old: list[tuple[float, int]] = []
    looked = 0

    def out() -> bool:
        nonlocal looked
        new = bench.receiver.webhooks[looked:]
        looked += len(new)
        for each in new:
            found = _SEQUENCE.search(each.head)
            if found is not None and int(found[1]) <= count:
                old.append((each.at, int(found[1])))
        return len(old) >= count

    # Those that come before the first success wait like all that came in the outage.
    async with asyncio.timeout(_LIMIT):
        while not bench.receiver.webhooks:
            await asyncio.sleep(0.001)
    given = await _send(bench, daemon, _FRESH, None, out)
    if len({number for _, number in old}) != len(old):
        raise load.Refused("one of the backlog came twice")
    return await _until(partial(_fresh, bench, given)), old


def _displaced(numbers: Sequence[int]) -> float:
    """Return by which share of them 99 of 100 are at most away from their place by age."""
    away = sorted(abs(place - number) for place, number in enumerate(numbers, 1))
    return away[int(len(away) * 0.99)] / len(away)


def _fresh(bench: Bench, given: Mapping[str, float]) -> list[float] | None:
    """Return the waits in ms of those mails; None until all have come."""
    came = {each.text(): each.at for each in reversed(bench.receiver.webhooks)}
    if not given.keys() <= came.keys():
        return None
    return [1000 * (came[text] - at) for text, at in given.items()]


async def _send(
    bench: Bench,
    daemon: Daemon,
    rate: int,
    count: int | None,
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Send mails at a steady rate, so many or until enough; return when each was handed over."""
    made = load.mails(count or int(rate * _LIMIT), f"t{next(_runs)}")
    stream = load.Stream(daemon.address, reuse=False)
    await stream.open(_SENDERS)
    given: dict[str, float] = {}
    try:
        with load.without_pauses():
            began = time.perf_counter()
            for number, mail in enumerate(made):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                if enough():
                    break
                given[mail.text] = time.perf_counter()
                stream.put(mail)
            else:
                if count is None:
                    raise TimeoutError("the backlog is not out")
            await stream.finished(_LIMIT)
    finally:
        await stream.close()
    return given


async def _until(look: Callable[[], list[float] | None]) -> Waits:
    """Look again and again, until the waits are all there."""
    async with asyncio.timeout(_LIMIT):
        while (found := look()) is None:
            await asyncio.sleep(0.1)
        return Waits.of(found)


@asynccontextmanager
async def _troubled() -> AsyncIterator[dict[str, str]]:
    """Serve the endpoints in trouble; give the URL of each."""
    began = time.monotonic()

    async def hang(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(_LIMIT)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not writer.transport.is_closing():
            writer.write(b".")
            await asyncio.sleep(0.5)

    async def busy(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 X\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n")

    async def flap(writer: asyncio.StreamWriter) -> None:
        up = int(time.monotonic() - began) % 4 < 2
        status = b"204 X" if up else b"503 X\r\ncontent-length: 0"
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")

    answers = {"hanging": hang, "dripping": drip, "busy": busy, "flapping": flap}
    async with AsyncExitStack() as stack:
        urls = {}
        for name, answer in answers.items():
            server = await asyncio.start_server(partial(_serve, answer), "127.0.0.1", 0)
            stack.callback(server.close)
            urls[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks/sms"
        yield urls


async def _serve(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Read requests on one connection, and let each be answered."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length is not None else 0)
            await answer(writer)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # the daemon hung up, or the bench is over
    finally:
        writer.transport.abort()
