"""What a mail costs to read, behind decoding, is bounded; processor time is what counts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bridge import mail, providers
from bridge.config.pattern import compile_pattern
from bridge.mail.limits import MAX_TEXT
from bridge.model import Arrival, Email, MailFile, SmsMessage, Unreadable
from bridge.providers import Provider
from bridge.providers.base import MAX_BODY
from bridge.reader import Reader
from tests.providers.declaring import declared, mail_of
from tests.providers.reading import PROVIDERS

HEAD = b"Subject: SMS\r\nContent-Type: text/%b; charset=utf-8\r\n"
AGILE = b"From: smsin@agiletelecom.com\r\n"
URL_NETWORKS = b"From: sms@pbx.example.com.au\r\n"
ACME = b"From: sms@acme.example\r\n"
TEMPLATE = """
from = [{ label = 'From' }, { line = 1 }, { text = 'from (\\S+)x' }]
to = [{ line = 2 }, { line = -3 }]
id = { line = -1 }
date = { line = -2 }
date_format = 'epoch'
body = [{ label = 'Text' }, { after_blank = true }, { all = true }]
footers = ['^-- $', '^x']
"""
MONTHS = f"months = {[letter * 30 for letter in 'abcdefghijkl']}\n"
ALL = (
    *PROVIDERS,
    declared(TEMPLATE),
    declared(TEMPLATE + "split = '^-{5,}$'", name="split", senders=["split@acme.example"]),
    declared(
        f"recipient = '^x'\n{TEMPLATE}", name="recipients", senders=["recipients@acme.example"]
    ),
    declared(
        "from = { join = [{ label = 'From' }, { line = 2 }] }\nto = { line = 1 }\n"
        f"body = {{ after_blank = true, encoded = 'xml' }}\ndate = {{ line = 3 }}\n{MONTHS}"
        "date_format = ['%d. %B %H:%M %Z', '%B %d %H:%M', 'gsm']\nfooters = '^-- $'\n"
        "ignore = [{ why = 'x', text = 'x from 2' }]\n"
        "part = { file = '(a|b)*x?txt$' }\nsplit = { head = '^(From|x|-+)' }",
        name="parts",
        senders=["parts@acme.example"],
        time_zone="Europe/Rome",
    ),
)
UNITS = (
    b"From: \r\n", b"From: x\r\n", b"From\r\n", b"a:\r\n", b"Body\r\n", b"To:\r\n\r\n\r\n\r\n",
    b"\r\n", b"Body: x\r\n", b" " * 500 + b"x\r\n", b"\t", b"*", b"  x", b"a  \r\n", b"-----\r\n",
    b"-- \r\n", b"x\r\n", b"from ", b"From: 1\r\nText: a\r\n-----\r\n", b"{", b'{"a":', b"x from 1",
)  # fmt: skip
TAGS = (b"<td>From<td>", b"<td>Body", b"<br>From: ", b"<tr><td>From<td>x", b"<pre>  ")


def filled(sender: bytes, unit: bytes, kind: bytes, size: int) -> bytes:
    return sender + HEAD % kind + b"\r\n" + (unit * (size // len(unit)))


def attached(unit: bytes, files: int = 1, size: int = MAX_TEXT - 1000) -> bytes:
    """Make a mail whose last attached file is the one that is read."""
    head = (
        b"From: parts@acme.example\r\nDate: Wed, 08 Apr 2026 12:30:52 +0000\r\n"
        b'Content-Type: multipart/mixed; boundary="="\r\n\r\n'
    )
    name = b'--=\r\nContent-Disposition: attachment; filename="%b"\r\n\r\n'
    content = unit * (size // len(unit)) + b"\r\n"
    other = name % (b"ab" * 900) + content
    return head + other * (files - 1) + name % b"sms.txt" + content + b"--=--\r\n"


BOMBS: dict[str, bytes] = {
    **{
        f"{sender.decode()[6:].strip()} {unit[:20]!r} {size}": filled(sender, unit, b"plain", size)
        for sender in (
            AGILE,
            URL_NETWORKS,
            ACME,
            b"From: split@acme.example\r\n",
        )
        for unit in UNITS
        for size in (MAX_TEXT - 10, 127 * 1024)
    },
    **{
        f"{sender.decode()[6:].strip()} {tag!r}": filled(sender, tag, b"html", 127 * 1024)
        for sender in (AGILE, URL_NETWORKS, ACME)
        for tag in TAGS
    },
    **{
        f"parts {unit[:20]!r}": attached(unit)
        for unit in (*UNITS, b"&amp;", b"&#1;", b"x\r\na\r\n\r\n", b"a" * 30 + b"\r\n")
    },
    "200 files": attached(b"From: 1\r\n", 199, size=2000),
    "one long word in To": b"From: recipients@acme.example\r\nTo: " + b"a" * 62_000 + b"\r\n\r\n",
    "124 KB of To": b"From: recipients@acme.example\r\n" + (b"To: " + b"a" * 60_000 + b"\r\n") * 2
    + b"\r\n",
    "addresses": b"From: recipients@acme.example\r\n" + (b"To: " + b"a@b," * 7_000 + b"\r\n") * 4
    + b"\r\n",
}  # fmt: skip


def read(raw: bytes) -> None:
    email = mail.decode(raw)
    if isinstance(email, Email):
        provider = providers.choose(ALL, email)
        if not isinstance(provider, Unreadable):
            providers.read_signed(provider, email)


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of three runs."""
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_mail_costs_more_than_a_moment(bomb: str) -> None:
    """Decoded, matched and read as a signed mail, all within 0.25 s of processor time."""
    assert seconds(lambda: read(BOMBS[bomb])) < 0.25


