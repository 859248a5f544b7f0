"""Mutations of bytes, and the pieces that they insert; every choice comes from the given `rng`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

FIXTURES: Final = Path(__file__).parents[1] / "tests" / "providers" / "fixtures"
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


@cache
def fixtures() -> tuple[bytes, ...]:
    """Return all fixture mails, in an order that is the same everywhere."""
    return tuple(path.read_bytes() for path in sorted(FIXTURES.rglob("*.eml")))


def mutate(
    rng: random.Random,
    content: bytes,
    others: Sequence[bytes] = (),
    pieces: Sequence[bytes] = NASTY,
    most: int = 8,
) -> bytes:
    """Apply one to `most` mutations, which insert `pieces` and splice `others`."""
    raw = bytearray(content)
    for _ in range(rng.randint(1, most)):
        rng.choice(MUTATIONS)(rng, raw, others or (content,), pieces)
        del raw[_LONGEST:]
    return bytes(raw)


def _span(rng: random.Random, raw: bytearray, longest: int = 200) -> slice:
    start = rng.randint(0, len(raw))
    return slice(start, start + rng.randint(0, longest))


_Pieces = Sequence[bytes]


def _insert(rng: random.Random, raw: bytearray, _others: _Pieces, pieces: _Pieces) -> None:
    at = rng.randint(0, len(raw))
    raw[at:at] = rng.choice(pieces)


def _replace(rng: random.Random, raw: bytearray, _others: _Pieces, pieces: _Pieces) -> None:
    raw[_span(rng, raw, 10)] = rng.choice(pieces)


def _noise(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    raw[_span(rng, raw, 10)] = rng.randbytes(rng.randint(0, 10))


def _cut(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    del raw[_span(rng, raw)]


def _end(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    del raw[rng.randint(0, len(raw)) :]


def _double(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    piece = bytes(raw[_span(rng, raw)])
    at = rng.randint(0, len(raw))
    raw[at:at] = piece * rng.choice((1, 1, 2, 100))


def _splice(rng: random.Random, raw: bytearray, others: _Pieces, _pieces: _Pieces) -> None:
    other = rng.choice(others)
    raw[rng.randint(0, len(raw)) :] = other[rng.randint(0, len(other)) :]


def _shuffle(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    lines = bytes(raw).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    raw[:] = b"\n".join(lines)


def _flip(rng: random.Random, raw: bytearray, _others: _Pieces, _pieces: _Pieces) -> None:
    if raw:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


MUTATIONS: Final[tuple[Callable[[random.Random, bytearray, _Pieces, _Pieces], None], ...]] = (
    _insert, _insert, _replace, _noise, _cut, _end, _double, _splice, _shuffle, _flip,
)  # fmt: skip
