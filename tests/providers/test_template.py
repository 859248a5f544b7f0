"""A provider that is declared in TOML finds what it was told to find, where it was told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import mail
from bridge.model import Email, Ignored, Reason, SmsMessage, Unreadable
from bridge.providers import choose
from bridge.providers.labels import Field
from bridge.providers.template_provider import TemplateProvider
from tests.providers.declaring import declared, mail_of

REST = "to = { value = '+491511234567' }\nbody = { all = true }\n"
SPLIT = (
    "from = { label = 'From' }\nto = { label = 'To' }\nbody = { label = 'Text' }\n"
    "split = '^-{5,}$'\n"
)


def read(provider: object, email: Email) -> SmsMessage:
    assert isinstance(provider, TemplateProvider)
    message = provider.read_email(email)
    assert isinstance(message, SmsMessage), message
    return message


def refused(provider: object, email: Email) -> str:
    assert isinstance(provider, TemplateProvider)
    result = provider.read_email(email)
    assert isinstance(result, Unreadable), result
    assert (result.reason, result.provider) == (Reason.UNREADABLE, "acme")
    return result.detail


@pytest.mark.parametrize(
    ("place", "email", "value"),
    [
        ("{ label = ['From', 'Absender'] }", mail_of("hi\nabsender: +491\nx"), "+491"),
        ("{ header = 'X-From' }", mail_of(headers=("X-From: +491",)), "+491"),
        ("{ header = 'X-From' }", mail_of(headers=("X-From: +491", "x-from: +491")), "+491"),
        ("{ subject = 'from (\\S+)' }", mail_of(subject="SMS from +491 to you"), "+491"),
        ("{ text = 'call (?P<value>\\+[0-9]+)' }", mail_of("please call +491!"), "+491"),
        ("{ json = '/a/1/b~1c' }", mail_of('{"a": [0, {"b/c": "+491"}]}'), "+491"),
        ("{ json = '/n' }", mail_of('{"n": 491511234567}'), "491511234567"),
        ("{ line = 2 }", mail_of("one\n\n  +491  \nthree"), "+491"),
        ("{ line = -1 }", mail_of("one\n+491\n\n"), "+491"),
        ("{ address = 'from', pattern = '^(.+)@' }", mail_of(sender="491@acme.example"), "491"),
        (
            "{ address = 'to', pattern = '^(.+)@' }",
            mail_of(headers=("To: <491@in.example>",)),
            "491",
        ),
        ("{ after = '^Number:' }", mail_of("x\nNumber:\n+491\n"), "+491"),
        ("{ header = 'X-From', pattern = ':(.+)' }", mail_of(headers=("X-From: a:+491",)), "+491"),
        ("{ value = 'ACME' }", mail_of(), "ACME"),
        ("[{ header = 'X-A' }, { header = 'X-B' }]", mail_of(headers=("X-B: +491",)), "+491"),
        ("[{ header = 'X-A' }, { line = 1 }]", mail_of("+491", headers=("X-A:  ",)), "+491"),
    ],
)
def test_each_kind_of_place(place: str, email: Email, value: str) -> None:
    """The first place that holds something gives the sender as it stands there."""
    provider = declared(f"from = {place}\n{REST}", senders=["@acme.example"])
    assert provider.matches(email)
    assert read(provider, email).raw.sender == value


@pytest.mark.parametrize(
    ("place", "email", "says"),
    [
        ("{ label = ['From', 'Absender'] }", mail_of("x: 1"), "at the label From or Absender"),
        ("{ header = 'X-From' }", mail_of(), "at the header x-from"),
        ("{ header = 'X-F' }", mail_of(headers=("X-F: 1", "X-F: 2")), "at the header x-f"),
        ("{ subject = 'from (\\S+)' }", mail_of(), "at the subject's pattern"),
        ("{ json = '/a' }", mail_of("no json"), "at JSON /a"),
        ("{ json = '/a/b' }", mail_of('{"a": 1}'), "at JSON /a/b"),
        ("{ json = '/a/5' }", mail_of('{"a": [1]}'), "at JSON /a/5"),
        ("{ json = '/a' }", mail_of('{"a": true}'), "at JSON /a"),
        ("{ line = 9 }", mail_of("one"), "at line 9"),
        ("{ line = -2 }", mail_of("one"), "at line -2"),
        ("{ address = 'to' }", mail_of(headers=("To: a@b.c, d@e.f",)), "the mail's to address"),
        ("{ after = '^X' }", mail_of("abc"), "at the line that the text follows"),
        ("[{ header = 'A' }, { line = 4 }]", mail_of(), "at the header a, nor at line 4"),
    ],
)
def test_what_is_not_there_is_named(place: str, email: Email, says: str) -> None:
    """The sentence names the field and every place that was looked at, and nothing of the mail."""
    detail = refused(declared(f"from = {place}\n{REST}", senders=["@acme.example"]), email)
    assert detail.startswith("nothing for 'from' was found at ")
    assert says in detail


@pytest.mark.parametrize(
    ("body", "text", "found"),
    [
        ("{ after_blank = true }", "head\n\nbody\n\nmore\n", "body\n\nmore"),
        ("{ after_blank = true }", "\n\n x \n", "\n x"),
        ("{ after_blank = true }", "head\n\n", ""),
        ("{ after = '^--$' }", "head\n--\n  body\n", "  body"),
        ("{ after = 'SMS:' }", "SMS: one\ntwo", "two"),
        ("{ all = true }", "\n a \n\n", "\n a"),
        ("{ text = '(?s)^Msg:(.*)' }", "Msg: a  b \n\t\n", " a  b"),
        ("{ text = '(?s)<(.*)>' }", "a <b\nc> d", "b\nc"),
        ("{ json = '/t' }", '{"t": " a\\nb "}', " a\nb "),
        ("{ json = '/t' }", '{"t": "\\ud83d\\udc4d \\udc4d"}', "👍 \ufffd"),
        ("[{ label = 'Msg' }, { all = true }]", "no label", "no label"),
    ],
)
def test_bodies_are_kept_character_for_character(body: str, text: str, found: str) -> None:
    """Only blanks and blank lines at the mail's end are cut, wherever the body begins."""
    email = mail_of(text).__class__(**{**_fields(mail_of()), "text": text})
    provider = declared(f"from = {{ value = 'A' }}\nto = {{ value = '1' }}\nbody = {body}")
    assert read(provider, email).body == found


