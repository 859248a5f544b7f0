"""Reads 200,000 mutations of the fixtures: none may raise, none may take 250 ms.

    python -m benchmarks.fuzz [--cases 200000] [--seed N] [--processes 2] [--case N]

Each case is made from the seed and its number alone, so `--seed S --case N` shows one again.
Times are the process's own CPU time, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final

from rich.progress import Progress

from bridge import mail, providers
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers.base import Explains
from tests.providers.reading import PROVIDERS

FIXTURES: Final = Path(__file__).parents[1] / "tests" / "providers" / "fixtures"
SLOWEST_ALLOWED: Final = 0.25  # seconds
_CHUNK: Final = 500
_HEADERS_TOO: Final = 0.25  # of all cases
_LONGEST: Final = 200_000  # bytes; a mutation that grows over it is cut

NASTY: Final = (
    b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\xff", b"\x80", b"=", b"=\r\n",
    b"=?utf-8?q?=0A?=",
    b"From: ", b"\r\nFrom: +1", b"To:\r\n", b"Body", b"\r\nBody: ", b"Date/Time:", b"\t", b":",
    b"*", b"From:\r\n" * 50, b"\r\nfrom\r\n\r\n" * 50, b" " * 500, b"\xa0" * 100, b"\xef\xbc\x9a",
    b"<", b">", b"<a", b"<!--", b"-->", b"<table><tr><td>", b"</td><td>", b"</table>",
    b"<br>" * 50, b"<td>" * 100, b"<table>" * 100, b"<style>", b"</style", b"<pre>",
    b"<head>", b"&#0;", b"&#13;",
    b"&amp;", b"&timestamp=", b"&" * 100, b"<a b='", b'="', b"--b\r\n", b"--=_1\r\n", b"--=_1--",
    b"Content-Type: text/html\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
    b"Content-Type: text/plain; charset=utf-16\r\n",
    b"Content-Type: text/plain; charset=utf-7\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"charset=iso-2022-jp", b"charset=iso-2022-kr", b"charset=gb18030", b"format=flowed; delsp=yes",
    b"99999999999999999999", b"20260229250000", b"1775651452000", "\u202e".encode(), b"\x1b$B",
)  # fmt: skip

_TYPES: Final = (
    b"text/html", b"text/html; charset=utf-16", b"text/plain; charset=utf-16le", b"text/plain; x",
    b"text/plain; charset=iso-2022-jp", b"text/plain; charset=gb18030; format=flowed; delsp=yes",
    b"text/plain; charset=utf-7", b"multipart/alternative; boundary=b", b"multipart/mixed",
)  # fmt: skip
CONTENT: Final = (
    *((b"Content-Type", b"Content-Type: " + value) for value in _TYPES),
    *(
        (b"Content-Transfer-Encoding", b"Content-Transfer-Encoding: " + value)
        for value in (b"base64", b"quoted-printable", b"x-uuencode", b"8bit")
    ),
)


@dataclass(slots=True)
class Run:
    """What some cases came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    raised: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, other: Run) -> None:
        """Put another part's results to these."""
        self.outcomes += other.outcomes
        self.raised += other.raised
        self.slowest = max(self.slowest, other.slowest)


@cache
def fixtures() -> tuple[bytes, ...]:
    """Give all fixture mails, in an order that is the same everywhere."""
    return tuple(path.read_bytes() for path in sorted(FIXTURES.rglob("*.eml")))


def mutated(seed: int, number: int) -> bytes:
    """Make one case: a fixture with one to eight mutations.

    Most spare the headers, or nearly all cases would end at a From that is not believed.
    """
    rng = random.Random(f"{seed}:{number}")
    whole = rng.choice(fixtures())
    head, blank, content = whole.partition(b"\r\n\r\n")
    if rng.random() < _HEADERS_TOO:
        head, blank, content = b"", b"", whole
    elif rng.random() < _HEADERS_TOO:
        wanted, new = rng.choice(CONTENT)
        head = re.sub(rb"(?im)^%b:[^\r]*(\r\n[ \t][^\r]*)*" % wanted, lambda _: new, head)
    raw = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        rng.choice(MUTATIONS)(rng, raw)
        del raw[_LONGEST:]
    return head + blank + bytes(raw)


def _span(rng: random.Random, raw: bytearray, longest: int = 200) -> slice:
    start = rng.randint(0, len(raw))
    return slice(start, start + rng.randint(0, longest))


def _insert(rng: random.Random, raw: bytearray) -> None:
    at = rng.randint(0, len(raw))
    raw[at:at] = rng.choice(NASTY)


