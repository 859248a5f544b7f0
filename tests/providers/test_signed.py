"""Whoever has a signed mail can move the blanks that no signature covers, and nothing else.

RFC 6376, 3.4.4: runs of spaces and tabs count as one, those at the end of a line and empty lines at
the end of the mail not at all.
"""

from __future__ import annotations

import random
import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import event, providers
from bridge.config.settings import ProviderSettings
from bridge.mail import decode
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers import Provider
from tests.providers.declaring import declared, mail_of
from tests.providers.reading import ANYONE, PROVIDERS
from tests.trust.signing import _relaxed_body

FOLDER = Path(__file__).parent / "fixtures"
MAILS = sorted(path for path in FOLDER.rglob("*.eml") if path.parent.name != "refused")
RUNS = (b" ", b"\t", b"  ", b" \t ")


def opened(raw: bytes) -> Email:
    email = decode(raw)
    assert isinstance(email, Email)
    return email


def messages(provider: Provider, email: Email) -> tuple[SmsMessage, ...]:
    """Return the messages of a signed mail; none if it is ignored or unreadable."""
    result = providers.read_signed(provider, email)
    if isinstance(result, SmsMessage):
        return (result,)
    return result if isinstance(result, tuple) else ()


def provider_of(email: Email) -> Provider | None:
    provider = providers.choose(PROVIDERS, email)
    return None if isinstance(provider, Unreadable) else provider


def changed(body: bytes, seed: int) -> bytes:
    """Change every blank of a body that relaxed canonicalization ignores, by chance."""
    chance = random.Random(seed)
    body = re.sub(rb"[ \t]+(?!\r?\n|\Z)", lambda _: chance.choice(RUNS), body)
    body = re.sub(rb"[ \t]*\r\n", lambda _: chance.choice((b"", *RUNS)) + b"\r\n", body)
    return body.rstrip(b"\r\n \t") + b"\r\n" + chance.choice((b"", b"\r\n", b" \r\n\r\n\t\r\n"))


def variants(raw: bytes) -> Iterator[bytes]:
    """Yield mails with the same relaxed body."""
    raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    if not body.strip():
        return
    for run in RUNS:
        yield head + b"\r\n\r\n" + re.sub(rb"[ \t]+(?!\r?\n|\Z)", lambda _, run=run: run, body)
    for seed in range(30):
        yield head + b"\r\n\r\n" + changed(body, seed)
    # Blanks are made, moved or taken away one by one, too: tabs that are all alike may agree.
    for found in list(re.finditer(rb"[ \t]+|\r\n", body))[:60]:
        for run in (b"\t", b"  ") if found[0].strip(b"\r\n") else (b" \r\n", b"\t\r\n"):
            yield head + b"\r\n\r\n" + body[: found.start()] + run + body[found.end() :]


def identities(read: tuple[SmsMessage, ...], email: Email) -> list[str]:
    return [event.identity(each, email, at).message_id for at, each in enumerate(read)]


def check(genuine: Email, provider: Provider, raw: bytes) -> None:
    """Check that a changed mail is the same message by its id, or none at all."""
    email = opened(raw)
    read = messages(provider, email)
    if not read:
        return
    original = messages(provider, genuine)
    if len(original) != len(read):
        pytest.fail(f"{len(read)} messages instead of {len(original)}")
    if genuine.message_id:
        assert identities(read, email) == identities(original, genuine)
    same = event.words if genuine.is_flowed else event.as_signed
    assert [same(each.body) for each in read] == [same(each.body) for each in original]


