"""An endpoint's filters: which messages it gets, and the reason why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings, Settings
from bridge.delivery import Endpoint
from bridge.model import DeliveryState, Message, RawFields, SourceKind
from bridge.signing.standard_webhooks import generate_secret
from tests.store.making import identity, planned_message

SECRET = generate_secret()


def message(
    body: str = "order 42",
    *,
    sender: str = "+393301234567",
    recipient: str = "+393331234333",
    provider: str = "agile",
    source: SourceKind = SourceKind.SMTP,
    raw: RawFields | None = None,
) -> Message:
    made = planned_message(identity(), body=body, sender=sender).message
    raw = raw or RawFields(sender, recipient, None)
    sms = replace(made.sms, recipient=recipient, provider=provider, raw=raw)
    return replace(made, sms=sms, source=source)


def settings(*filters: dict[str, Any], **more: Any) -> EndpointSettings:
    table = {"name": "crm", "url": "https://crm.internal", "secret": SECRET, "filter": filters}
    return EndpointSettings.model_validate(table | more)


def endpoint(*filters: dict[str, Any], **more: Any) -> Endpoint:
    return Endpoint.from_settings(0, settings(*filters, **more), DeliverySettings())


@pytest.mark.parametrize(
    ("condition", "failing"),
    [
        ({"provider": "agile"}, None),
        ({"provider": ["url_networks", "agile"]}, None),
        ({"provider": "url_networks"}, "provider"),
        ({"source": ["imap", "smtp"]}, None),
        ({"source": "file"}, "source"),
        ({"from": "+39 330 1234567"}, None),
        ({"from": ["48222", "393301234567"]}, None),
        ({"from": "+393301234568"}, "from"),
        ({"to": "0039 333 1234333"}, None),
        ({"to": "+393301234567"}, "to"),
        ({"from_pattern": r"^\+39330"}, None),
        ({"from_pattern": r"^39330"}, "from_pattern"),
        ({"to_pattern": "4333$"}, None),
        ({"to_pattern": "4334$"}, "to_pattern"),
        ({"body_pattern": "^ORDER [0-9]+$"}, None),
        ({"body_pattern": "^[0-9]+$"}, "body_pattern"),
        ({"opt": "out"}, "opt"),
        ({"provider": "agile", "body_pattern": "order", "to": "+393331234333"}, None),
        ({"provider": "agile", "body_pattern": "refund", "to": "+393331234333"}, "body_pattern"),
    ],
)
def test_all_conditions_of_a_filter_must_hold(
    condition: dict[str, Any], failing: str | None
) -> None:
    """The first one that doesn't is named; and negated, the opposite is so."""
    expected = failing and f"the endpoint's filter doesn't match: {failing}"
    assert endpoint(condition).unwanted(message()) == expected
    negated = {"provider": "agile", "not": condition}
    not_taken = "the endpoint's filter doesn't match: not" if failing is None else None
    assert endpoint(negated).unwanted(message()) == not_taken


@pytest.mark.parametrize(
    ("body", "opt"), [("STOP", "out"), (" start ", "in"), ("Info", "help"), ("stop it", None)]
)
def test_keywords_are_conditions(body: str, opt: str | None) -> None:
    """`opt` holds for the kinds of keyword that the webhook's `opt` has."""
    for wanted in ("out", "in", "help"):
        reason = endpoint({"opt": wanted}).unwanted(message(body))
        assert (reason is None) == (wanted == opt)
    plain = {"provider": "agile", "not": {"opt": ["out", "in", "help"]}}
    assert (endpoint(plain).unwanted(message(body)) is None) == (opt is None)


def test_one_of_several_filters_is_enough() -> None:
    """Tables are alternatives, and so are those in `not`; the reason names each."""
    either = endpoint(
        {"from": "48222"},
        {"body_pattern": "order", "not": [{"body_pattern": "test"}, {"source": "imap"}]},
    )
    assert either.unwanted(message()) is None
    assert either.unwanted(message("hello", sender="48222")) is None
    for body, source in (("test order", SourceKind.SMTP), ("order", SourceKind.IMAP)):
        assert either.unwanted(message(body, source=source)) == (
            "none of the endpoint's filters matches: 1 (from), 2 (not)"
        )


def test_filters_are_beside_providers_and_to() -> None:
    """The older settings and the filters must both let a message through."""
    both = endpoint({"body_pattern": "order"}, providers=("agile",), to=("+393331234333",))
    assert both.unwanted(message()) is None
    assert both.unwanted(message("hello"))
    assert both.unwanted(message(provider="url_networks"))
    assert both.unwanted(message(recipient="+393331234334"))


def test_a_number_matches_as_the_provider_writes_it_too() -> None:
    """A list that names the number in the provider's spelling loses nothing."""
    raw = RawFields("0330 1234567", "333 1234333", None)
    assert endpoint({"from": "03301234567", "to": "3331234333"}).unwanted(message(raw=raw)) is None


def test_a_filtered_delivery_says_why_without_the_message() -> None:
    """The delivery is filtered, with a reason in which there is no number and no text."""
    planned = endpoint({"from": "+393401112222"}).plan(message())
    assert planned.state is DeliveryState.FILTERED
    assert planned.reason == "the endpoint's filter doesn't match: from"
    assert "393401112222" not in repr(endpoint({"from": "+393401112222"}))


def test_any_text_can_be_matched() -> None:
    """A lone surrogate, which no UTF-8 holds, is no reason to fail."""
    assert endpoint({"body_pattern": "order"}).unwanted(message("order \ud800")) is None


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({}, "has no condition: set one of provider, source, from, to, from_pattern"),
        ({"not": {"opt": "out"}}, None),
        ({"provider": "agile", "not": {}}, "has no condition"),
        ({"body_pattern": "(?=x)"}, "is not a valid pattern (RE2 syntax)"),
        ({"body_pattern": ""}, "matches everything"),
        ({"source": "fax"}, "Input should be 'smtp', 'imap', 'http' or 'file'"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    filters: dict[str, Any], problem: str | None
) -> None:
    if problem is None:
        assert endpoint(filters).unwanted(message("STOP"))
        assert endpoint(filters).unwanted(message()) is None
        return
    with pytest.raises(ValidationError) as caught:
        settings(filters)
    assert problem in str(caught.value)


def test_a_filter_by_an_unknown_provider_is_refused() -> None:
    """A misspelt provider would filter everything out."""
    with pytest.raises(ValidationError, match="crm wants messages of provider 'agil'"):
        Settings(providers=(), endpoints=(settings({"from": "1", "not": {"provider": "agil"}}),))
