"""One message or delivery, with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from bridge.logs import mask
from bridge.model import DeliveryState
from bridge.operations import deliveries as operations
from bridge.operations.acts import logged
from bridge.operations.documents import Document, attempt_document, delivery_document
from bridge.operations.messages import show_message as message_document
from bridge.operations.sentences import about_attempt, about_delivery, about_trust, about_way
from bridge.store import queries
from bridge.store.acts import Act
from bridge.store.queries import AttemptRow
from bridge.store.story import newest_attempts
from bridge.web.page.study import MASKED, study
from bridge.web.page.visit import Visit, whole

_DELIVERIES: Final = 20  # of one message
_ARRIVALS: Final = 10
_ATTEMPTS: Final = 10  # of one delivery of a message
_MORE_ATTEMPTS: Final = 100  # of one delivery by itself
_ANSWER: Final = 500  # bytes of an answer, beside a message
_WHOLE_ANSWER: Final = 4096


async def show_message(visit: Visit) -> web.Response:
    """Show a message: the mail as it came, what was read, and each delivery with its attempts."""
    store = visit.site.store
    story = await message_document(store, visit.request.match_info["id"])
    data, arrivals, deliveries = story["data"], story["arrivals"], story["deliveries"]
    shown = deliveries[:_DELIVERIES]
    ids = [each["id"] for each in shown]
    made = await store.read(
        partial(newest_attempts, delivery_ids=ids, most=_ATTEMPTS, longest=_ANSWER)
    )
    brought = next((each for each in arrivals if each["outcome"] == "message"), arrivals[0])
    known = visit.site.intake.reader.known
    return await visit.show(
        "message.html",
        "/messages",
        data=data if visit.reveal else _masked(data),
        purged_at=story["purged_at"],
        message_state=story["state"],
        facts=list(_facts(data, visit.reveal)),
        arrivals=[
            {**each, "came": about_way(each), "trusted": about_trust(each)}
            for each in arrivals[:_ARRIVALS]
        ],
        more_arrivals=max(0, len(arrivals) - _ARRIVALS),
        arrival_id=brought["id"],
        deliveries=[_delivery(each, made[each["id"]]) for each in shown],
        more_deliveries=max(0, len(deliveries) - _DELIVERIES),
        study=await study(store, known, brought["id"]) if visit.reveal else MASKED,
    )


async def show_delivery(visit: Visit) -> web.Response:
    """Show a delivery with its attempts."""
    site = visit.site
    delivery_id = whole(visit.request.match_info["id"]) or 0
    rows = await site.store.read(partial(queries.list_deliveries, limit=1, before=delivery_id + 1))
    if not rows or rows[0].id != delivery_id:
        await site.store.read(partial(queries.require_delivery, delivery_id=delivery_id))
    document = delivery_document(rows[0], site.rates, site.clock())
    made = await site.store.read(
        partial(
            newest_attempts, delivery_ids=[delivery_id], most=_MORE_ATTEMPTS, longest=_WHOLE_ANSWER
        )
    )
    state = rows[0].state
    return await visit.show(
        "delivery.html",
        "/deliveries",
        delivery=document,
        says=about_delivery(document),
        made=_attempts(made[delivery_id]),
        earlier=max(0, document["attempts"] - len(made[delivery_id])),
        may_retry=visit.reveal
        and state in {DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD},
    )


async def retry(visit: Visit) -> web.Response:
    """Retry a delivery now."""
    site = visit.site
    assert visit.visitor is not None
    delivery_id = whole(visit.request.match_info["id"]) or 0
    act = Act(visit.visitor.name, visit.visitor.way, "delivery retry", str(delivery_id))
    done = await logged(
        site.store,
        site.clock,
        act,
        lambda: operations.retry(site.store, site.clock, ids=[delivery_id]),
    )
    note = "retried" if done["retried"] else "not-retried"
    return visit.go(f"/deliveries/{delivery_id}", {"done": note})


def _delivery(document: Document, made: Sequence[AttemptRow]) -> Document:
    return {
        **document,
        "says": about_delivery(document),
        "attempts_made": _attempts(made),
        "earlier": max(0, document["attempts"] - len(made)),
    }


def _attempts(made: Sequence[AttemptRow]) -> list[Document]:
    documents = [attempt_document(row) for row in made]
    return [{**each, "says": about_attempt(each)} for each in documents]


def _masked(data: Document) -> Document:
    return {**data, "from": mask(data["from"]), "to": mask(data["to"])}


def _facts(data: Document, reveal: bool) -> Iterator[tuple[str, object, str]]:
    """Yield (name, value, kind); what strangers wrote only if it may be seen."""
    segments, trust = data["segments"], data["trust"]
    yield "Sent", data["received_at"], "time"
    yield "Stored", data["bridged_at"], "time"
    yield "Provider", data["provider"], ""
    if trust is not None:
        yield "Believed for", f"{trust['by']}: {trust['detail']}", ""
    if data["provider_message_id"] is not None and reveal:
        yield "Provider's id", data["provider_message_id"], "code"
    if segments is not None:
        about = "about " if segments["estimated"] else ""
        plural = "" if segments["count"] == 1 else "s"
        yield "Length", f"{about}{segments['count']} segment{plural}, {segments['encoding']}", ""
    if reveal:
        raw, email = data["raw"], data["email"]
        written = [f"{name} {raw[name]}" for name in ("from", "to", "date") if raw[name]]
        yield "As written", ", ".join(written), ""
        if email is not None:
            yield "Subject", email["subject"], ""
    for warning in data["warnings"]:
        yield "Warning", warning, ""
    yield "SHA-256 of the arrival", data["sha256"], "code"
