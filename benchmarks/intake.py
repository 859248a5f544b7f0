"""The intake alone: mails of nobody's, from Postfix's own smtp-source, beside a real Postfix.

Both write each mail to disk before they answer 250. We put them into quarantine, and Postfix hands
them to its discard transport.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Final

import programs
from figures import Bench, Line, Report, Spread
from programs import Daemon, Endpoint

_SENDERS: Final = 10
_BYTES: Final = 800  # of a mail's text
_LIMIT: Final = 120.0  # seconds that any one run may take
_TARGETS: Final = (("new", 1.3), ("reused", 2.5))


async def intake(bench: Bench) -> Report:
    """Measure mails accepted a second, durably, with new connections and with reused ones."""
    report = Report(
        f"Durable intake, {_SENDERS} sessions of smtp-source, {_BYTES} bytes",
        ("smsbridge", "postfix", "ratio"),
    )
    # The server is the tests' own, and so is what it needs.
    sys.path.append(str(programs.ROOT))
    from tests.servers.programs import find

    if find("postfix") is None or _source() is None:
        report.notes.append("skipped: Postfix is not here (Debian package postfix)")
        return report
    from tests.servers.postfix import Postfix

    async with AsyncExitStack() as stack:
        # Else a single stranger may fill a part of the quarantine only, and then gets 452.
        daemon = Daemon(
            bench.place("intake"),
            [Endpoint("crm", bench.receiver.url)],
            limits='quarantine_mails = 1_000_000\nquarantine_size = "4GiB"',
        )
        stack.callback(daemon.end)
        postfix = stack.enter_context(Postfix(target=9))  # nothing goes there
        ports = (daemon.address[1], postfix.port)
        sent = 0
        for words, target in _TARGETS:
            rounds: list[tuple[float, float]] = []
            for port in ports:  # caches and processes
                await _send(port, bench.size.messages // 5, reuse=words == "reused")
            for _ in range(bench.size.rounds):
                ours, theirs = [
                    await _send(port, bench.size.messages, reuse=words == "reused")
                    for port in ports
                ]
                rounds.append((ours, theirs))
            sent += bench.size.messages // 5 + bench.size.rounds * bench.size.messages
            ratio = Spread.of([ours / theirs for ours, theirs in rounds])
            report.lines.append(
                Line(
                    f"accepted/s, {words} connections",
                    str(Spread.of([ours for ours, _ in rounds])),
                    str(Spread.of([theirs for _, theirs in rounds])),
                    f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})",
                    f"≥ {target:.1f}×",
                    ratio.median >= target,
                )
            )
            report.numbers[words] = {"ratio": asdict(ratio), "rounds": rounds}
        if daemon.arrivals() != sent:
            raise programs.NotStarted(f"{daemon.arrivals()} of {sent} mails are in the store")
        daemon.audit()
    return report


def _source() -> str | None:
    return shutil.which("smtp-source", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


async def _send(port: int, count: int, *, reuse: bool) -> float:
    """Have smtp-source send; return the mails a second."""
    program = _source()
    assert program is not None
    arguments = ["-s", str(_SENDERS), "-m", str(count), "-l", str(_BYTES)]
    arguments += ["-f", "nobody@stranger.example", "-t", "sms@discard.example"]
    arguments += ["-d"] if reuse else []
    began = time.perf_counter()
    sending = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        f"127.0.0.1:{port}",
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_LIMIT):
        _, said = await sending.communicate()
    if sending.returncode != 0 or said:
        raise programs.NotStarted(f"smtp-source says: {said.decode(errors='replace')[:300]}")
    return count / (time.perf_counter() - began)