@pytest.mark.parametrize("path", MAILS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_signed_fixture_reads_as_it_does_unsigned(path: Path) -> None:
    """Nothing that was believed is refused now, whatever blanks it came with."""
    email = opened(path.read_bytes())
    provider = provider_of(email)
    assert provider is not None
    assert providers.read_signed(provider, email) == provider.read_email(email)


@pytest.mark.parametrize("path", MAILS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_moved_blanks_make_no_other_message(path: Path) -> None:
    """Every fixture, with blanks that a relaxed signature ignores moved, added and removed."""
    raw = path.read_bytes()
    genuine = opened(raw)
    provider = provider_of(genuine)
    assert provider is not None
    base = _relaxed_body(
        raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").partition(b"\r\n\r\n")[2]
    )
    for variant in variants(raw):
        assert _relaxed_body(variant.partition(b"\r\n\r\n")[2]).rstrip() == base.rstrip()
        check(genuine, provider, variant)


FROM = "from = { label = 'From' }\nto = { label = 'To' }\nbody = { label = 'Text' }\n"
FIELDS = "From: +391\nTo: 2\nText: "
ONLY_TEXT = "from = { value = '1' }\nto = { value = '2' }\nbody = { label = 'Text' }\n"
CUTS = [
    (FROM + "footers = '^-- $'", FIELDS + "hi\n--\nthere\n-- \nACME\n"),
    (FROM + "footers = '^--$'", FIELDS + "hi\n-- \nthere\n--\nACME\n"),
    (FROM + "footers = '^Sent  by'", FIELDS + "hi\nSent by me\nthere\nSent  by ACME\n"),
    (FROM + "footers = '^Sent\\tby'", FIELDS + "hi\nSent by me\nthere\nSent\tby ACME\n"),
    (FROM.replace("label = 'Text'", "after = '^Text:$'"), "From: 1\nTo: 2\nText:\na\nText: \nb\n"),
    (FROM.replace("label = 'Text'", "text = '(?s)Text:\\t(.*)'"), FIELDS + "a\nText:\tb\n"),
    (FROM.replace("label = 'Text'", "text = '(?s)Text:  (.*)'"), FIELDS + "a\nText:  b\n"),
    (FROM, "From\t+391\nTo\t2\nText\thi\nText: no\n"),
    (FROM, "From\t+391\nTo\t2\nText\thi\nFrom: MYBANK\nTo: 2\nText: no\n"),
    (FROM, "From: +391\nTo: 2\nText of the message below\nText: hi\n"),
    (FROM, FIELDS + "hi\nFrom Rome\nTo Milan\nText me\n"),
    (ONLY_TEXT, "Text\thi\nText: no\n"),
    (ONLY_TEXT, "Text\thi\nText no\n"),
    (ONLY_TEXT, "Text\t\nhi\nText me\n"),
    (ONLY_TEXT, "Text\n \nText\tSent by\n"),
    (ONLY_TEXT, "Text of the message below\nText: hi\n"),
    (ONLY_TEXT + "id = { label = 'Id' }", "Id\t7\nText\thi\nText: no\n"),
    (ONLY_TEXT + "id = { label = 'Id' }", "Id: 7\nText\thi\nText: no\n"),
]


def readings(
    template: str, text: str
) -> tuple[set[tuple[tuple[str, str], ...]], set[tuple[tuple[str, str], ...]]]:
    """Return what a mail says, and what is read of it and of all with its signature."""
    provider = declared(template)
    raw = (
        b"From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
        b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n\r\n" + text.replace("\n", "\r\n").encode()
    )
    says = provider.read_email(opened(raw))
    said = (says,) if isinstance(says, SmsMessage) else says
    assert isinstance(said, tuple)
    read = [messages(provider, opened(each)) for each in (raw, *variants(raw))]
    return {_shown(said)}, {_shown(each) for each in read if each}


def _shown(read: tuple[SmsMessage, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((each.sender, event.as_signed(each.body)) for each in read)


@pytest.mark.parametrize(("template", "text"), CUTS)
def test_moved_blanks_cut_nowhere_else(template: str, text: str) -> None:
    """Footers, patterns and tabs: the SMS holds what looks like them but for blanks.

    What is read is what the genuine mail says, also where that one has to wait in quarantine.
    """
    said, read = readings(template, text)
    assert read <= said


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (FROM + "footers = '^Sent[ ]{2}by'", FIELDS + "hi\nSent by me\nthere\nSent  by ACME\n"),
        (FROM + "split = '^-{5,}$'", FIELDS + f"hi\n----- \n{FIELDS}x\n-----\n{FIELDS}y\n"),
    ],
)
def test_what_counts_blanks_reads_one_message_or_none(template: str, text: str) -> None:
    """A signature says nothing about their number, so nothing about what such a pattern means."""
    _, read = readings(template, text)
    assert len(read) <= 1


PAGES = {
    "two numbers in cells, and the SMS as it came": (
        "<table><tr><td>From:</td><td>+391</td></tr><tr><td>To:<td>2</td></tr></table>\n"
        "<pre>Text: pay  5\n--\nunless it rains\n-- \nACME</pre>"
    ),
    "tabs for colons, in front of labels that the author typed": (
        "<table><tr><td><pre>From\t+391\nTo\t2\nText\thi\n"
        "From: MYBANK\nTo: 2\nText: no</pre></td></tr></table>"
    ),
    "empty cells": (
        "<table><tr><td>From</td><td><pre>+391 </pre></td><td>To</td><td></td><td>2</td></tr>"
        "<tr><td>To:</td><td> 2</td></tr>"
        "<tr><td>Text:</td><td><pre> a  b\nFrom 1 </pre></td></tr></table>"
    ),
}


@pytest.mark.parametrize("label", ["Text\t", "Text\t ", "Text: ", "Text:  "])
def test_a_text_that_begins_like_a_footer_is_read(label: str) -> None:
    """Beside its label no footer begins, and no blanks decide whether one does."""
    raw = "From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
    raw += f"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n\r\nFrom: +391\r\nTo: 2\r\n{label}"
    raw += "Sent by train\r\nSent by ACME\r\n"
    provider = declared(FROM + "footers = '^Sent by'")
    (message,) = messages(provider, opened(raw.encode()))
    assert message.body.lstrip() == "Sent by train"
    (message,) = messages(provider, opened(raw.replace("Sent by ACME\r\n", "").encode()))
    assert message.body.lstrip() == "Sent by train"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("footer", ["^--[ ]$", "^--$", "^x"])
def test_moved_blanks_in_a_page_cut_nowhere_else(page: str, footer: str) -> None:
    """In a preformatted text blanks are as they came, whatever tables the page has."""
    raw = (
        b"From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
        b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\nContent-Type: text/html\r\n\r\n"
        + PAGES[page].replace("\n", "\r\n").encode()
    )
    own = ProviderSettings(name="url_networks", senders=("sms@acme.example",), trust=ANYONE)
    moved = raw.replace(b"\n--\r", b"\n-- \r").replace(b"\n-- \r\nACME", b"\n--\r\nACME")
    mails = [opened(each) for each in (raw, moved, raw.replace(b"\t", b" "), *variants(raw))]
    for provider in (declared(f"{FROM}footers = '{footer}'"), *providers.build([own])):
        different = {
            tuple((each.sender, event.as_signed(each.body)) for each in read)
            for email in mails
            if (read := messages(provider, email))
        }
        assert len(different) <= 1, different


def test_a_page_with_preformatted_text_is_read() -> None:
    """Its blanks are delivered, and decide nothing."""
    page = (
        "<table><tr><td>From</td><td> +391 <td></td><td>x</td></tr><tr><td>To</td><td>2</td></tr>"
        "<tr><td>Body</td><td><pre>a  b \n\tc</pre></td><td></td></tr></table><p>ACME"
    )
    own = ProviderSettings(name="url_networks", senders=("sms@acme.example",), trust=ANYONE)
    (provider,) = providers.build([own])
    email = opened(
        b"From: sms@acme.example\nMessage-ID: <1@acme.example>\nContent-Type: text/html\n"
        b"Date: Wed, 08 Apr 2026 12:30:52 +0000\n\n" + page.encode()
    )
    (message,) = messages(provider, email)
    assert (message.sender, message.recipient, message.body) == ("+391", "2", "a  b \n\tc")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("Text\thi\n", "hi"),
        ("Text: hi\nText me\n", "hi\nText me"),
        ("News\nText:  hi\tx\n", " hi\tx"),
    ],
)
def test_a_text_with_the_only_label_is_read(text: str, body: str) -> None:
    """With a colon or a tab, as long as no other line could be meant."""
    (message,) = messages(declared(ONLY_TEXT), mail_of(text))
    assert message.body == body