def _replace(rng: random.Random, raw: bytearray) -> None:
    raw[_span(rng, raw, 10)] = rng.choice(NASTY)


def _noise(rng: random.Random, raw: bytearray) -> None:
    raw[_span(rng, raw, 10)] = rng.randbytes(rng.randint(0, 10))


def _cut(rng: random.Random, raw: bytearray) -> None:
    del raw[_span(rng, raw)]


def _end(rng: random.Random, raw: bytearray) -> None:
    del raw[rng.randint(0, len(raw)) :]


def _double(rng: random.Random, raw: bytearray) -> None:
    piece = bytes(raw[_span(rng, raw)])
    at = rng.randint(0, len(raw))
    raw[at:at] = piece * rng.choice((1, 1, 2, 100))


def _splice(rng: random.Random, raw: bytearray) -> None:
    other = rng.choice(fixtures())
    raw[rng.randint(0, len(raw)) :] = other[rng.randint(0, len(other)) :]


def _shuffle(rng: random.Random, raw: bytearray) -> None:
    lines = bytes(raw).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    raw[:] = b"\n".join(lines)


def _flip(rng: random.Random, raw: bytearray) -> None:
    if raw:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


MUTATIONS: Final[tuple[Callable[[random.Random, bytearray], None], ...]] = (
    _insert, _insert, _replace, _noise, _cut, _end, _double, _splice, _shuffle, _flip,
)  # fmt: skip


def outcome(raw: bytes) -> str:
    """Read a mail as the line does, and tell what it became; whatever raises, raises here."""
    email = mail.decode(raw)
    if not isinstance(email, Email):
        # decode makes a value of every exception of its own, which must not hide it here.
        assert "failed" not in email.detail, email.detail
        return email.reason.value
    provider = providers.choose(PROVIDERS, email)
    if isinstance(provider, Unreadable):
        return provider.reason.value
    result = provider.read_email(email)
    if isinstance(provider, Explains):
        provider.explain(email)
    if isinstance(result, SmsMessage):
        result.body.encode("utf-8")
        return "message"
    return result.reason.value if isinstance(result, Unreadable) else "ignored"


def chunk(first: int, *, seed: int, cases: int) -> tuple[int, Run]:
    """Run some cases in a row; give how many and what they came to."""
    run = Run()
    last = min(first + _CHUNK, cases)
    for number in range(first, last):
        raw = mutated(seed, number)
        began = time.process_time()
        try:
            run.outcomes[outcome(raw)] += 1
        except Exception as error:  # noqa: BLE001  finding these is what this is for
            run.raised.append((number, f"{type(error).__name__}: {error}"[:200]))
        run.slowest = max(run.slowest, (time.process_time() - began, number))
    return last - first, run


def fuzz(seed: int, cases: int, processes: int) -> Run:
    """Run all cases, in this process or in several."""
    total = Run()
    work = partial(chunk, seed=seed, cases=cases)
    firsts = range(0, cases, _CHUNK)
    if processes == 1:
        for first in firsts:
            total.add(work(first)[1])
        return total
    with (
        Progress(disable=not sys.stdout.isatty()) as progress,
        multiprocessing.Pool(processes) as pool,
    ):
        bar = progress.add_task("cases", total=cases)
        for count, run in pool.imap_unordered(work, firsts):
            total.add(run)
            progress.advance(bar, count)
    return total


def main() -> int:
    """Run, print, and return 1 if a case raised or was too slow."""
    parser = argparse.ArgumentParser(description="Reads mutations of the fixtures.")
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", type=int, help="write this one case's mail and run it alone")
    wanted = parser.parse_args()
    if wanted.case is not None:
        raw = mutated(wanted.seed, wanted.case)
        sys.stdout.buffer.write(raw)
        sys.stdout.flush()
        print(f"\n--- {outcome(raw)}", file=sys.stderr)
        return 0
    print(f"seed {wanted.seed}, {wanted.cases} mutations of {len(fixtures())} mails", flush=True)
    began = time.monotonic()
    run = fuzz(wanted.seed, wanted.cases, wanted.processes)
    elapsed = time.monotonic() - began
    for name, count in run.outcomes.most_common():
        print(f"  {name:12} {count:8}")
    seconds, number = run.slowest
    print(f"{wanted.cases / elapsed:.0f} cases/s, {elapsed:.0f} s, {wanted.processes} processes")
    print(f"slowest {seconds * 1000:.1f} ms (case {number}), raised {len(run.raised)}")
    for number, said in run.raised[:10]:
        print(f"  case {number}: {said}")
    return 1 if run.raised or seconds > SLOWEST_ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
