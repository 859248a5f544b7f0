"""The canonical event: what the webhook's body holds."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from bridge.formats import sms_received
from bridge.model import EmailSummary, Message, RawFields, SmsMessage, SourceKind, Trust

ROME = timezone(timedelta(hours=2))
SMS = SmsMessage(
    provider="agile",
    sender="+393301234567",
    recipient="+393331234333",
    body="News ON",
    received_at=datetime(2026, 4, 8, 14, 30, 52, tzinfo=ROME),
    raw=RawFields("+393301234567", "+393331234333", "20260408143052"),
    warnings=("charset_undeclared",),
)
MESSAGE = Message(
    id="msg_01KNPH5X30401B3TRSPRJVWQZD",
    sms=SMS,
    source=SourceKind.SMTP,
    email=EmailSummary("<1@agiletelecom.com>", "Agile Telecom -- SMS received", "utf-8"),
    sha256="0" * 64,
    trust=Trust("networks", "127.0.0.0/8"),
    bridged_at=datetime(2026, 4, 8, 12, 30, 53, 104_000, tzinfo=UTC),
)


def test_the_body_is_the_contract() -> None:
    """The body holds the fields that DESIGN and README promise, in their formats."""
    body = json.loads(sms_received.event(MESSAGE).body)
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
    message = dataclasses.replace(
        MESSAGE,
        sms=dataclasses.replace(SMS, body=body, sender=sender),
        email=MESSAGE.email if by_mail else None,
    )
    built = sms_received.event(message)
    parsed = json.loads(built.body)
    jsonschema.Draft202012Validator(json.loads(sms_received.schema())).validate(parsed)
    assert parsed["data"]["body"] == body.encode("utf-8", "replace").decode()


def test_the_schema_refuses_what_is_not_the_contract() -> None:
    """A missing field or a foreign id is told by the schema."""
    validator = jsonschema.Draft202012Validator(json.loads(sms_received.schema()))
    body = json.loads(sms_received.event(MESSAGE).body)
    del body["data"]["trust"]
    assert not validator.is_valid(body)
    body = json.loads(sms_received.event(MESSAGE).body)
    body["data"]["id"] = "evt_1"
    assert not validator.is_valid(body)