@pytest.mark.parametrize(
    ("text", "footer", "body"),
    [
        ("hi\n-- \nACME\n", "^-- $", "hi"),
        ("hi  there \n\n--\nACME\n", "^-- $", "hi  there"),
        ("hi\t\nSent   by ACME\n", "^Sent by", "hi"),
        (" a  b\n", "^x", " a  b"),
    ],
)
def test_a_signed_text_is_kept_character_for_character(text: str, footer: str, body: str) -> None:
    """Only what looks at the text doesn't see the blanks; they are delivered."""
    provider = declared(f"{FROM}footers = '{footer}'")
    (message,) = messages(provider, mail_of(FIELDS + text))
    assert message.body == body


def test_fields_behind_blank_lines_with_blanks_are_found() -> None:
    """A line of blanks at the end of the mail does not turn URL Networks' fields into text."""
    settings = ProviderSettings(name="url_networks", senders=("sms@acme.example",), trust=ANYONE)
    (provider,) = providers.build([settings])
    text = "from: +61412345678\nto: +61480001122\nbody: hi\nmessage_id: 77\ntimestamp: 1775651452\n"
    (genuine,) = messages(provider, mail_of(text))
    assert (genuine.body, genuine.provider_message_id) == ("hi", "77")
    for more in ("\t\n", " \n\n \n"):
        assert messages(provider, mail_of(text + more)) in {(), (genuine,)}


