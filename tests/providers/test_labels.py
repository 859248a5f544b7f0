"""Labels are found in the layouts that mails have, and a body ends where its layout says."""

from __future__ import annotations

import pytest

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers.base import Explains
from bridge.providers.labels import Field, Labels
from tests.providers.reading import ANYONE

LABELS = Labels({
    Field.SENDER: ("From",), Field.RECIPIENT: ("To",), Field.TIME: ("Date/Time", "Date"),
    Field.MESSAGE_ID: ("message_id",), Field.BODY: ("Body", "Text", "Žinutė"),
})  # fmt: skip
HEAD = b"From: smsin@agiletelecom.com\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"


def read(text: str, **more: object) -> SmsMessage | Unreadable:
    email = mail.decode(HEAD + text.replace("\n", "\r\n").encode())
    assert isinstance(email, Email)
    settings = ProviderSettings.model_validate(
        {"name": "agile", "time_zone": "Europe/Rome", "trust": ANYONE, **more}
    )
    (provider,) = providers.build([settings])
    result = provider.read_email(email)
    assert isinstance(result, SmsMessage | Unreadable)
    return result


@pytest.mark.parametrize(
    ("text", "sender", "body"),
    [
        ("From: 1\nBody: a\n", "1", "a"),
        ("From:\n1\nBody:\na\n", "1", "a"),
        ("From: \n1\nBody: \na\n", "1", "a"),
        ("From:\n\n1\n\nBody:\n\na\n", "1", "a"),
        ("From: 1\nBody:\na\n", "1", "a"),
        ("From: 1\nBody: \na\n", "1", "\na"),
        ("From:1\nBody:\na\n", "1", "\na"),
        ("From: 1\nBody\na\n", "1", "a"),
        ("From:\nBody: a", "", "a"),
        ("From:\nOperator: x\nBody: a", "", "a"),
        ("From:\n\n\n\n\n1\nBody: a", "", "a"),
        ("From\t: 1\nBody\t: : a", "1", ": a"),
        ("From\t1\nBody\t: a", "1", ": a"),
        ("Text\nFrom: 1\nBody: a", "1", "a"),
        ("from\n1\nŽINUTĖ : a", "1", "a"),
        ("FROM=1\nmessageid=2\nTEXT=a", "1", "a"),
        ("Fromage: x\nFrom: 1\nBodyguard: y\nBody: a", "1", "a"),
    ],
)
def test_layouts(text: str, sender: str, body: str):
    """A value stands beside its label or below it; a body's own line end stays if others don't."""
    found = LABELS.read(text)
    assert (found.values[Field.SENDER], found.values[Field.BODY]) == (sender, body)
    for which, (start, end) in found.spans.items():
        assert text[start:end] == found.values[which]


def test_labels_that_fold_strangely_are_no_crash():
    """Letters that equal others only without regard to case are found, and never raise."""
    for text in ("\u212aey: 1\nBody: a", "Me\u017f\u017fage_id: 1\nText: a", "BODY\u0130: x"):
        LABELS.read(text)
    assert LABELS.read("me\u017f\u017fage id: 1\nText: a").values[Field.MESSAGE_ID] == "1"


