"""Every format: its bytes, what it declares, and what an endpoint makes of it."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from bridge import formats
from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery.attempt import build_request
from bridge.delivery.endpoint import Endpoint
from bridge.errors import ConfigError
from bridge.formats import FORMATS
from bridge.model import SMS_RECEIVED, Claim, DeliveryState, Event, RawFields
from bridge.signing import SCHEMES
from tests.formats.bridges import SECRET
from tests.formats.test_sms_received import MESSAGE, SMS

NOW = datetime(2026, 4, 8, 13, 0, tzinfo=UTC)
FORMS = ("agile", "url_networks", "twilio")


def read(event: Event) -> tuple[str, str, str]:
    """Read from, to and text as a receiver of the format does."""
    names = {
        "agile": ("originator", "destination", "text"),
        "url_networks": ("from", "sms_number", "body"),
        "twilio": ("From", "To", "Body"),
        "mobile_api_connect": ("from", "to", "text"),
    }.get(event.format, ("from", "to", "body"))
    if event.format in FORMS:
        pairs = parse_qs(event.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        found: Any = {name: value for name, (value,) in pairs.items()}
    elif event.format.startswith("cloudevents"):
        form = FORMATS[event.format]
        headers = {"content-type": form.content_type, **dict(form.headers(event))}
        found = from_http_event(HTTPMessage(headers, event.body)).get_data()
    else:
        document = json.loads(event.body)
        found = document.get("data", document)
    sender, recipient, body = (found[name] for name in names)
    return sender, recipient, body


@pytest.mark.parametrize("name", FORMATS)
@given(
    body=st.text(st.characters(exclude_categories=())),
    sender=st.text(min_size=1),
    provider=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True),
)
def test_every_text_gets_through(name: str, body: str, sender: str, provider: str) -> None:
    """Whatever the text holds, the receiver reads it; only lone surrogates are replaced."""
    sms = dataclasses.replace(SMS, body=body, sender=sender, provider=provider)
    message = dataclasses.replace(MESSAGE, sms=sms)
    event = FORMATS[name].event(message)
    assert event == FORMATS[name].event(message)
    plus = name != "mobile_api_connect"
    assert read(event) == (
        sender if plus else sender.removeprefix("+"),
        SMS.recipient if plus else SMS.recipient.removeprefix("+"),
        body.encode("utf-8", "replace").decode(),
    )
    for header, value in FORMATS[name].headers(event):
        assert re.fullmatch(r"[!-~]+", f"{header}:{value}")


def test_ids_are_stable_and_distinct() -> None:
    """Each format's event has its own id, and so have the fields that receivers dedupe by."""
    other = dataclasses.replace(MESSAGE, id="msg_01KNPH5X30401B3TRSPRJVWQZE")
    events = [each.event(message) for each in FORMATS.values() for message in (MESSAGE, other)]
    assert len({event.id for event in events}) == 2 * len(FORMATS)
    sids = [
        parse_qs(FORMATS["twilio"].event(message).body.decode())["MessageSid"][0]
        for message in (MESSAGE, MESSAGE, other)
    ]
    assert sids[0] == sids[1] != sids[2]
    assert all(re.fullmatch(r"SM[0-9a-f]{32}", sid) for sid in sids)


@pytest.mark.parametrize(
    ("raw", "received", "expected"),
    [
        ("20260408143052", "2026-04-08T12:30:52+00:00", "20260408143052"),
        ("1775651452", "2026-04-08T12:30:52+00:00", "20260408143052"),
        (None, "2026-01-08T12:30:52+00:00", "20260108133052"),
        ("Thu, 08 Jan 2026 12:30:52 GMT", "2026-01-08T12:30:52+00:00", "20260108133052"),
    ],
)
def test_agiles_time_is_its_own_or_italian(raw: str | None, received: str, expected: str) -> None:
    """Agile's digits stay as they are; other providers' times become Italian local time."""
    sms = dataclasses.replace(
        SMS, raw=RawFields("a", "b", raw), received_at=datetime.fromisoformat(received)
    )
    event = FORMATS["agile"].event(dataclasses.replace(MESSAGE, sms=sms))
    assert parse_qs(event.body.decode())["date_time"] == [expected]