def _fields(email: Email) -> dict[str, object]:
    return {name: getattr(email, name) for name in Email.__dataclass_fields__}


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=100)


@given(body=TEXTS)
def test_any_text_survives_after_a_blank_line(body: str) -> None:
    """Whatever the SMS says, labels and separators included."""
    provider = declared(
        "from = { label = 'From' }\nto = { label = 'To' }\nbody = { after_blank = true }"
    )
    message = read(provider, mail_of(f"From: +491511234567\nTo: 123\n\n{body}"))
    assert (message.body, message.recipient) == (body.rstrip(" \t\n\xa0"), "123")


def test_labels_inside_the_body_are_its_own() -> None:
    """What looks like a label in the SMS changes nothing, whether in front of or behind it."""
    provider = declared(
        "from = { label = 'From' }\nto = { label = 'To' }\n"
        "body = { after_blank = true }\nfooters = '^-- $'"
    )
    message = read(provider, mail_of("From: +491511234567\n\nTo: 1\nFrom: 2\n\n-- \nTo: 123\n"))
    assert (message.body, message.recipient) == ("To: 1\nFrom: 2", "123")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("hi\nSent by ACME\nmore", "hi"),
        ("hi\n\n\nSent by ACME", "hi"),
        ("a\nSent by ACME\nb\nSent by ACME\n", "a\nSent by ACME\nb"),
        ("hi\nLegal stuff\nSent by ACME", "hi"),
        ("hi, Sent by ACME", "hi, Sent by ACME"),
        ("Sent by ACME", ""),
    ],
)
def test_footers_are_cut(text: str, body: str) -> None:
    """From the last line that looks like one, with the blank lines in front of it."""
    provider = declared(f"from = {{ value = 'A' }}\n{REST}footers = ['^Sent by', '^Legal']")
    assert read(provider, mail_of(text)).body == body


