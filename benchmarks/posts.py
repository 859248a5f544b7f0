"""The figures of posts: Twilio's, signed, beside a plain aiohttp handler that stores nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Final

from figures import Bench, Kind, Line, Report, Round, Spread
from load import Poster
from programs import Daemon, Endpoint, Plain, Program
from twilio_post import AUTH_TOKEN, HOST, PATH
from twilio_post import posts as make

TWILIO: Final = Kind(make, Poster)
_SENDERS: Final = 10
_TABLES: Final = f"""
[posts]
listen = ["127.0.0.1:0"]
public_url = "{HOST}"

[[providers]]
name = "twilio"
[providers.post]
token = "{PATH.rpartition("/")[2]}"
secret = "{AUTH_TOKEN}"
"""


async def posts(bench: Bench) -> Report:
    """Measure posts a second until delivered, and the time to the success answer at 50 a second."""
    report = Report(
        f"Posts end to end, {_SENDERS} senders", ("smsbridge", "plain handler", "ratio")
    )
    async with AsyncExitStack() as stack:
        endpoint = Endpoint("crm", bench.receiver.url, "twilio")
        daemon = Daemon(bench.place("daemon"), [endpoint], tables=_TABLES, source="posts")
        stack.callback(daemon.end)
        plain: dict[str, Plain] = {}
        for client in ("httpx", "aiohttp"):
            place = bench.place(client)
            plain[client] = Plain(place, bench.receiver.url, "plain_posts.py", client)
            stack.callback(plain[client].end)
        for program in (daemon, *plain.values()):
            await bench.warm(program, _SENDERS, TWILIO)
        programs = {"smsbridge": daemon, **plain}
        rounds = [await _turn(bench, programs) for _ in range(bench.size.rounds)]
        ours = [each["smsbridge"] for each in rounds]
        for client, target in (("httpx", 1.5), ("aiohttp", None)):
            theirs = [each[client] for each in rounds]
            ratio = Spread.of([a.rate / b.rate for a, b in zip(ours, theirs, strict=True)])
            by_cpu = Spread.of([b.cpu_us / a.cpu_us for a, b in zip(ours, theirs, strict=True)])
            report.lines += [
                Line(
                    f"posts/s, beside one with {client}",
                    str(Spread.of([each.rate for each in ours])),
                    str(Spread.of([each.rate for each in theirs])),
                    f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})",
                    "" if target is None else f"≥ {target:.1f}×",
                    None if target is None else ratio.median >= target,
                ),
                Line(
                    "processor µs a post",
                    str(Spread.of([each.cpu_us for each in ours])),
                    str(Spread.of([each.cpu_us for each in theirs])),
                    f"{by_cpu.median:.2f}× less",
                ),
            ]
            report.numbers[client] = {"ratio": asdict(ratio), "plain": list(map(asdict, theirs))}
        report.numbers["smsbridge"] = list(map(asdict, ours))
        own = statistics.median([each.load_us for each in ours])
        report.notes.append(f"the bench itself used {own:.0f} µs a post")
        for name, program in (("smsbridge", daemon), ("plain, httpx", plain["httpx"])):
            answered, _ = await bench.steady(program, TWILIO)
            good = answered.p99 < 10 if program is daemon else None
            report.lines.append(
                Line(
                    f"{name}: to the answer at 50/s, ms",
                    f"p50 {answered.p50:.2f}",
                    f"p99 {answered.p99:.2f}",
                    f"greatest {answered.longest:.2f}",
                    "p99 < 10" if good is not None else "",
                    good,
                )
            )
            report.numbers[f"{name}: to the answer"] = asdict(answered)
        daemon.audit()
    return report


async def _turn(bench: Bench, programs: Mapping[str, Program]) -> dict[str, Round]:
    return {
        name: await bench.round(name, program, bench.size.messages, _SENDERS, True, TWILIO)
        for name, program in programs.items()
    }