VALUE = "{ value = '+391234567890' }"
HEAVY = {
    "one": "body = { all = true }",
    "several": "id = { text = 'b(?:a|b).{190}c' }\nbody = [{ after = 'q.{99}q' }, { all = true }]",
    "optional": f"id = {{ text = 'a{'b?.' * 90}c' }}\nbody = {{ all = true }}",
    "footers": "body = { all = true }\nfooters = ['(?s:.*)a(?s:.){11}c|a', 'a.{190}c$']",
    "split": "id = { subject = 'a.{190}c' }\nbody = { all = true }\nsplit = '^-{5,}$'",
    "header": "id = { header = 'x-a', pattern = 'a.{190}c' }\nbody = { all = true }",
    "mark": "headers = { x-a = 'a.{190}c' }\nbody = { all = true }",
    "recipient": "recipient = 'a.{190}c'\nbody = { all = true }",
}


@pytest.mark.parametrize("size", [6_000, 12_000, 25_000, 60_000, 130_000])
@pytest.mark.parametrize("name", HEAVY)
def test_patterns_that_are_in_many_places_at_once_cost_little(name: str, size: int) -> None:
    """Random letters keep every copy that a count makes in play; what is over the bound is kept."""
    template = f"from = [{{ text = 'a.{{100}}c' }}, {VALUE}]\nto = {VALUE}\n{HEAVY[name]}"
    provider = declared(template)
    rng = random.Random(size)
    text = "".join(rng.choices("ab\N{GRINNING FACE}", k=size))
    if name == "split":
        text = f"{text[:100]}\n-----\n" * 49
    word = "".join(rng.choices("ab", k=min(size, 60_000)))

    def work() -> None:
        email = mail_of(text, word[:8_000], headers=(f"X-A: {word}", f"To: {word}@x"))
        provider.matches(email)
        providers.read_signed(provider, email)

    assert seconds(work) < 0.25


def test_matches_without_a_value_are_passed_over_so_often_and_no_more() -> None:
    """Two hundred of them for each place, in each of fifty SMS, took two seconds."""
    places = ", ".join(f"{{ text = '(x{n}:.)*' }}" for n in range(9))
    template = f"from = [{places}, {VALUE}]\nto = {VALUE}\nbody = {{ all = true }}"
    parts = ("ab\n" * 60 + "\n-----\n") * 49
    provider = declared(f"{template}\nsplit = '^-{{5,}}$'")
    result = provider.read_email(mail_of(parts))
    assert isinstance(result, Unreadable)
    assert "without giving a value" in result.detail
    assert seconds(lambda: provider.read_email(mail_of(parts))) < 0.25
    assert isinstance(provider.read_email(mail_of("ab\n" * 100)), SmsMessage)


@pytest.mark.parametrize("letters", ["a=b\N{GRINNING FACE}é中1 ", "=1 .", "aé中\N{GRINNING FACE}"])
@pytest.mark.parametrize("count", [2, 8, 30])
def test_large_classes_have_room_for_their_states(count: int, letters: str) -> None:
    """A class of a thousand instructions is as fast as a letter, or RE2 would take seconds."""
    pattern = compile_pattern(rf"=*?.*?\pL{{{count}}}|[\x00-\x{{10ffff}}]{{2}}")
    text = "".join(random.Random(count).choices(letters, k=45_000))
    assert seconds(lambda: list(pattern.all(text))) < 0.25


