"""Responses are cut out of the stream wherever its segments end, and read within bounds."""

from __future__ import annotations

import imaplib
import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sources.imap.wire import (
    Assembler,
    OverLimit,
    folder_name,
    quoted,
    read_date,
    read_fetch,
    read_search,
    search_date,
    uid_set,
)

STREAM = (
    b"* OK hello {3}\r\n"
    b"* 1 FETCH (UID 5 BODY[] {9}\r\nA1 OK x\r\n FLAGS (\\Seen))\r\n"
    b"* 2 FETCH (UID 6 BODY[] {0}\r\n)\r\n"
    b"A1 OK done {9}\r\n"
)
WHOLE = [
    (b"* OK hello {3}",),
    (b"* 1 FETCH (UID 5 BODY[] {9}", b"A1 OK x\r\n", b" FLAGS (\\Seen))"),
    (b"* 2 FETCH (UID 6 BODY[] {0}", b"", b")"),
    (b"A1 OK done {9}",),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_segments_may_end_anywhere(cuts: list[int]) -> None:
    """The same responses come out, however the bytes are parted."""
    assembler = Assembler(100)
    ends = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in pairwise(ends)]
    assert [each for part in parts for each in assembler.feed(part)] == WHOLE
    assert assembler._buffer == b""


def test_many_lines_in_one_segment() -> None:
    """Ten thousand lines need neither recursion nor quadratic time."""
    lines = [f"* {n} FETCH (UID {n} FLAGS ())".encode() for n in range(10_000)]
    found = list(Assembler(10).feed(b"\r\n".join([*lines, b""])))
    assert found == [(line,) for line in lines]


def test_a_literal_over_the_limit_is_refused_when_announced() -> None:
    """Not one byte of it need have come."""
    assembler = Assembler(1000)
    with pytest.raises(OverLimit):
        list(assembler.feed(b"* 1 FETCH (UID 1 BODY[] {1001}\r\n"))


def test_many_literals_count_together() -> None:
    """The limit holds for one response, not for each of its literals."""
    assembler = Assembler(1000)
    with pytest.raises(OverLimit):
        list(assembler.feed(b"* 1 FETCH (X {600}\r\n" + b"x" * 600 + b" Y {600}\r\n"))


def test_a_line_without_end_is_refused() -> None:
    """Memory is bounded although no CRLF comes."""
    assembler = Assembler(10, max_line=1000)
    assert list(assembler.feed(b"*" * 900)) == []
    with pytest.raises(OverLimit):
        list(assembler.feed(b"*" * 200))


@pytest.mark.parametrize(
    ("response", "uid", "items"),
    [
        ((b"* 1 FETCH (FLAGS (\\Seen $X) uid 9)",), 9, {b"FLAGS": (b"\\Seen", b"$X")}),
        ((b"* 1 FETCH (UID 9 BODY[] NIL)",), 9, {b"BODY[]": None}),
        ((b'* 1 FETCH (UID 9 BODY[] "a \\"b\\" NIL")',), 9, {b"BODY[]": b'a "b" NIL'}),
        ((b"* 1 FETCH (BODY[] {3}", b")((", b" UID 9)"), 9, {b"BODY[]": b")(("}),
        ((b"* 1 FETCH (X ((a) b) UID 9)",), 9, {b"X": ((b"a",), b"b")}),
        ((b"* 1 FETCH (FLAGS (a[b \\Seen) BODY[] {1}", b"x", b" UID 9)"), 9, {b"BODY[]": b"x"}),
        (
            (b"* 1 FETCH (BODY[HEADER.FIELDS (TO)] {1}", b"x", b" UID 9)"),
            9,
            {b"BODY[HEADER.FIELDS (TO)]": b"x"},
        ),
    ],
)
def test_fetch(response: tuple[bytes, ...], uid: int, items: dict[bytes, object]) -> None:
    """Items are read in any order, from atoms, strings, literals and lists."""
    found = read_fetch(response)
    assert found is not None
    assert found.uid == uid
    assert {name: found.items[name] for name in items} == items


@pytest.mark.parametrize(
    "response",
    [
        (b"* 1 FETCH (FLAGS (\\Seen))",),
        (b"* 1 FETCH (UID x)",),
        (b"* 1 FETCH NIL",),
        (b"* 1 FETCH ",),
        (b"* 1 EXISTS",),
        (b"* 1 FETCH " + b"(" * 100_000,),
        (b"* 1 FETCH " + b")" * 100_000,),
    ],
)
def test_what_is_no_fetch_with_a_uid(response: tuple[bytes, ...]) -> None:
    """Nobody's body is taken for somebody's."""
    assert read_fetch(response) is None


def test_search() -> None:
    """All SEARCH responses together, in order, whatever else came."""
    lines = [(b"* SEARCH 9 3",), (b"* 4 EXISTS",), (b"* search",), (b"* SEARCH 4 x",)]
    assert read_search(lines) == [3, 4, 9]


def test_dates() -> None:
    """An INTERNALDATE is an instant; nonsense is None."""
    noon = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
    assert read_date(b" 8-Apr-2026 14:30:52 +0200") == noon
    assert read_date(b"08-APR-2026 10:00:52 -0230") == noon
    for nonsense in (b"", b"31-Feb-2026 14:30:52 +0200", b" 8-Abc-2026 14:30:52 +0200"):
        assert read_date(nonsense) is None
    assert read_date(b" 1-Jan-0001 00:00:00 +2300") is None
    assert search_date(2026, 4, 8) == "8-Apr-2026"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", '"INBOX"'),
        ("Sent Mail", '"Sent Mail"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("Tom & Jerry", '"Tom &- Jerry"'),
        ("Entwürfe", '"Entw&APw-rfe"'),
        ("台北", '"&U,BTFw-"'),
        ("a\r\nb", '"a&AA0ACg-b"'),
        ("📱", '"&2D3c8Q-"'),
    ],
)
def test_folder_names(name: str, written: str) -> None:
    """Quoted, and in modified UTF-7 where they are beyond ASCII."""
    assert folder_name(name) == written


def test_quoting() -> None:
    """Only the quote and the backslash are escaped."""
    assert quoted('a"b\\c d') == '"a\\"b\\\\c d"'


@given(st.sets(st.integers(1, 60), min_size=1))
def test_uid_sets_name_exactly_these(uids: set[int]) -> None:
    """A set that is written short says the same."""
    named: set[int] = set()
    for part in uid_set(sorted(uids)).split(","):
        first, _, last = part.partition(":")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == uids


def test_imaplib_agrees_on_dates() -> None:
    """Another reader of INTERNALDATE finds the same moment."""
    text = b'"15-Nov-2026 01:02:03 +0530"'
    ours = read_date(text.strip(b'"'))
    theirs = imaplib.Internaldate2tuple(b"INTERNALDATE " + text)
    assert ours is not None
    assert theirs is not None
    assert ours.timestamp() == time.mktime(theirs)