@pytest.mark.parametrize(
    ("formats", "written", "instant", "zone"),
    [
        ("['%d.%m.%Y %H:%M:%S']", "08.04.2026 14:30:52", "2026-04-08T14:30:52+02:00", True),
        ("['%Y%m%d%H%M%S', 'epoch']", "1775651452", "2026-04-08T14:30:52+02:00", True),
        ("'epoch'", "1775651452", "2026-04-08T12:30:52+00:00", False),
        ("'epoch'", "1775651452104", "2026-04-08T12:30:52+00:00", False),
        ("'epoch_ms'", "1775651452104", "2026-04-08T12:30:52.104000+00:00", False),
        ("'iso8601'", "2026-04-08T12:30:52Z", "2026-04-08T12:30:52+00:00", False),
        ("'iso8601'", "2026-04-08 14:30:52", "2026-04-08T14:30:52+02:00", True),
        ("'rfc2822'", "Wed, 8 Apr 2026 07:30:52 -0500", "2026-04-08T07:30:52-05:00", False),
        ("'rfc2822'", "Wed, 8 Apr 2026 12:30:52 -0000", "2026-04-08T12:30:52+00:00", True),
        ("'rfc2822'", "Wed, 8 Apr 2026 12:30 -0000", "2026-04-08T12:30:00+00:00", False),
        ("'rfc2822'", "Wed, 8 Apr 2026 14:30:52", "2026-04-08T14:30:52+02:00", True),
        ("'rfc2822'", "8 Apr 2026 07:30:52 EST", "2026-04-08T07:30:52-05:00", True),
        ("'rfc2822'", "8 Apr 2026 14:30:52 (local)", "2026-04-08T14:30:52+02:00", True),
        ("'rfc2822'", "8 Apr 2026 2:30:52 PM +0000", "2026-04-08T14:30:52+00:00", False),
        ("'rfc2822'", "8 Apr 2026 12:30:52 AM", "2026-04-08T00:30:52+02:00", True),
        (
            "'%d/%b/%Y:%H:%M:%S %z'",
            "08/Apr/2026:14:30:52 +0200",
            "2026-04-08T14:30:52+02:00",
            False,
        ),
    ],
)
def test_times(formats: str, written: str, instant: str, zone: bool) -> None:
    """Each format gives the instant, with the offset that the mail or the config names."""
    more = {"time_zone": "Europe/Berlin"} if zone else {}
    provider = declared(
        f"from = {{ value = 'A' }}\n{REST}date = {{ line = 1 }}\ndate_format = {formats}", **more
    )
    message = read(provider, mail_of(written))
    assert message.received_at.isoformat() == instant
    assert (message.has_own_time, message.raw.date) == (True, written)


@pytest.mark.parametrize(
    ("formats", "written"),
    [
        ("'%d.%m.%Y %H:%M'", "31.02.2026 14:30"),
        ("'%d.%m.%Y %H:%M'", "08.04.٢٠٢٦ 14:30"),
        ("'iso8601'", "2026-04-08"),
        ("'iso8601'", "2026-04-08T12:30:52"),
        ("'rfc2822'", "Wed, 8 Apr 1026 07:30:52 -0500"),
        ("'rfc2822'", "soon"),
        ("'rfc2822'", "Wed, 8 Apr 2026 07:30:52"),
        ("'epoch_ms'", "1775651452"),
        ("'epoch'", "2026-04-08 14:30:52"),
    ],
)
def test_a_time_that_cannot_be_read_is_never_guessed(formats: str, written: str) -> None:
    """Not a day, not a zone, not a unit: the mail waits in quarantine."""
    more = {"time_zone": "Europe/Berlin"} if "%" in formats else {}
    provider = declared(
        f"from = {{ value = 'A' }}\n{REST}date = {{ line = 1 }}\ndate_format = {formats}", **more
    )
    assert "none of the formats" in refused(provider, mail_of(written))


