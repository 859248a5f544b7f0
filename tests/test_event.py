"""A message's identity, its id and the webhook's body."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import event
from bridge.model import Arrival, Email, RawFields, SmsMessage, SourceKind, Trust

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
ARRIVAL = Arrival(
    source=SourceKind.SMTP,
    source_name="127.0.0.1:2525",
    raw=b"raw mail",
    received_at=datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC),
)
BRIDGED = datetime(2026, 4, 8, 12, 30, 53, 104_000, tzinfo=UTC)


def _data(message: SmsMessage = MESSAGE, email: Email | None = EMAIL) -> dict[str, object]:
    return event.data(
        message,
        message_id=event.identity(message, email).message_id,
        arrival=ARRIVAL,
        email=email,
        trust=Trust("networks", "127.0.0.0/8"),
        bridged_at=BRIDGED,
    )


def test_the_body_is_the_contract() -> None:
    """The body holds the fields that DESIGN and README promise, in their formats."""
    body = json.loads(event.build(_data(), MESSAGE.received_at).body)
    assert body["type"] == "sms.received"
    assert body["timestamp"] == "2026-04-08T12:30:52Z"
    data = body["data"]
    assert data["received_at"] == "2026-04-08T14:30:52+02:00"
    assert data["bridged_at"] == "2026-04-08T12:30:53.104Z"
    assert data["raw"] == {
        "from": "+393301234567",
        "to": "+393331234333",
        "date": "20260408143052",
    }
    assert data["email"] == {
        "message_id": "<1@agiletelecom.com>",
        "subject": "Agile Telecom -- SMS received",
        "charset": "utf-8",
    }
    assert data["segments"] == {"encoding": "GSM-7", "count": 1, "estimated": True}
    assert data["warnings"] == ["charset_undeclared"]
    assert data["opt"] is None


@given(
    body=st.text(st.characters(exclude_categories=())),
    sender=st.text(min_size=1),
    by_mail=st.booleans(),
)
def test_every_body_fits_the_schema(body: str, sender: str, by_mail: bool) -> None:
    """Whatever the text holds, the bytes are UTF-8 JSON that the published schema accepts."""
    message = dataclasses.replace(MESSAGE, body=body, sender=sender)
    built = event.build(_data(message, EMAIL if by_mail else None), message.received_at)
    parsed = json.loads(built.body)
    jsonschema.Draft202012Validator(json.loads(event.schema())).validate(parsed)
    assert parsed["data"]["body"] == body.encode("utf-8", "replace").decode()


def test_the_schema_refuses_what_is_not_the_contract() -> None:
    """A missing field or a foreign id is told by the schema."""
    validator = jsonschema.Draft202012Validator(json.loads(event.schema()))
    body = json.loads(event.build(_data(), MESSAGE.received_at).body)
    del body["data"]["trust"]
    assert not validator.is_valid(body)
    body = json.loads(event.build(_data(), MESSAGE.received_at).body)
    body["data"]["id"] = "evt_1"
    assert not validator.is_valid(body)


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
        {"body": "News ON "},
        {"received_at": datetime(2026, 4, 8, 14, 30, 53, tzinfo=ROME)},
    ],
)
def test_any_difference_is_another_content(change: dict[str, object]) -> None:
    """Provider, from, to, time and body all count."""
    other = dataclasses.replace(MESSAGE, **change)  # type: ignore[arg-type]
    assert event.identity(other, None).content != event.identity(MESSAGE, None).content


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
    two = dataclasses.replace(one, received_at=BRIDGED)
    assert event.identity(one, EMAIL) == event.identity(two, EMAIL)


def test_an_id_is_stable_over_releases() -> None:
    """The id of a given message never changes: receivers remember it."""
    assert event.identity(MESSAGE, EMAIL).message_id == "msg_01KNPH5X30401B3TRSPRJVWQZD"
