"""What the API shows. A token that only reads sees no whole number, no text and no raw mail."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files
from typing import Final

from aiohttp import web

from bridge.model import ArrivalOutcome, Scope
from bridge.operations import acts, listing
from bridge.operations import endpoints as endpoint_operations
from bridge.operations.deliveries import show_delivery
from bridge.operations.documents import Document
from bridge.operations.messages import show_message
from bridge.operations.plan import describe
from bridge.operations.quarantine import raw_arrival, show_arrival
from bridge.operations.retries import list_retries, show_retry
from bridge.store.pages import ArrivalFilter, DeliveryFilter
from bridge.store.search import MessageFilter
from bridge.web.api.admin import Bridge, Call, Problem, answered

_PAGING: Final = {"limit", "next", "include", "source"}


def may_reveal(call: Call) -> bool:
    """Whether the visitor sees whole numbers."""
    return call.visitor.may(Scope.OPERATE)


def _texts(call: Call) -> bool:
    """Whether texts were asked for; refused if they aren't for this visitor."""
    if call.query.include is None:
        return False
    if not may_reveal(call):
        raise Problem(HTTPStatus.FORBIDDEN, "texts are for tokens of the scope operate")
    return True


async def messages(bridge: Bridge, call: Call) -> web.Response:
    """List messages."""
    query = call.query
    which = MessageFilter(**query.model_dump(exclude=_PAGING))
    document = await listing.messages(
        bridge.store, which, query.source, limit=query.limit, before=query.next,
        numbers=may_reveal(call), texts=_texts(call),
    )  # fmt: skip
    return answered(document)


async def message(bridge: Bridge, call: Call) -> web.Response:
    """Show a message's whole story."""
    story = await show_message(bridge.store, call.named["id"])
    return answered(listing.masked(story, numbers=may_reveal(call), texts=_texts(call)))


async def arrivals(bridge: Bridge, call: Call) -> web.Response:
    """List arrivals."""
    which = ArrivalFilter(**call.query.model_dump(exclude={"limit", "next"}))
    return answered(await _arrivals(bridge, call, which))


async def quarantine(bridge: Bridge, call: Call) -> web.Response:
    """List arrivals in quarantine."""
    wanted = call.query.model_dump(exclude={"limit", "next"})
    which = ArrivalFilter(**wanted, outcome=ArrivalOutcome.QUARANTINE)
    return answered(await _arrivals(bridge, call, which))


async def arrival(bridge: Bridge, call: Call) -> web.Response:
    """Show an arrival."""
    document = await show_arrival(bridge.store, call.number)
    return answered(listing.masked_arrival(document, numbers=may_reveal(call)))


async def raw(bridge: Bridge, call: Call) -> web.Response:
    """Give an arrival's bytes, as a file that no browser shows."""
    found = await raw_arrival(bridge.store, call.number)
    named = f'attachment; filename="arrival-{call.number}.eml"'
    headers = {"Content-Disposition": named}
    return web.Response(body=found, content_type="application/octet-stream", headers=headers)


async def deliveries(bridge: Bridge, call: Call) -> web.Response:
    """List deliveries."""
    query = call.query
    which = DeliveryFilter(**query.model_dump(exclude={"limit", "next"}))
    return answered(
        await listing.deliveries(
            bridge.store, bridge.clock, which, limit=query.limit, before=query.next
        )
    )


async def delivery(bridge: Bridge, call: Call) -> web.Response:
    """Show a delivery with every attempt."""
    story = await show_delivery(bridge.store, bridge.clock, call.number)
    del story["data"]  # the message's own page has it
    if not may_reveal(call):  # a receiver may repeat what it was sent
        story["attempts"] = [{**each, "answer": None} for each in story["attempts"]]
    return answered(story)


async def retries(bridge: Bridge, _call: Call) -> web.Response:
    """List retries by filter."""
    return answered({"data": await list_retries(bridge.store), "next": None})


async def one_retry(bridge: Bridge, call: Call) -> web.Response:
    """Show a retry by filter."""
    return answered(await show_retry(bridge.store, call.number))


async def endpoints(bridge: Bridge, _call: Call) -> web.Response:
    """List endpoints."""
    return answered(
        {"data": await endpoint_operations.list_endpoints(bridge.store, bridge.names), "next": None}
    )


async def endpoint(bridge: Bridge, call: Call) -> web.Response:
    """Show an endpoint."""
    name = call.named["name"]
    document, version = await endpoint_operations.show_endpoint(bridge.store, name, bridge.names)
    return answered(document, {"ETag": f'"{version}"'})


async def sources(bridge: Bridge, _call: Call) -> web.Response:
    """Show how the sources are, and what is wrong."""
    health = bridge.health
    return answered({"data": health.reports, "problems": list(health.problems)})


async def log(bridge: Bridge, call: Call) -> web.Response:
    """List what was done."""
    limit = call.query.limit
    found = await acts.list_acts(bridge.store, limit=limit + 1, before=call.query.next)
    more = len(found) > limit
    return answered({"data": found[:limit], "next": found[limit - 1]["id"] if more else None})


async def config(bridge: Bridge, _call: Call) -> web.Response:
    """Show the config that is in use."""
    return answered(describe(bridge.settings))


async def openapi(_bridge: Bridge, _call: Call) -> web.Response:
    """Give the document that describes all this."""
    found = files("bridge.web.api").joinpath("openapi.json").read_bytes()
    return web.Response(body=found, content_type="application/json")


async def _arrivals(bridge: Bridge, call: Call, which: ArrivalFilter) -> Document:
    query = call.query
    return await listing.arrivals(bridge.store, which, limit=query.limit, before=query.next)
