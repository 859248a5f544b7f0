"""How messages, deliveries and arrivals are printed: their JSON, with numbers masked in lists.

These keys are a contract: keys are only ever added.
"""

from __future__ import annotations

import json
from typing import Any

from bridge.cli.output import when
from bridge.logs import mask
from bridge.store.queries import ArrivalRow, AttemptRow, DeliveryRow, MessageRow

Document = dict[str, Any]


def message_document(row: MessageRow, *, reveal: bool) -> Document:
    """Give a message's keys; its text only if it may be revealed."""
    return {
        "id": row.id,
        "arrival_id": row.arrival_id,
        "provider": row.provider,
        "from": row.sender if reveal else mask(row.sender),
        "to": row.recipient if reveal else mask(row.recipient),
        "received_at": row.received_at.isoformat(timespec="seconds"),
        "bridged_at": when(row.bridged_at),
        "provider_message_id": row.provider_message_id,
        **({"body": row.body} if reveal else {}),
    }


def delivery_document(row: DeliveryRow) -> Document:
    """Give a delivery's keys."""
    return {
        "id": row.id,
        "message_id": row.message_id,
        "endpoint": row.endpoint,
        "state": row.state.value,
        "reason": row.reason,
        "attempts": row.attempts,
        "next_at": when(row.due_at) if row.state == "pending" and row.leased_by is None else None,
        "under_way": row.leased_by is not None,
        "created_at": when(row.created_at),
        "changed_at": when(row.changed_at),
    }


def attempt_document(row: AttemptRow) -> Document:
    """Give an attempt's keys; `answer` is the beginning of the response's body."""
    return {
        "number": row.number,
        "started_at": when(row.started_at),
        "seconds": round(row.duration, 3),
        "result": row.result,
        "status": row.status,
        "error": row.error,
        "detail": row.detail,
        "lease_lost": row.lease_lost,
        "answer": row.answer.decode("utf-8", "replace"),
    }


def arrival_document(row: ArrivalRow, *, reveal: bool) -> Document:
    """Give an arrival's keys; the envelope's addresses, which may be secret, only if revealed."""
    shown: Document = {
        "id": row.id,
        "source": row.source.value,
        "source_name": row.source_name,
        "received_at": when(row.received_at),
        "outcome": row.outcome.value,
        "reason": row.reason,
        "detail": row.detail,
        "provider": row.provider,
        "message_id": row.message_id,
        "trust": None if row.trust_by is None else {"by": row.trust_by, "detail": row.trust_detail},
        "reparsed_at": when(row.reparsed_at),
        "peer": row.peer,
        "size": row.size,
    }
    if reveal:
        shown |= {"envelope_from": row.envelope_from, "recipients": list(row.recipients)}
    return shown


def event_data(body: bytes) -> Document:
    """Give the `data` of an event's body."""
    data = json.loads(body)["data"]
    assert isinstance(data, dict)
    return data