@pytest.mark.parametrize("zone", ["CEST", "BRT", "+02", "+02:00"])
def test_a_zone_that_is_not_known_is_not_the_configs(zone: str) -> None:
    """The provider said another one: the mail waits in quarantine, instead of being hours off."""
    provider = declared(
        f"from = {{ value = 'A' }}\n{REST}date = {{ line = 1 }}\ndate_format = 'rfc2822'",
        time_zone="America/New_York",
    )
    mail = mail_of(f"Wed, 8 Apr 2026 02:30:52 {zone}")
    assert "none of the formats" in refused(provider, mail)


def test_without_a_time_the_mails_date_stands_in() -> None:
    """It is said, and is no part of the message's identity."""
    message = read(declared(f"from = {{ value = 'A' }}\n{REST}"), mail_of("x"))
    assert message.received_at == datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
    assert (message.has_own_time, message.warnings) == (False, ("time_from_mail",))


@pytest.mark.parametrize(
    ("marks", "email", "matches"),
    [
        ("", mail_of(), True),
        ("", mail_of(sender="other@acme.example"), False),
        ("recipient = '^sms-1@'", mail_of(headers=("Delivered-To: sms-1@in.example",)), True),
        ("recipient = '^sms-1@'", mail_of(headers=("To: sms-2@in.example",)), False),
        ("headers = { X-Type = '^in$' }", mail_of(headers=("X-Type: in",)), True),
        ("headers = { X-Type = '^in$' }", mail_of(headers=("X-Type: out",)), False),
        ("headers = { X-Type = '.' }", mail_of(), False),
    ],
)
def test_every_mark_must_fit(marks: str, email: Email, matches: bool) -> None:
    """Sender, recipient and headers together say whose mail it is."""
    assert declared(f"{marks}\nfrom = {{ value = 'A' }}\n{REST}").matches(email) is matches


def test_subjects_tell_two_providers_of_one_sender_apart() -> None:
    """A telephone system sends more than one kind of mail from its one address."""
    rest = f"from = {{ value = 'A' }}\n{REST}"
    two = [declared(rest, name=name, subject=f"^{name}") for name in ("sms", "fax")]
    assert choose(two, mail_of(subject="Fax from x")) is two[1]
    assert isinstance(choose(two, mail_of(subject="Voicemail")), Unreadable)


IGNORE = "ignore = [{ why = 'a report', subject = '^Report', headers = { X-T = 'r' } }]\n"


def test_mails_that_are_no_sms_are_ignored_by_their_rule() -> None:
    """All that the rule names must fit, and such a mail need not look like an SMS."""
    provider = declared(f"{IGNORE}from = {{ value = 'A' }}\n{REST}", subject="^SMS")
    report = mail_of(subject="Report 7", headers=("X-T: r",))
    assert provider.matches(report)
    assert provider.read_email(report) == Ignored("a report", "acme")
    assert not provider.matches(mail_of(subject="Report 7"))


def test_a_rule_of_a_provider_known_by_its_subject_alone_claims_nobody_elses_mail() -> None:
    """Else every report of the world would be this provider's."""
    provider = declared(
        f"ignore = [{{ why = 'x', subject = '^Report' }}]\nfrom = {{ value = 'A' }}\n{REST}",
        subject="^SMS",
        senders=None,
    )
    assert provider.matches(mail_of(subject="SMS", sender="who@ever.example"))
    assert not provider.matches(mail_of(subject="Report"))