def endpoint(**more: Any) -> Endpoint:
    table = {"name": "crm", "url": "https://u:p@crm.internal/sms?a=%2F", **more}
    settings = EndpointSettings.model_validate(table)
    return Endpoint.from_settings(0, settings, DeliverySettings(timeout=20.0))


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_brings_what_it_needs(name: str) -> None:
    """With its own scheme's secret and nothing else, an endpoint of any format can send."""
    scheme = FORMATS[name].scheme
    secret = None if scheme == "none" else SCHEMES[scheme].generate_secret()
    built = endpoint(format=name, secret=secret)
    assert built.timeout == (30.0 if name == "agile" else 20.0)
    planned = built.plan(MESSAGE)
    assert (planned.format, planned.state) == (name, DeliveryState.PENDING)
    request = build_request(built, claim(FORMATS[name].event(MESSAGE)), NOW)
    assert request.headers["webhook-id"] == FORMATS[name].event(MESSAGE).id
    assert request.headers["webhook-attempt"] == "1"
    assert request.headers.get_list("content-type") == [FORMATS[name].content_type]
    assert request.content == FORMATS[name].event(MESSAGE).body


def claim(event: Event) -> Claim:
    return Claim(1, "crm", event, 1, 0, 0.0, "lease")


def test_an_endpoint_may_wait_longer_than_its_format() -> None:
    assert endpoint(format="agile", timeout="45s").timeout == 45.0


def test_a_filtered_delivery_names_its_format() -> None:
    """Its event is in the ledger like that of any other delivery."""
    planned = endpoint(format="agile", to=("+441234567890",)).plan(MESSAGE)
    assert (planned.format, planned.state) == ("agile", DeliveryState.FILTERED)


def test_a_stored_event_keeps_its_format() -> None:
    """After the endpoint's format has changed, what waits is sent as what it is."""
    built = endpoint(secret=SECRET)
    event = FORMATS["cloudevents"].event(MESSAGE)
    request = build_request(built, claim(event), NOW)
    assert request.headers["content-type"] == "application/cloudevents+json"


def test_the_signed_url_is_the_one_on_the_wire() -> None:
    """A name and password in the URL are sent in a header, and not signed."""
    built = endpoint(format="twilio", secret=SECRET)
    assert getattr(built.scheme, "url") == "https://crm.internal/sms?a=%2F"  # noqa: B009
    assert "a=%2F" not in repr(built)


@pytest.mark.parametrize(
    ("more", "key", "problem"),
    [
        ({"format": "agil"}, "format", "'agil' is not a format, did you mean 'agile'"),
        ({"format": "?"}, "format", "known formats: sms.received, cloudevents, "),
        ({"format": "twilio"}, "secret", "set the secret that the scheme twilio signs with"),
        ({"format": "cloudevents"}, "secret", "set the secret that the scheme standard-webhooks"),
        ({"format": "agile", "secret": SECRET}, "secret", "the format agile is not signed"),
        (
            {"format": "cloudevents", "scheme": "twilio", "secret": SECRET},
            "scheme",
            "the scheme twilio signs forms, and the format cloudevents is none",
        ),
        (
            {"format": "twilio", "secrets": (SECRET, SECRET)},
            "secrets",
            "one signature: set secret, not secrets",
        ),
        (
            {"format": "mobile_api_connect", "secrets": (SECRET, SECRET)},
            "secrets",
            "X-MAC-Signature holds one signature: set secret, not secrets",
        ),
        (
            {"format": "cloudevents-binary", "secret": SECRET, "headers": {"Ce-Id": "x"}},
            "headers",
            "Ce-Id is a header of the format cloudevents-binary",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused(more: dict[str, Any], key: str, problem: str) -> None:
    """`check` and `run` name the key, and what to do."""
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        endpoint(**more)
    assert caught.value.key == f"endpoints.0.{key}"


def test_any_scheme_that_fits_signs_any_format() -> None:
    """A form can be signed as Standard Webhooks, and extension attributes can be added."""
    assert endpoint(format="agile", scheme="standard-webhooks", secret=SECRET).keys
    assert endpoint(format="agile", scheme="twilio", secret=SECRET).keys
    assert endpoint(format="cloudevents-binary", secret=SECRET, headers={"ce-tenant": "x"}).headers


def test_the_reader_makes_what_endpoints_want() -> None:
    """Each format once; the default one where there is no endpoint."""

    def settings(form: str) -> EndpointSettings:
        return EndpointSettings.model_validate(
            {"name": "x", "url": "http://x", "format": form, "secret": SECRET}
        )

    assert formats.wanted([]) == (SMS_RECEIVED,)
    assert formats.wanted([*map(settings, ("twilio", "agile", "twilio"))]) == ("twilio", "agile")
    with pytest.raises(ConfigError, match="did you mean 'twilio'"):
        formats.wanted([settings("agile"), settings("twillio")])
