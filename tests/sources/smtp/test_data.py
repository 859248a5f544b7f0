from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sources.smtp.data import DataStream, has_line_over

# Ends of data that some server out there believes in, or once did.
FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\x00\r\n.\n", b"\n\n.\r\n", b"\r\r\n.\n", b"\r\n.\r\r\n",
    b"\n\r.\r\n", b"\r\n .\r\n", b"\r\n. \r\n", b"\r\n\t.\r\n", b"\n\r\n.\n", b"\r\n.\n\r",
    b"\x85.\x85", b"\x0b.\x0b", b"\x0c.\x0c", b"\r\n\xc0\x8a.\r\n",
]  # fmt: skip


def stuff(content: bytes) -> bytes:
    """Do as a sender does (RFC 5321 §4.5.2)."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def read(stream: DataStream, sent: bytes, cuts: list[int]) -> bytes | None:
    places = [0, *sorted(cuts), len(sent)]
    rest = None
    for begin, end in pairwise(places):
        if rest is not None:
            rest += sent[begin:end]
        else:
            rest = stream.feed(sent[begin:end])
    return rest


@given(
    st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a", b"\x00", b"\r\n.", b"\r\n.\n"])),
    st.binary(max_size=8),
    st.data(),
)
def test_whatever_is_sent_comes_out_as_it_was_however_it_is_cut(
    pieces: list[bytes], after: bytes, data: st.DataObject
) -> None:
    """A mail comes out byte for byte, and what follows it is left, wherever chunks end."""
    content = b"".join(pieces)
    if content:
        content += b"\r\n"
    sent = stuff(content) + b".\r\n" + after
    cuts = data.draw(st.lists(st.integers(0, len(sent))))
    stream = DataStream()
    assert read(stream, sent, cuts) == after
    assert stream.content() == content


@given(st.integers(0, 40), st.lists(st.integers(0, 60)))
def test_a_mail_that_is_thrown_away_is_still_measured_and_ended(kept: int, cuts: list[int]) -> None:
    """After discard() the size goes on counting, little is kept, and the end is still found."""
    content = b"x" * 30 + b"\r\n..\r\n" + b"y" * 20
    stream = DataStream()
    assert stream.feed(content[:kept]) is None
    stream.discard()
    assert read(stream, content[kept:], [min(each, len(content) - kept) for each in cuts]) is None
    assert stream.size == len(content) - 1  # one doubled dot
    assert len(stream._kept) <= 4
    assert stream.feed(b"\r\n.\r\nNOOP") == b"NOOP"


@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_only_crlf_dot_crlf_ends_a_mail(false_end: bytes) -> None:
    """No other sequence ends a mail, so none can split one in two."""
    stream = DataStream()
    assert stream.feed(b"a" + false_end + b"MAIL FROM:<evil@x>\r\n") is None
    assert stream.feed(b".\r\n") == b""
    assert b"MAIL FROM:<evil@x>\r\n" in stream.content()


def test_an_empty_mail_is_empty() -> None:
    """A dot right after DATA ends a mail without a byte."""
    stream = DataStream()
    assert stream.feed(b".\r\n") == b""
    assert stream.content() == b""


def test_a_single_leading_dot_goes_even_if_the_sender_did_not_double_it() -> None:
    """RFC 5321 deletes the first dot of any longer line."""
    stream = DataStream()
    stream.feed(b".a\r\n..b\r\nc.\r\n.\r\n")
    assert stream.content() == b"a\r\n.b\r\nc.\r\n"


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([b"\r\n", b"\n"]))), st.integers(1, 10)
)
def test_a_long_line_is_found_as_by_splitting(lines: list[tuple[int, bytes]], most: int) -> None:
    """The leaping search agrees with splitting into lines and measuring each."""
    content = b"".join(b"x" * length + line_end for length, line_end in lines)
    assert has_line_over(content, most) == any(length > most for length, _ in lines)
