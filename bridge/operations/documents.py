"""The JSON documents of messages, deliveries and arrivals; numbers are masked in lists.

These keys are a contract: they are only ever added to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from bridge.formats import sms_received
from bridge.logs import mask
from bridge.model import Caller, Envelope, Ignored, Unreadable
from bridge.reader import Reading, Result
from bridge.store.queries import ArrivalRow, AttemptRow, DeliveryRow, MessageRow

Document = dict[str, Any]


def when(moment: datetime | None) -> str | None:
    """Format a time as ISO 8601 in UTC, to the second."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def message_document(row: MessageRow, *, reveal: bool) -> Document:
    """Return a message's document; with its text and full numbers if `reveal`.

    "state" sums up its deliveries; null: it has none.
    """
    message, sms = row.message, row.message.sms
    return {
        "id": message.id,
        "arrival_id": row.arrival_id,
        "provider": sms.provider,
        "from": sms.sender if reveal else mask(sms.sender),
        "to": sms.recipient if reveal else mask(sms.recipient),
        "received_at": sms.received_at.astimezone(UTC).isoformat(timespec="seconds"),
        "bridged_at": when(message.bridged_at),
        "provider_message_id": sms.provider_message_id,
        "arrived_at": when(row.arrived_at),
        "state": row.state,
        **({"body": sms.body} if reveal else {}),
    }


def delivery_document(
    row: DeliveryRow, rates: Mapping[str, str] = MappingProxyType({}), now: datetime | None = None
) -> Document:
    """Return a delivery's document; it has no time of its own while it waits for another one.

    `rates` are those of the endpoints that have one: what is due at such an endpoint waits for it.
    """
    timed = row.state == "pending" and row.leased_by is None and row.behind is None
    paced = timed and now is not None and row.due_at <= now
    return {
        "id": row.id,
        "message_id": row.message_id,
        "endpoint": row.endpoint,
        "state": row.state.value,
        "reason": row.reason,
        "attempts": row.attempts,
        "next_at": when(row.due_at) if timed else None,
        "under_way": row.leased_by is not None,
        "behind": row.behind,
        "waits_for_rate": rates.get(row.endpoint) if paced else None,
        "created_at": when(row.created_at),
        "changed_at": when(row.changed_at),
        "last_error": row.last_error,
        "replay": row.replay or None,
        "sequence": row.sequence,
    }


def attempt_document(row: AttemptRow) -> Document:
    """Return an attempt's document; `answer` is the beginning of the response body."""
    return {
        "number": row.number,
        "started_at": when(row.started_at),
        "seconds": round(row.duration, 3),
        "result": row.result,
        "status": row.status,
        "error": row.error,
        "detail": row.detail,
        "sent": row.sent,
        "failover": row.failover,
        "lease_lost": row.lease_lost,
        "answer": row.answer.decode("utf-8", "replace"),
    }


def arrival_document(row: ArrivalRow, *, reveal: bool) -> Document:
    """Return an arrival's document; with envelope addresses, which may be secret, if `reveal`."""
    envelope = row.origin if isinstance(row.origin, Envelope) else None
    shown: Document = {
        "id": row.id,
        "source": row.source,
        "source_name": row.source_name,
        "received_at": when(row.received_at),
        "outcome": row.outcome.value,
        "reason": row.reason,
        "detail": row.detail,
        "provider": row.provider,
        "message_id": row.message_id,
        "trust": None if row.trust_by is None else {"by": row.trust_by, "detail": row.trust_detail},
        "reparsed_at": when(row.reparsed_at),
        "purged_at": when(row.purged_at),
        "discarded_because": row.discarded_because,
        "peer": row.origin.peer if isinstance(row.origin, Envelope | Caller) else None,
        "size": row.size,
    }
    if reveal:
        shown |= {
            "envelope_from": None if envelope is None else envelope.sender,
            "recipients": [] if envelope is None else list(envelope.recipients),
        }
    return shown


def result_document(result: Result) -> Document:
    """Return what an arrival was read as, without a store.

    {"outcome": "message", "data"}, with "more": [data, …] if there are several; else
    {"outcome": "quarantine" | "ignored", "reason", "detail"}.
    """
    match result:
        case Reading(messages):
            data, *more = (sms_received.data(each.message) for each in messages)
            return {"outcome": "message", "data": data, **({"more": more} if more else {})}
        case Ignored():
            return {"outcome": "ignored", "reason": "not_sms", "detail": result.detail}
        case Unreadable():
            reason = result.reason.value
            return {"outcome": "quarantine", "reason": reason, "detail": result.detail}
