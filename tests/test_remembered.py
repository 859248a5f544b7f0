"""What is remembered is bounded, and changes nobody's result."""

from __future__ import annotations

import gc
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import mail, numbers
from bridge.mail import charsets, mime, sender
from bridge.model import Email
from bridge.net import limits, listening
from bridge.remembered import Remembered, remembered
from bridge.sources.smtp import syntax
from bridge.trust import networks

FUNCTIONS = (
    charsets.known,
    limits._network_of,
    listening._address,
    mime._content_type,
    networks.addresses_of,
    numbers.normalise,
    sender._read,
    syntax._literal,
)
# Pieces of which neighbours differ by as little as possible.
WORDS = (
    b"text/plain",
    b"TEXT/plain",
    b"; charset=utf-8",
    b"; charset=utf-7",
    b"; charset*0=utf-",
    b" ",
)
ADDRESSES = (
    b"a@agiletelecom.com",
    b"A@agiletelecom.com",
    b"a@agiletelecom.co",
    b"<",
    b">",
    b"\t",
    b"\xe2\x84\xaa",
)


def test_the_list_above_is_complete() -> None:
    """Each function that remembers is held to what follows."""
    found = {each.__qualname__ for each in gc.get_objects() if isinstance(each, Remembered)}
    ours = {each.__qualname__ for each in FUNCTIONS}
    assert found - {"_twice"} == ours  # those of this file aside


@remembered(entries=3, longest=4)
def _twice(text: str, more: str = "") -> str:
    return (text + more) * 2


def test_entries_and_their_size_are_bounded() -> None:
    """The oldest is forgotten, and what is long never kept; both are worked out each time."""
    for number in range(10):
        assert _twice(str(number)) == str(number) * 2
    assert len(_twice) == 3
    short = _twice("9")
    for number in range(10):
        assert _twice(f"1234{number}") == f"1234{number}" * 2
    assert _twice("9") is short  # which no long one has driven out
    assert [_twice("5"), _twice("5", "x"), _twice("5", more="y")] == ["55", "5x5x", "5y5y"]


def test_all_that_is_remembered_is_little() -> None:
    """A stranger who writes something new each time gets a few MB at the very most."""
    assert sum(each.entries * each.longest for each in FUNCTIONS) < 2_000_000


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(b"".join), max_size=30))
def test_a_content_type_is_read_the_same_after_any_others(written: list[bytes]) -> None:
    """What mails before it said about theirs decides nothing."""
    for each, default in product(written, ("text/plain", "message/rfc822")):
        found = mime._content_type(each, default)
        assert found == mime._content_type.function(each, default)


@given(st.lists(st.lists(st.sampled_from(ADDRESSES), max_size=4).map(b"".join), max_size=30))
def test_a_sender_is_read_the_same_after_any_others(written: list[bytes]) -> None:
    """Nobody becomes a provider by looking like the mail before."""
    for each in written:
        assert sender._read(each) == sender._read.function(each)


@given(st.lists(st.tuples(st.text("+039 ٣", max_size=14), st.sampled_from((None, "IT", "DE")))))
def test_a_number_is_read_the_same_after_any_others(written: list[tuple[str, str | None]]) -> None:
    """A number is read in the region of its own provider, whichever asked before."""
    for each in written:
        assert numbers.normalise(*each) == numbers.normalise.function(*each)


def test_a_mail_is_read_the_same_after_any_other() -> None:
    """Each pair of mails in both orders, alike but for one header, gives each its own result."""
    froms = (b"a@agiletelecom.com", b"A@AGILETELECOM.COM", b"<a@agiletelecom.com> x", b"\0a@b.c")
    types = (b"text/plain", b"text/html", b"text/plain; charset=utf-16", b"nonsense")
    mails = [
        b"From: %b\r\nContent-Type: %b\r\n\r\n<b>1</b>\r\n" % each for each in product(froms, types)
    ]

    def read(raw: bytes) -> tuple[object, ...]:
        email = mail.decode(raw)
        assert isinstance(email, Email)
        return email.sender, email.sender_defect, email.text, email.charset, email.warnings

    first = [read(raw) for raw in mails]
    assert len(set(first)) == 3 * 4  # the first two addresses are one
    for one, other in product(range(len(mails)), repeat=2):
        assert (read(mails[one]), read(mails[other])) == (first[one], first[other])


def test_a_result_cannot_be_changed() -> None:
    """The next mail gets the same object."""
    _, parameters, _ = mime._content_type(b"text/plain; charset=utf-8", "text/plain")
    with pytest.raises(TypeError):
        parameters["charset"] = "utf-7"  # type: ignore[index]
