"""A message's identity, and the ids of the message and its events."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge import event
from bridge.model import SMS_RECEIVED, Email, Part, RawFields, SmsMessage

ROME = timezone(timedelta(hours=2))
MESSAGE = SmsMessage(
    provider="agile",
    sender="+393301234567",
    recipient="+393331234333",
    body="News ON",
    received_at=datetime(2026, 4, 8, 14, 30, 52, tzinfo=ROME),
    raw=RawFields("+393301234567", "+393331234333", "20260408143052"),
)
EMAIL = Email(
    sender="smsin@agiletelecom.com",
    sender_defect=None,
    subject="Agile Telecom -- SMS received",
    message_id="<1@agiletelecom.com>",
    date=None,
    text="",
    charset="utf-8",
    from_html=False,
    fingerprint="<1@agiletelecom.com>",
    warnings=("charset_undeclared",),
)


def test_the_same_mail_is_the_same_message() -> None:
    """Identity comes from the message and the mail's fingerprint alone."""
    again = dataclasses.replace(EMAIL, warnings=(), subject="Fwd", charset="cp1252")
    assert event.identity(MESSAGE, EMAIL) == event.identity(MESSAGE, again)


def test_a_second_mail_with_the_same_text_is_another_message() -> None:
    """Somebody did send "1" twice in a second."""
    first = event.identity(MESSAGE, EMAIL)
    second = event.identity(MESSAGE, dataclasses.replace(EMAIL, fingerprint="<2@x>"))
    assert first.content == second.content
    assert first.email != second.email
    assert first.message_id != second.message_id


def test_the_providers_id_decides() -> None:
    """With the provider's own id, mail and HTTP post give one id, and two ids two messages."""
    named = dataclasses.replace(MESSAGE, provider_message_id="a")
    by_mail, by_http = event.identity(named, EMAIL), event.identity(named, None)
    assert by_mail.provider == by_http.provider
    assert by_mail.message_id == by_http.message_id
    other = event.identity(dataclasses.replace(MESSAGE, provider_message_id="b"), EMAIL)
    assert other.provider != by_mail.provider


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "other"},
        {"sender": "+393301234568"},
        {"recipient": "+393331234334"},
        {"body": "News  ON"},
        {"received_at": datetime(2026, 4, 8, 14, 30, 53, tzinfo=ROME)},
    ],
)
def test_any_difference_is_another_content(change: dict[str, object]) -> None:
    """Provider, from, to, time and body all count."""
    other = dataclasses.replace(MESSAGE, **change)  # type: ignore[arg-type]
    assert event.identity(other, None).content != event.identity(MESSAGE, None).content


def test_blanks_at_the_end_of_a_text_make_no_other_message() -> None:
    """A mail cannot carry them, and a post of the same SMS may: both are one message."""
    post = dataclasses.replace(MESSAGE, body="News ON \n")
    assert event.identity(post, None).content == event.identity(MESSAGE, EMAIL).content


def test_the_lines_of_a_flowed_mail_make_no_other_message() -> None:
    """Where they end is nothing that a signature covers; in any other mail it is."""
    flowed = dataclasses.replace(EMAIL, parts=(Part(False, True, None, lambda: None),))
    for email, same in ((flowed, True), (EMAIL, False)):
        ids = {
            event.identity(dataclasses.replace(MESSAGE, body=body), email).message_id
            for body in ("a long line", "a long\nline", "a longline")
        }
        assert (len(ids) == 1) is same


def test_the_same_instant_in_another_zone_is_the_same_message() -> None:
    """The offset is presentation."""
    utc = dataclasses.replace(MESSAGE, received_at=MESSAGE.received_at.astimezone(UTC))
    assert event.identity(utc, EMAIL) == event.identity(MESSAGE, EMAIL)


def test_fields_cannot_run_into_each_other() -> None:
    """What one field loses and the next gains makes another message."""
    one = dataclasses.replace(MESSAGE, sender="ab", recipient="c")
    two = dataclasses.replace(MESSAGE, sender="a", recipient="bc")
    assert event.identity(one, None).content != event.identity(two, None).content


def test_ids_and_keys_sort_by_the_providers_time() -> None:
    """Later messages get greater ids and keys, so that the database appends."""
    moments = [MESSAGE.received_at + timedelta(seconds=n) for n in range(0, 4000, 37)]
    made = [
        event.identity(dataclasses.replace(MESSAGE, received_at=moment), EMAIL)
        for moment in moments
    ]
    for key in ("message_id", "content", "email"):
        keys = [getattr(identity, key) for identity in made]
        assert keys == sorted(keys)


def test_without_a_time_of_its_own_the_stand_in_does_not_count() -> None:
    """Two copies of one mail are one message even if another clock stands in for the time."""
    one = dataclasses.replace(MESSAGE, has_own_time=False)
    two = dataclasses.replace(one, received_at=MESSAGE.received_at + timedelta(seconds=9))
    assert event.identity(one, EMAIL) == event.identity(two, EMAIL)


def test_an_id_is_stable_over_releases() -> None:
    """The id of a given message never changes: receivers remember it."""
    assert event.identity(MESSAGE, EMAIL).message_id == "msg_01KNPH5X30401B3TRSPRJVWQZD"


def test_each_format_has_an_id_of_its_own() -> None:
    """One `webhook-id` never comes with two bodies, and a message's ids sort together."""
    known = event.identity(MESSAGE, EMAIL).message_id
    other = event.event_id(known, "cloudevents")
    assert event.event_id(known, SMS_RECEIVED) == known
    assert other != known
    assert other == event.event_id(known, "cloudevents")
    assert (len(other), other[:14]) == (len(known), known[:14])