def test_time_is_linear_in_what_a_stranger_writes():
    """Long runs of blanks, labels and line ends cost no more than their length."""
    labels = LABELS.extended({}, ["-- "])
    for piece in ("From:\n", "From\n\n", " ", "Date ", "Date\t", "*", "Body\n", "\n", "-- \n"):
        text = piece * (200_000 // len(piece))
        labels.read(text)
        labels.read("From: 1\nBody: " + text)


FIELDS = "To: +393331234333\nDate/Time: 20260408143052\n"


def test_labels_of_the_config_are_read_beside_the_presets_own():
    """`labels` adds names, in any case, and the sentence about a missing one names them."""
    more = {"labels": {"from": ["Numero mittente"], "body": ["Messaggio"]}}
    message = read(f"NUMERO  MITTENTE: +393301234567\n{FIELDS}messaggio: ciao", **more)
    assert isinstance(message, SmsMessage)
    assert (message.sender, message.body) == ("+393301234567", "ciao")
    assert isinstance(read(f"From: +393301234567\n{FIELDS}Text: ciao", **more), SmsMessage)
    refused = read(f"{FIELDS}Body: ciao", **more)
    assert isinstance(refused, Unreadable)
    assert "no label From or Originator or Numero mittente was found" in refused.detail


def test_each_preset_takes_labels_and_footers():
    """What the config adds is read by both presets."""
    settings = ProviderSettings.model_validate({
        "name": "url_networks", "senders": ["@agiletelecom.com"], "trust": ANYONE,
        "labels": {"to": ["DID"]}, "footers": ["--"],
    })  # fmt: skip
    email = mail.decode(
        HEAD + b"from: +61412345678\ntimestamp: 1775651452\nDID: +61480001122\nbody: x\n-- us"
    )
    assert isinstance(email, Email)
    message = providers.build([settings])[0].read_email(email)
    assert isinstance(message, SmsMessage)
    assert (message.recipient, message.body) == ("+61480001122", "x")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("ciao\n\n-- \nSent by us\n", "ciao"),
        ("ciao\n-- \nMario\n\n-- \nSent by us\n", "ciao\n-- \nMario"),
        ("-- \nSent by us", "-- \nSent by us"),
        ("\n-- \nSent by us", ""),
        ("ciao", "ciao"),
    ],
)
def test_footers_of_the_config_are_cut(body: str, kept: str):
    """The last line that begins like a footer ends the text, and a warning says so."""
    message = read(f"From: +393301234567\n{FIELDS}Body: {body}", footers=["-- "])
    assert isinstance(message, SmsMessage)
    assert message.body == kept
    assert ("footer_cut" in message.warnings) is (kept != body)


def test_an_explanation_says_what_stands_where():
    """The trace's spans are the values, and what is missing is named."""
    email = mail.decode(HEAD + f"{FIELDS}Body: x".encode())
    assert isinstance(email, Email)
    (provider,) = providers.build(
        [ProviderSettings(name="agile", time_zone="Europe/Rome", trust=ANYONE)]
    )
    assert isinstance(provider, Explains)
    told = provider.explain(email)
    assert told.missing == ("from",)
    assert [(each.field, each.where) for each in told.found] == [
        ("to", "at the label To"), ("date", "at the label Date/Time"),
        ("body", "at the label Body"),
    ]  # fmt: skip
    assert [email.text[each.start : each.end] for each in told.found] == [
        "+393331234333", "20260408143052", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "own_id"),
    [
        *((word, None) for word in ("", "None", "null", "(null)", "N/A", "-", "0", "undefined")),
        ("00000000-0000-0000-0000-000000000000", None),
        ("3f2b8c1e-7a4d-4f6b-9c0d-1e2f3a4b5c60", "3f2b8c1e-7a4d-4f6b-9c0d-1e2f3a4b5c60"),
        ("100", "100"),
    ],
)
def test_word_for_no_id_is_no_id(written: str, own_id: str | None) -> None:
    """Two messages whose id is the word `None` are two: one id for all would drop the second."""
    settings = ProviderSettings(name="url_networks", senders=("@pbx.example",), trust=ANYONE)
    (provider,) = providers.build([settings])
    email = mail.decode(
        b"From: sms@pbx.example\r\n\r\nfrom: +61412345678\r\nsms_number: +61480001122\r\n"
        b"message_id: %b\r\ntimestamp: 1775651452\r\nbody: 1\r\n" % written.encode()
    )
    assert isinstance(email, Email)
    message = provider.read_email(email)
    assert isinstance(message, SmsMessage)
    assert message.provider_message_id == own_id
