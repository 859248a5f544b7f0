"""Sentences say what is so, for each state that there is."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.model import ArrivalOutcome, DeliveryState, EndpointState, Reason
from bridge.operations import sentences


def delivery(**changed: Any) -> dict[str, Any]:
    return {
        "behind": None, "waits_for_rate": None, "reason": None, "last_error": None, "attempts": 2,
        "state": "pending", "under_way": False,
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"state": "delivered", "attempts": 1}, "Delivered, with 1 attempt."),
        ({"attempts": 0}, "Waits for its first attempt."),
        ({"attempts": 0, "behind": 7}, "Waits for its first attempt: waits behind delivery 7."),
        ({"last_error": "answered 503"}, "Not delivered yet, after 2 attempts: answered 503."),
        ({"under_way": True}, "Attempt 2 is under way."),
        ({"state": "held", "reason": "moving"}, "Held: moving. It goes out when"),
        ({"state": "dead", "last_error": "no answer"}, "Given up after 2 attempts: no answer."),
        ({"state": "filtered"}, "The endpoint doesn't want it"),
    ],
)
def test_a_delivery(changed: dict[str, Any], said: str) -> None:
    assert sentences.about_delivery(delivery(**changed)).startswith(said)


def test_every_state_has_its_sentence() -> None:
    """A state, a reason or an outcome that is new would break the page at 3 am."""
    for state in DeliveryState:
        assert sentences.about_delivery(delivery(state=state.value))
    for each in EndpointState:
        assert sentences.about_endpoint({"state": each.value, "held": None})
    arrival = {"id": 1, "provider": None, "detail": "why", "trust": None}
    for reason in (*Reason, None):
        document = {**arrival, "reason": reason and reason.value}
        assert "why" in sentences.about_quarantine(document)
        assert list(sentences.advice(document, None))
    for outcome in ArrivalOutcome:
        came = {"source": "smtp", "source_name": "x", "peer": None, "detail": None}
        came |= {"outcome": outcome.value, "discarded_because": "spam"}
        assert sentences.about_way(came).startswith("A mail by SMTP (x).")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": 200, "result": "delivered"}, "Answered 200 after 0.3 s. That delivered it."),
        (
            {"error": "timeout", "detail": "no answer in time", "result": "retry"},
            "No answer after 0.3 s: no answer in time; it may have arrived. It is tried again.",
        ),
        (
            {"error": "connect", "detail": "no connection: refused", "sent": False},
            "Not sent, after 0.3 s: no connection: refused. It was the last of its schedule.",
        ),
    ],
)
def test_an_attempt(changed: dict[str, Any], said: str) -> None:
    attempt = {
        "seconds": 0.3, "detail": "", "status": None, "error": None, "sent": True,
        "result": "dead", "failover": False, "lease_lost": False,
    }  # fmt: skip
    assert sentences.about_attempt(attempt | changed) == said
