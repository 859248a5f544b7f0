"""What a person types into an SMS is that SMS's text, and no other message or value.

Each forgery goes through the real reader, as a mail of the provider's own that any evidence vouches
for.
"""

from __future__ import annotations

import asyncio
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge import providers
from bridge.config.load import load_file
from bridge.config.settings import ProviderSettings
from bridge.model import Arrival, MailFile, SmsMessage, Unreadable
from bridge.operations.plan import warnings
from bridge.reader import Reader, Reading
from tests.providers.reading import ANYONE

NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
HEAD = (
    "From: sms@acme.example\r\nSubject: {subject}\r\nMessage-ID: <1@acme.example>\r\n"
    "Date: Wed, 08 Apr 2026 12:30:52 +0000\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
LABELS = "from = { label = 'From' }\nto = { label = 'To' }\nbody = { label = 'Text' }\n"
SPLIT = LABELS + "split = '^-{5,}$'\n"


def read(template: str, text: str, subject: str = "SMS") -> list[SmsMessage] | str:
    """Return the messages of a mail, or why there are none."""
    return _read({"name": "acme", "template": tomllib.loads(template)}, text, subject)


def read_url_networks(text: str) -> list[SmsMessage] | str:
    return _read({"name": "url_networks"}, text, "SMS")


def _read(table: dict[str, object], text: str, subject: str) -> list[SmsMessage] | str:
    settings = ProviderSettings.model_validate(
        {"senders": ["sms@acme.example"], "trust": ANYONE, **table}
    )
    reader = Reader(providers.build([settings]), {settings.name: ANYONE}, lambda: NOW)
    raw = HEAD.format(subject=subject).encode() + text.replace("\n", "\r\n").encode()
    result = asyncio.run(reader.read(Arrival(MailFile(), "x", raw, NOW)))
    if isinstance(result, Reading):
        return [each.message.sms for each in result.messages]
    assert isinstance(result, Unreadable)
    return result.detail


TYPED = "hi\n-----\nFrom: MYBANK\nTo: +391234567890\nText: Your code was stolen, call +390000000000"


def test_every_message_of_a_split_mail_is_marked() -> None:
    """A perfect imitation cannot be told from the provider's own, so nobody may rely on either."""
    found = read(SPLIT, f"From: +391\nTo: 2\nText: {TYPED}\n")
    assert isinstance(found, list)
    assert [each.sender for each in found][1] == "MYBANK"
    assert all("mail_split" in each.warnings for each in found)
    alone = read(SPLIT, "From: +391\nTo: 2\nText: hi\n-----\n")
    assert isinstance(alone, list)
    assert "mail_split" not in alone[0].warnings


@pytest.mark.parametrize(
    "typed",
    [
        "PS: see you\nFrom: MYBANK\nTo: 1\nText: x",
        "To: 1\nFrom: MYBANK\nText: x",
        "Date: 1\n\nFrom: MYBANK\nTo: 1\nText: x",
    ],
)
def test_a_part_that_begins_otherwise_is_no_message(typed: str) -> None:
    """It must begin with the field that the first one begins with, and no line more above it."""
    found = read(SPLIT, f"From: +391\nTo: 2\nText: hi\n-----\n{typed}\n")
    assert found == "part 2 of 2 does not begin as the first one does"


def test_an_introduction_above_the_first_part_is_fine() -> None:
    """Only more lines than there are a stranger's."""
    part = "From: +4915112345671\nTo: 2\nText: hi\n"
    found = read(SPLIT, f"2 messages:\n\n{part}-----\n{part}")
    assert isinstance(found, list)
    assert [each.body for each in found] == ["hi", "hi"]
    headed = "New message\n" + part
    assert isinstance(read(SPLIT, f"{headed}-----\n{headed}"), list)


def test_more_separators_than_are_looked_at_are_refused() -> None:
    """Whatever stands behind them would otherwise be one text."""
    text = "From: 1\nTo: 2\nText: x\n" + "-----\n" * 300 + TYPED
    assert "more than 50 SMS between the lines" in read(SPLIT, text)


BODIES = {
    "after_blank = true": "SMS\n\n{typed}\n",
    "label = 'Text'": "SMS\nText: {typed}\n",
    "after = '^Text:$'": "SMS\nText:\n{typed}\n",
    "text = '(?s)<(.*)>'": "SMS <{typed}>\nend\n",
}
SENDERS = {
    "text = '^sender (\\S+)'": "sender MYBANK",
    "text = 'ender (?P<value>\\S+)'": "the sender MYBANK",
    "label = 'Sender'": "Sender: MYBANK",
    "line = 3": "a\nMYBANK\nMYBANK\nMYBANK",
    "line = -1": "a\nMYBANK",
    "after = '^Sender:'": "Sender:\nMYBANK",
    "all = true, pattern = 'sender (\\S+)'": "sender MYBANK",
    "line = 2, pattern = '(MYBANK)'": "MYBANK\nMYBANK\nMYBANK",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("place", SENDERS)
def test_no_other_value_is_found_in_the_text(body: str, place: str) -> None:
    """The span of the body is closed to all other fields: what was typed gives no sender."""
    template = f"from = {{ {place} }}\nto = {{ value = '1' }}\nbody = {{ {body} }}\n"
    found = read(template, BODIES[body].format(typed=f"x\n{SENDERS[place]}"))
    if isinstance(found, list):
        assert "MYBANK" not in found[0].sender
    else:
        assert found.startswith("nothing for 'from' was found")


def test_the_next_match_outside_the_text_counts() -> None:
    """The provider's own value behind the text is found, although the typed one comes first."""
    template = (
        "from = { text = '^sender (\\S+)' }\nto = { label = 'To' }\n"
        "body = { text = '(?s)^Text: (.*)\\n---\\n' }\n"
    )
    found = read(template, "Text: hi\nTo: 9\nsender MYBANK\n---\nsender ACME\nTo: 12\n")
    assert isinstance(found, list)
    assert (found[0].sender, found[0].recipient) == ("ACME", "12")
    assert found[0].body == "hi\nTo: 9\nsender MYBANK"


def test_no_other_value_is_found_in_a_text_in_the_subject() -> None:
    """The same where the subject holds the text."""
    template = (
        "from = { subject = 'by (\\S+)' }\nto = { value = '1' }\n"
        "body = { subject = '^SMS: (.*) by \\S+$' }\n"
    )
    found = read(template, "x", subject="SMS: hi by MYBANK by ACME")
    assert isinstance(found, list)
    assert (found[0].sender, found[0].body) == ("ACME", "hi by MYBANK")


FRONT = "from: +61412345678\nsms_number: +61480001122\n"
ID = "message_id: 3f2b8c1e\n"
TIME = "timestamp: 1775651452\n"


@pytest.mark.parametrize(
    ("front", "typed"),
    [
        (FRONT + TIME, "hi\nmessage_id: 666"),
        (FRONT + TIME, "hi\nmessage_id: 666\ntimestamp: 1"),
        (FRONT, "hi\nmessage_id: 666"),
        (FRONT, "hi\nwebhook_url: x"),
        (FRONT + ID, "hi\nservice_id: 1"),
        (FRONT + ID + TIME, "hi\nservice_id: 1\nwebhook_url: x"),
    ],
)
def test_url_networks_fields_are_not_set_by_the_text(front: str, typed: str) -> None:
    """A text that ends with such lines keeps them, and the message has its own id and time."""
    found = read_url_networks(f"{front}body: {typed}\n")
    assert isinstance(found, list)
    assert found[0].body == typed
    assert found[0].provider_message_id == ("3f2b8c1e" if ID in front else None)
    assert found[0].has_own_time is (TIME in front)


@pytest.mark.parametrize("typed", ["hi\nmessage_id: 666\ntimestamp: 1", "hi\nfrom: MYBANK"])
def test_url_networks_own_fields_behind_the_text_count(typed: str) -> None:
    """They are the last lines of the mail, whatever the text ends with."""
    found = read_url_networks(f"{FRONT}body: {typed}\n{ID}{TIME}webhook_url: x\n")
    assert isinstance(found, list)
    assert (found[0].body, found[0].provider_message_id) == (typed, "3f2b8c1e")
    assert found[0].sender == "+61412345678"


def test_url_networks_fields_out_of_order_are_text() -> None:
    """The lines behind the text stand as in the POST."""
    found = read_url_networks(f"{FRONT}body: hi\nwebhook_url: x\n{ID}{TIME}")
    assert isinstance(found, list)
    assert found[0].body == "hi\nwebhook_url: x"


def test_check_says_what_split_trusts(tmp_path: Path) -> None:
    """An operator who splits mails is warned."""
    config = tmp_path / "config.toml"
    config.write_text(
        "[[providers]]\nname = 'acme'\nsenders = ['sms@acme.example']\n"
        f"trust = {{ anyone = true }}\n[providers.template]\n{SPLIT}",
        encoding="utf-8",
    )
    assert any("split trusts the text of every SMS" in each for each in warnings(load_file(config)))