def test_labels_of_the_config_replace_those_of_the_template() -> None:
    """`labels` is the short way to say that a label is called otherwise."""
    provider = declared(SPLIT, labels={"from": ["Mittente"], "body": "Testo"})
    message = read(provider, mail_of("Mittente: +491511234567\nTo: 123\nTesto: ciao\nText: x"))
    assert (message.sender, message.body) == ("+491511234567", "ciao\nText: x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("From: 1\nFrom: 2\nTo: 3\nText: x", "the label From stands more than once"),
        (f"From: {'1' * 200}\nTo: 3\nText: x", "the value for 'from' is longer than 128"),
        ("From: 1\x072\nTo: 3\nText: x", "the value for 'from' holds a control character"),
        (f"From: 1\nTo: 3\nText: {'x' * 40_001}", "longer than 40000 characters"),
        (f"From: 1\nTo: 3\nText: {'x' * 131_073}", "longer than 131072 characters"),
        ("From: 1\nTo:\nText: x", "nothing for 'to' was found"),
    ],
)
def test_values_are_bounded(text: str, says: str) -> None:
    """What no provider sends is not read, and the sentence repeats none of it."""
    assert says in refused(declared(SPLIT), mail_of(text))


def test_one_mail_may_carry_several_sms() -> None:
    """Each part is read by itself; blank parts, and the lines between, are nothing."""
    provider = declared(SPLIT)
    parts = "From: {0}\nTo: 123\nText: text {0}\n"
    text = (
        "-----\n" + "------\n".join(map(parts.format, ("+4915112345671", "22", "33"))) + "-----\n"
    )
    messages = provider.read_email(mail_of(text))
    assert isinstance(messages, tuple)
    assert [(each.sender, each.body) for each in messages] == [
        ("+4915112345671", "text +4915112345671"),
        ("22", "text 22"),
        ("33", "text 33"),
    ]
    assert read(provider, mail_of(parts.format("22"))).body == "text 22"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("From: 1\nTo: 3\nText: x\n-----\nFrom: 1\nText: y", "part 2 of 2: nothing for 'to'"),
        ("-----\n\n-----", "no SMS between the lines"),
        ("-----\n".join(["From: 1\nTo: 3\nText: x\n"] * 51), "more than 50 SMS between the lines"),
    ],
)
def test_all_of_a_mail_is_read_or_nothing(text: str, says: str) -> None:
    """One part that cannot be read keeps the whole mail in quarantine: nothing gets lost."""
    assert says in refused(declared(SPLIT), mail_of(text))


def test_what_was_found_says_where() -> None:
    """Each value has its place and, in the text, its span."""
    provider = declared(
        "from = { subject = 'from (.+)' }\nto = { line = 1 }\nbody = { after_blank = true }\n"
        "footers = '^--'"
    )
    assert isinstance(provider, TemplateProvider)
    text = " 123 \n\nHello\n--\nACME"
    values = provider.find(mail_of(text, subject="SMS from 491"), text).values
    assert {field: value.place for field, value in values.items()} == {
        Field.SENDER: "the subject's pattern",
        Field.RECIPIENT: "line 1",
        Field.BODY: "a blank line that the text follows",
    }
    assert values[Field.SENDER].span is None
    for field, found in ((Field.RECIPIENT, "123"), (Field.BODY, "Hello")):
        span = values[field].span
        assert span is not None
        assert text[slice(*span)] == values[field].text == found


@given(st.binary(max_size=300))
def test_no_mail_makes_it_raise(raw: bytes) -> None:
    """Whatever comes is a message, ignored or unreadable."""
    email = mail.decode(b"From: sms@acme.example\r\n" + raw)
    if isinstance(email, Email):
        for template in (SPLIT, f"from = {{ json = '/a' }}\n{REST}"):
            provider = declared(template)
            assert provider.read_email(email) is not None
