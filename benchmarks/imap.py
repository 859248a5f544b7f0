"""The figures of a mailbox: a real Dovecot, the real daemon, and a plain imaplib loop beside it."""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import load
import programs
from figures import Bench, Line, Report, Spread
from programs import SECRET, Daemon, Endpoint, Mailbox

if TYPE_CHECKING:
    from tests.servers.dovecot import DovecotServer

_LIMIT: Final = 300.0  # seconds that any one round may take
_ROUNDS: Final = 3  # a backlog takes long enough to say much with few
_FLAT: Final = 15.0  # MB that the last nine tenths of a backlog may add
_PUSH: Final = 50.0  # ms from the server's push to our POST, p50
_EXISTS: Final = re.compile(rb"(?:\A|\r\n)\* \d+ EXISTS\r\n")


async def imap(bench: Bench) -> Report:
    """Measure what comes by push, and how a mailbox full of mail is taken in."""
    report = Report("A mailbox on Dovecot", ("smsbridge", "plain imaplib", "ratio"))
    # The server is the tests' own, and so is what it needs.
    sys.path.append(str(programs.ROOT))
    from tests.servers.programs import PACKAGES, find

    missing = [each for each in ("dovecot", "lmtp", "openssl") if find(each) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[each] for each in missing}))
        report.notes.append(f"skipped: Dovecot is not here (Debian packages {packages})")
        return report
    from tests.servers.dovecot import running_dovecot

    with running_dovecot() as server:
        await _pushes(bench, server, report)
        await _backlog(bench, server, report)
    return report


class _Tap:
    """Stands between daemon and mail server and stamps the moment when a push goes by."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.idles = 0  # how often the daemon began to wait
        self.pushed: float | None = None  # when, since `forget`

    async def open(self) -> None:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Hang up."""
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        for task in (self._pass(reader, back, up=True), self._pass(there, writer, up=False)):
            running = asyncio.get_running_loop().create_task(task)
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if not up and self.pushed is None and _EXISTS.search(data):
                    self.pushed = time.perf_counter()
                writer.write(data)
                if up and data.endswith(b" IDLE\r\n"):
                    self.idles += 1
        finally:
            writer.close()

    def forget(self) -> None:
        """Be ready to stamp the next push."""
        self.pushed = None

    async def idle(self, times: int) -> None:
        """Wait until the daemon has begun to wait for pushes so many times."""
        async with asyncio.timeout(_LIMIT):
            while self.idles < times:
                await asyncio.sleep(0.002)


