"""One arrival: why it became no message, what would mend that, and what would come out now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from bridge.errors import BridgeError, TrustUnavailable
from bridge.model import Arrival
from bridge.operations import quarantine
from bridge.operations.acts import logged
from bridge.operations.documents import Document, result_document
from bridge.operations.sentences import about_quarantine, about_trust, about_way, advice
from bridge.reader import Reader
from bridge.store import queries
from bridge.store.acts import Act
from bridge.web.page.study import MASKED, study
from bridge.web.page.visit import Visit, whole

_MESSAGES: Final = 10  # of one mail, shown


async def show_arrival(visit: Visit) -> web.Response:
    """Show an arrival."""
    return await _shown(visit, ())


async def try_again(visit: Visit) -> web.Response:
    """Read an arrival with the config in use and with the file as it is now; store nothing."""
    arrival_id = _id(visit)
    site = visit.site
    found = await site.store.read(partial(queries.show_arrival, arrival_id=arrival_id))
    trials = [await _tried("With the config in use", site.intake.reader, found.arrival)]
    name = "With the config file as it is now"
    try:
        candidate = await asyncio.to_thread(site.candidate)
    except BridgeError as error:
        trials.append(_failed(name, f"The file cannot be used: {error}"))
    else:
        trials.append(await _tried(name, candidate, found.arrival))
    return await _shown(visit, trials)


async def reparse(visit: Visit) -> web.Response:
    """Read an arrival again and store the result, as `smsbridge quarantine reparse` does."""
    site = visit.site
    assert visit.visitor is not None
    arrival_id = _id(visit)
    act = Act(visit.visitor.name, visit.visitor.way, "quarantine reparse", str(arrival_id))
    (done,) = await logged(
        site.store,
        site.clock,
        act,
        lambda: quarantine.reparse(site.store, site.intake, [arrival_id], lambda _: None),
    )
    if done["message_id"] is not None:
        return visit.go(f"/messages/{done['message_id']}", {"done": done["outcome"]})
    return visit.go(f"/arrivals/{arrival_id}", {"done": done["outcome"]})


async def download(visit: Visit) -> web.Response:
    """Send an arrival's raw bytes, as a file that no browser opens by itself."""
    arrival_id = _id(visit)
    raw = await quarantine.raw_arrival(visit.site.store, arrival_id)
    return web.Response(
        body=raw,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="arrival-{arrival_id}.eml"'},
    )


async def _shown(visit: Visit, trials: Sequence[Document]) -> web.Response:
    site = visit.site
    document = await quarantine.show_arrival(site.store, _id(visit))
    known = site.intake.reader.known
    studied = await study(site.store, known, document["id"]) if visit.reveal else MASKED
    quarantined = document["outcome"] == "quarantine"
    return await visit.show(
        "arrival.html",
        "/quarantine" if quarantined else "/messages",
        arrival=document,
        why=about_quarantine(document),
        advice=list(advice(document, studied.explained)) if quarantined else [],
        trials=trials,
        may_mend=visit.reveal and quarantined and document["purged_at"] is None,
        study=studied,
        came=about_way(document),
        facts=list(_facts(document, visit.reveal)),
    )


async def _tried(name: str, reader: Reader, arrival: Arrival) -> Document:
    try:
        result = result_document(await reader.read(arrival))
    except TrustUnavailable as error:
        return _failed(name, f"Its evidence cannot be checked now: {error}")
    outcome = result["outcome"]
    messages = [result["data"], *result.get("more", ())] if outcome == "message" else []
    says = {
        "message": "It would become a message"
        + ("." if len(messages) == 1 else f", or rather {len(messages)} of them."),
        "ignored": f"Its provider says that it is no SMS: {result.get('detail')}.",
        "quarantine": f"It would stay in quarantine: {result.get('detail')}.",
    }[outcome]
    return {"name": name, "outcome": outcome, "says": says, "messages": messages[:_MESSAGES]}


def _failed(name: str, says: str) -> Document:
    return {"name": name, "outcome": "quarantine", "says": says, "messages": []}


def _facts(document: Document, reveal: bool) -> Iterator[tuple[str, object, str]]:
    yield "Came in", document["received_at"], "time"
    yield "Size", f"{document['size']} bytes", ""
    if document["provider"]:
        yield "Provider", document["provider"], ""
    trusted = about_trust(document)
    if trusted is not None:
        yield "Trust", trusted, ""
    if reveal and document["envelope_from"] is not None:
        yield "Envelope from", document["envelope_from"] or "<>", ""
        yield "Envelope to", ", ".join(document["recipients"]), ""
    if document["reparsed_at"]:
        yield "Read again", document["reparsed_at"], "time"
    if document["purged_at"]:
        yield "Raw mail removed", document["purged_at"], "time"
    if document["message_id"]:
        yield "Message", document["message_id"], "message"


def _id(visit: Visit) -> int:
    return whole(visit.request.match_info["id"]) or 0