def test_a_pattern_is_ready_before_the_first_mail() -> None:
    """RE2 compiles what finds a match's beginning when it is first asked: at load, for us."""
    patterns = iter([compile_pattern(rf"\pL{{0,50}}{letter}") for letter in "abc"])
    assert seconds(lambda: next(patterns).search("abc")) < 0.01


@pytest.mark.parametrize(
    "template",
    [
        r"footers = '([^<>\s]+.*?(?s:.)?){5,}'",
        "split = '(a|(?P<value>aa)?.{0,20})+'",
        "ignore = [{ why = 'x', text = '((?s:.){2,}a{0,9}){2,}' }]",
    ],
)
def test_groups_cost_nothing_where_no_value_is_wanted(template: str) -> None:
    """What a group matched takes fifty times as long to find as where the match is."""
    provider = declared(f"from = {VALUE}\nto = {VALUE}\nbody = {{ all = true }}\n{template}")
    email = mail_of("a" * 100_000)
    assert seconds(lambda: provider.read_email(email)) < 0.01


@pytest.mark.parametrize("size", [10_000, 50_000, 130_000])
def test_matches_that_look_at_the_whole_rest_are_fewer_in_a_long_text(size: int) -> None:
    """Two hundred of them took 33 ms in a text of 125,000 characters."""
    text = "a" * size
    for pattern in map(compile_pattern, ("a(?s:.*)c|a", "((?s:.)?(?:a|b)?)+\\s{5}|", "a*?b{5,}|a")):
        found = sum(1 for _ in pattern.wholes(text))
        assert found * size < 7_500_000
        assert found > 50


def test_lines_behind_the_one_that_is_meant_are_not_looked_for() -> None:
    """A text can have 60,000 of them."""
    provider = declared("from = { line = 1 }\nto = { line = -2 }\nbody = { line = 3 }")
    email = mail_of("1\n" * 60_000)
    assert seconds(lambda: providers.read_signed(provider, email)) < 0.02


def test_what_is_too_long_to_be_read_is_not_explained() -> None:
    """Explaining searches no more than reading does."""
    provider = declared(f"from = {{ text = '([^<>]{{0,50}}.{{0,50}})+x' }}\nto = {VALUE}\n"
                        "body = { all = true }")  # fmt: skip
    email = mail_of("ab" * 50_000)
    assert isinstance(provider.read_email(email), Unreadable)
    assert provider.explain(email).found == ()
    assert provider.explain(email).text == email.text
    assert seconds(lambda: provider.explain(email)) < 0.01


@pytest.mark.parametrize(("count", "read"), [(1, True), (50, True), (150, False)])
def test_the_longest_sms_is_read_with_patterns(count: int, read: bool) -> None:
    """What the patterns weigh together bounds the text; common ones leave room for any SMS."""
    provider = declared(f"from = {{ text = 'from (\\S{{1,{count}}})$' }}\nto = {VALUE}\n"
                        "body = { after_blank = true }")  # fmt: skip
    result = provider.read_email(mail_of("from 1\n\n" + "a" * MAX_BODY))
    assert isinstance(result, SmsMessage) is read
    if isinstance(result, Unreadable):
        assert "patterns" in result.detail


class Watched:
    """A provider that remembers whether it ran on the event loop."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.on_the_loop: list[bool] = []
        self._provider = provider

    def matches(self, email: Email) -> bool:
        self._look()
        return self._provider.matches(email)

    def read_email(self, email: Email) -> object:
        self._look()
        return self._provider.read_email(email)

    def _look(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.on_the_loop.append(False)
        else:
            self.on_the_loop.append(True)


@pytest.mark.parametrize(("size", "inline"), [(1_000, True), (9_000, False)])
def test_large_mails_are_read_beside_the_loop(size: int, inline: bool) -> None:
    """Matching and reading too, not only decoding: 62 KB of To kept the loop for seconds."""
    watched = Watched(declared("from = { line = 1 }\nto = { line = 1 }\nbody = { all = true }"))
    reader = Reader([watched], None, lambda: datetime.now(UTC))  # type: ignore[list-item]
    raw = ACME + HEAD % b"plain" + b"\r\n1" + b"\r\n" * (size // 2)
    asyncio.run(reader.read(Arrival(MailFile(), "x", raw, datetime.now(UTC))))
    assert set(watched.on_the_loop) == {inline}