async def _pushes(bench: Bench, server: DovecotServer, report: Report) -> None:
    """Let mails come one by one; only one is under way at a time, so each push has its mail."""
    from tests.servers.dovecot import PASSWORD

    count = bench.size.pushes
    user = server.new_user()
    made = load.mails(count, f"push{int(time.time())}")
    by_push: list[float] = []
    by_lmtp: list[float] = []
    tap = _Tap(server.imap_port)
    await tap.open()
    place = bench.place("push")
    mailbox = Mailbox(tap.port, user, PASSWORD)
    daemon = Daemon(place, [Endpoint("crm", bench.receiver.url)], mailbox=mailbox)
    try:
        bench.receiver.expect(count)
        for number, mail in enumerate(made):
            await tap.idle(number + 1)
            await asyncio.sleep(random.uniform(0.1, 0.4))  # not in step with Dovecot's own clock
            tap.forget()
            taken = await asyncio.to_thread(_deliver, server, user, mail)
            async with asyncio.timeout(_LIMIT):
                while len(bench.receiver.webhooks) <= number:
                    await asyncio.sleep(0.001)
            at = bench.receiver.webhooks[number].at
            if tap.pushed is None:
                raise load.Refused("a message came without a push: this would measure the poll")
            by_push.append((at - tap.pushed) * 1000)
            by_lmtp.append((at - taken) * 1000)
        bench.receiver.check(made, SECRET)
    finally:
        daemon.end()
        await tap.close()
    daemon.audit()
    for words, values in (("push to POST", by_push), ("LMTP's 250 to POST", by_lmtp)):
        values.sort()
        p50, p99 = values[len(values) // 2], values[int(len(values) * 0.99)]
        ours = f"p50 {p50:.1f}, p99 {p99:.1f}"
        target, good = (f"p50 < {_PUSH:.0f}", p50 < _PUSH) if values is by_push else ("", None)
        report.lines.append(Line(f"{words}, ms", ours, "", "", target, good))
        report.numbers[words] = {"p50": p50, "p99": p99, "all": values}
    report.notes.append(
        f"{count} mails one by one; of the time from LMTP's 250, Dovecot itself waits up to "
        "500 ms before it pushes"
    )


def _deliver(server: DovecotServer, user: str, mail: load.Mail) -> float:
    server.deliver(user, _raw(mail))
    return time.perf_counter()


def _raw(mail: load.Mail) -> bytes:
    return mail.wire.removesuffix(b".\r\n")


@dataclass(frozen=True, slots=True)
class _Taken:
    """One backlog taken in by the daemon."""

    rate: float  # until all is stored, and marked as read where that is asked for
    delivered_rate: float | None  # until all is delivered and recorded
    cpu_us: float
    first_mb: float  # resident when a tenth was stored
    last_mb: float  # and when all was


async def _backlog(bench: Bench, server: DovecotServer, report: Report) -> None:
    from tests.servers.dovecot import PASSWORD

    count = bench.size.mailbox
    user = server.new_user()
    made = load.mails(count, f"backlog{int(time.time())}")
    await asyncio.to_thread(server.fill, user, (_raw(mail) for mail in made))
    await asyncio.to_thread(_unread, server, user)  # and Dovecot has made its index
    ours: dict[str, list[_Taken]] = {"leave": [], "seen": []}
    plain: dict[str, list[float]] = {"leave": [], "seen": [], "compat32": []}
    delivering: list[_Taken] = []
    for _ in range(min(_ROUNDS, bench.size.rounds)):
        for on_message in ("leave", "seen"):
            mailbox = Mailbox(server.imap_port, user, PASSWORD, on_message)
            ours[on_message].append(await _take(bench, server, mailbox, made, deliver=False))
            await asyncio.to_thread(_unread, server, user)
            plain[on_message].append(await _loop(mailbox, "default", count))
            await asyncio.to_thread(_unread, server, user)
        mailbox = Mailbox(server.imap_port, user, PASSWORD)
        plain["compat32"].append(await _loop(mailbox, "compat32", count))
        delivering.append(await _take(bench, server, mailbox, made, deliver=True))
    for on_message, taken in ours.items():
        ratio = Spread.of([a.rate / b for a, b in zip(taken, plain[on_message], strict=True)])
        report.lines.append(
            Line(
                f'{count:,} waiting, "{on_message}": messages/s',
                str(Spread.of([each.rate for each in taken])),
                str(Spread.of(plain[on_message])),
                f"{ratio.median:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})",
                "≥ 1.0×",
                ratio.median >= 1,
            )
        )
    old = Spread.of([a.rate / b for a, b in zip(ours["leave"], plain["compat32"], strict=True)])
    delivered = [each.delivered_rate for each in delivering if each.delivered_rate is not None]
    during = Spread.of([a.rate / b for a, b in zip(delivering, plain["leave"], strict=True)])
    grown = max(each.last_mb - each.first_mb for each in ours["leave"] + ours["seen"])
    report.lines += [
        Line(
            '"leave", beside policy compat32',
            str(Spread.of([each.rate for each in ours["leave"]])),
            str(Spread.of(plain["compat32"])),
            f"{old.median:.2f}× ({old.low:.2f} to {old.high:.2f})",
        ),
        Line(
            '"leave", delivering meanwhile',
            str(Spread.of([each.rate for each in delivering])),
            str(Spread.of(plain["leave"])),
            f"{during.median:.2f}× ({during.low:.2f} to {during.high:.2f})",
        ),
        Line("  … until all is delivered", str(Spread.of(delivered))),
        Line(
            "resident MB, a tenth stored → all",
            f"{ours['leave'][-1].first_mb:.1f} → {ours['leave'][-1].last_mb:.1f}",
            "",
            "",
            f"+{_FLAT:.0f} at most",
            grown <= _FLAT,
        ),
    ]
    used = Spread.of([each.cpu_us for each in ours["leave"]])
    report.notes.append(
        f'the daemon used {used.median:,.0f} processor µs a message ("leave", nothing delivered); '
        "the plain loop stores nothing and delivers nothing"
    )
    report.numbers["backlog"] = {
        "smsbridge": {name: [asdict(each) for each in taken] for name, taken in ours.items()},
        "delivering": [asdict(each) for each in delivering],
        "plain": plain,
    }


async def _take(
    bench: Bench, server: DovecotServer, mailbox: Mailbox, made: list[load.Mail], *, deliver: bool
) -> _Taken:
    """Let a daemon with an empty store take in the mailbox; Python's own start is left out."""
    count = len(made)
    bench.receiver.expect(count)
    endpoints = [Endpoint("crm", bench.receiver.url, "agile" if deliver else "other")]
    daemon = Daemon(bench.place("backlog"), endpoints, mailbox=mailbox)
    try:
        first_mb = 0.0
        cpu = daemon.cpu()
        async with asyncio.timeout(_LIMIT):
            while (stored := daemon.arrivals()) < count:
                if not first_mb and stored >= count / 10:
                    first_mb = daemon.memory()
                await asyncio.sleep(0.02)
            if mailbox.on_message == "seen":
                while await asyncio.to_thread(_unseen, server, mailbox.user):
                    await asyncio.sleep(0.02)
        ended = time.time()
        cpu = daemon.cpu() - cpu
        last_mb = daemon.memory()
        began = daemon.said("imap.leads")
        if began is None or daemon.messages() != count:
            raise load.Refused("the daemon did not take in each mail as a message")
        delivered_rate = None
        if deliver:
            await bench.receiver.all(_LIMIT)
            await daemon.settled(count)
            delivered_rate = count / (time.time() - began)
            bench.receiver.check(made, SECRET)
    finally:
        daemon.end()
    daemon.audit()
    return _Taken(count / (ended - began), delivered_rate, cpu / count * 1e6, first_mb, last_mb)


async def _loop(mailbox: Mailbox, policy: str, count: int) -> float:
    """Run the plain loop once; return its messages a second."""
    script = str(Path(__file__).with_name("plain_imap.py"))
    seen = "1" if mailbox.on_message == "seen" else "0"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        str(mailbox.port),
        mailbox.user,
        mailbox.password,
        policy,
        seen,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    messages, seconds = said.split()
    if int(messages) != count:
        raise load.Refused(f"the plain loop read {int(messages)} of {count}")
    return count / float(seconds)


def _unread(server: DovecotServer, user: str) -> None:
    """Make all mails unseen again, so that each round finds the same mailbox."""
    with server.session(user) as client:
        client.store("1:*", "-FLAGS.SILENT", "\\Seen")


def _unseen(server: DovecotServer, user: str) -> int:
    with server.session(user) as client:
        return len(client.search(None, "UNSEEN")[1][0].split())