def test_blanks_in_a_providers_id_make_no_other_message() -> None:
    """Nor a second delivery of the same one."""
    ids = set()
    for blanks in (" ", "  ", "\t"):
        email = mail_of(f"{FIELDS}hi", headers=(f"X-Id: A{blanks}7",))
        provider = declared(f"{FROM}id = {{ header = 'X-Id', pattern = 'A.*7' }}")
        ids.update(identities(messages(provider, email), email))
    assert len(ids) == 1


def test_a_mail_whose_blanks_matter_says_so() -> None:
    """The operator reads what to change; the mail waits in quarantine."""
    provider = declared(FROM.replace("label = 'Text'", "text = '(?s)^.{25}(.*)'"))
    columns = mail_of("From: +391\nTo: 2\nA     and         hi")
    assert isinstance(provider.read_email(columns), SmsMessage)
    refused = providers.read_signed(provider, columns)
    assert isinstance(refused, Unreadable)
    assert refused.detail.startswith("spaces or tabs, which its signature does not cover")


def mail(text: str, parameters: str = "") -> bytes:
    """Make a mail whose lines are flowed."""
    return (
        "From: sms@acme.example\nMessage-ID: <1@acme.example>\n"
        "Date: Wed, 08 Apr 2026 12:30:52 +0000\n"
        f"Content-Type: text/plain; charset=utf-8; format=flowed{parameters}\n\n{FIELDS}{text}"
    ).replace("\n", "\r\n").encode()  # fmt: skip


@pytest.mark.parametrize("delsp", ["", "; delsp=yes"])
@pytest.mark.parametrize(
    "text",
    [
        "hi\nfooter\nthere \nfooter\nACME\n",
        "hi \nFrom: MYBANK\nTo: 3\nText: no\n",
        "hi there, \nthis is long\n",
        " hi\n  there\n",
    ],
)
def test_joined_and_parted_lines_cut_nowhere_else(text: str, delsp: str) -> None:
    """In flowed text a blank at a line's end joins it to the next: the words stay the same."""
    provider = declared(FROM + "footers = '^footer$'")
    raw = mail(text, delsp)
    emails = [opened(each) for each in (raw, *variants(raw))]
    readable = [(messages(provider, email), email) for email in emails]
    different = {
        (*identities(read, email), *(event.words(each.body) for each in read))
        for read, email in readable
        if read
    }
    assert len(different) <= 1, different


def test_long_flowed_lines_of_a_signed_mail_are_joined() -> None:
    """What a signed mail says is delivered with its lines as the sender meant them."""
    provider = declared(FROM)
    (message,) = messages(provider, opened(mail("a long \nline\nand another")))
    assert message.body == "a long line\nand another"


@pytest.mark.parametrize(
    ("encoding", "read"), [("8bit", 0), ("quoted-printable", 0), ("base64", 1)]
)
def test_blanks_that_are_halves_of_characters_vouch_for_nothing(encoding: str, read: int) -> None:
    """A signature does not cover them; base64 has none."""
    content = (FIELDS + "hi\u2020there").encode("utf-16-le")
    packed = {"8bit": bytes, "quoted-printable": b2a_qp, "base64": b2a_base64}[encoding](content)
    raw = (
        b"From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
        b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\r\nContent-Type: text/plain; charset=utf-16le\r\n\r\n"
        + packed
    )
    provider = declared(FROM)
    assert isinstance(provider.read_email(opened(raw)), SmsMessage)
    assert len(messages(provider, opened(raw))) == read
