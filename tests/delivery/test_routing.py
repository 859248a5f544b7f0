"""Which endpoints want a message, and what an endpoint's settings become."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.routing import conversation_key, is_national, number_key, unwanted
from bridge.errors import ConfigError
from bridge.model import Order, RawFields, SmsMessage
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.store.making import identity, planned_message


def _message(recipient: str = "+393331234333", raw: str | None = None) -> SmsMessage:
    return SmsMessage(
        provider="agile",
        sender="+393301234567",
        recipient=recipient,
        body="News ON",
        received_at=datetime(2026, 4, 8, 12, 30, tzinfo=UTC),
        raw=RawFields("393301234567", raw or recipient, None),
    )


@pytest.mark.parametrize(
    ("providers", "to", "wanted"),
    [
        ((), (), True),
        (("agile",), (), True),
        (("agile", "url_networks"), ("+393331234333",), True),
        (("url_networks",), (), False),
        (("url_networks",), ("+393331234333",), False),
        ((), ("+393331234333",), True),
        ((), ("+39 333 123-4333",), True),
        ((), ("393331234333",), True),
        ((), ("0039 333 1234333",), True),
        ((), ("+393331234334",), False),
        ((), ("+39333123433",), False),
        ((), ("+393331234334", "+393331234333"), True),
    ],
)
def test_filters(providers: tuple[str, ...], to: tuple[str, ...], wanted: bool) -> None:
    """All filters that are set must let a message through; a number's dress does not matter."""
    reason = unwanted(
        _message(), providers=providers, recipients=[number_key(number) for number in to]
    )
    assert (reason is None) == wanted
    assert reason is None or "333" not in reason


def test_filter_knows_the_raw_number_too() -> None:
    """A filter that names the number as the provider writes it matches."""
    reason = unwanted(_message(raw="0333 1234333"), providers=(), recipients=["03331234333"])
    assert reason is None


@pytest.mark.parametrize(
    ("number", "national"),
    [
        ("333 1234333", True),
        ("0333 1234333", True),
        ("+393331234333", False),
        ("393331234333", False),
        ("00393331234333", False),
        ("48222", False),
        ("NEWS", False),
    ],
)
def test_number_without_a_country_code_is_told(number: str, national: bool) -> None:
    """Only what E.164 would write otherwise lacks its code."""
    assert is_national(number) is national


def test_filter_ignores_the_case_of_an_id() -> None:
    """An alphanumeric recipient is the same in either case."""
    assert unwanted(_message("News"), providers=(), recipients=[number_key("NEWS")]) is None


def test_a_conversation_is_who_writes_to_whom() -> None:
    """A number's dress does not matter, the direction does, and it is the same in every process."""
    key = conversation_key(_message())
    assert conversation_key(_message("0039 333 1234333")) == key == -7752008563555614078
    assert conversation_key(_message("+393331234334")) != key
    there_and_back = {
        conversation_key(replace(_message(recipient), sender=sender))
        for sender, recipient in (("1", "23"), ("12", "3"), ("23", "1"), ("\udc80", ""))
    }
    assert len(there_and_back) == 4


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({}, Order.NONE),
        ({"order": "none"}, Order.NONE),
        ({"order": "conversation"}, Order.BLOCK),
        ({"order": "conversation", "behind": "block"}, Order.BLOCK),
        ({"order": "conversation", "behind": "pass"}, Order.OVERTAKE),
    ],
)
def test_an_order_is_planned_with_each_delivery(settings: dict[str, object], order: Order) -> None:
    """With the conversation, which endpoints without an order don't need."""
    known = EndpointSettings(
        name="crm", url="http://127.0.0.1/", secret=generate_secret(), **settings
    )
    endpoint = Endpoint.from_settings(0, known, DeliverySettings())
    message = planned_message(identity()).message
    planned = endpoint.plan(message, lambda: True)
    assert (endpoint.order, planned.order) == (order, order)
    expected = None if order is Order.NONE else conversation_key(message.sms)
    assert planned.conversation == expected


def test_settings_become_an_endpoint() -> None:
    """An endpoint takes its own limits where it has some, and all keys newest first."""
    new, old = generate_secret(), generate_secret()
    settings = EndpointSettings(
        name="crm",
        url="https://user:pw@crm.internal/hooks/sms?a=%2F",
        secrets=(new, old),
        to=("+39 333",),
        timeout=3.0,
    )
    endpoint = Endpoint.from_settings(0, settings, DeliverySettings(concurrency=4))
    assert endpoint.keys == (parse_secret(new), parse_secret(old))
    assert (endpoint.concurrency, endpoint.timeout) == (4, 3.0)
    assert str(endpoint.url) == "https://user:pw@crm.internal/hooks/sms?a=%2F"
    assert "pw" not in repr(endpoint)
    assert "39333" not in repr(endpoint)


@pytest.mark.parametrize(
    ("secrets", "key"),
    [
        ({"secret": "whsec_short"}, "endpoints.3.secret"),
        ({"secrets": (generate_secret(), "hunter2hunter2")}, "endpoints.3.secrets.1"),
    ],
)
def test_malformed_secret_names_its_key(secrets: dict[str, object], key: str) -> None:
    """A secret that cannot be used is refused with the key that holds it, and not shown."""
    settings = EndpointSettings(name="crm", url="http://127.0.0.1/", **secrets)
    with pytest.raises(ConfigError) as caught:
        Endpoint.from_settings(3, settings, DeliverySettings())
    assert caught.value.key == key
    assert "short" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
