"""Endpoints: their state, and the hold, resume and test of one."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aiohttp import web

from bridge.errors import NotFound, NotPossible
from bridge.net.tls import shared_client_context
from bridge.operations import endpoints as operations
from bridge.operations.acts import logged
from bridge.operations.documents import Document
from bridge.operations.listing import newest_of_endpoint
from bridge.operations.sentences import about_endpoint, about_ping, why
from bridge.store.acts import Act
from bridge.store.snapshot import oldest_undelivered
from bridge.web.page.overview import drawn
from bridge.web.page.visit import Visit

_NEWEST: Final = 10  # deliveries of an endpoint
_LONGEST: Final = 200  # characters of a reason


async def show_endpoints(visit: Visit) -> web.Response:
    """List the endpoints."""
    rows = await operations.list_endpoints(visit.site.store, visit.site.names)
    return await visit.show("endpoints.html", "/endpoints", rows=rows)


async def show_endpoint(visit: Visit) -> web.Response:
    """Show one endpoint."""
    return await _shown(visit, None)


async def hold(visit: Visit) -> web.Response:
    """Hold an endpoint, for the reason that the form has."""
    site = visit.site
    name = _name(visit)
    reason = (await visit.form()).get("reason", "").strip()
    if not reason or len(reason) > _LONGEST:
        raise NotPossible(f"say why, in at most {_LONGEST} characters: it is shown in the lists")
    done = await _act(
        visit,
        "endpoint hold",
        lambda: operations.hold(site.store, name, reason, site.names, site.clock),
        reason,
    )
    return visit.go(f"/endpoints/{name}", {"done": "held", "n": done["held"]})


async def resume(visit: Visit) -> web.Response:
    """Resume an endpoint."""
    site = visit.site
    name = _name(visit)
    done = await _act(
        visit,
        "endpoint resume",
        lambda: operations.resume(site.store, name, site.names, site.clock),
    )
    return visit.go(f"/endpoints/{name}", {"done": "resumed", "n": done["resumed"]})


async def test(visit: Visit) -> web.Response:
    """Send an endpoint one ping, and show how it was answered."""
    from bridge.operations.send_test import ping  # brings SMTP along: only for who tests

    site = visit.site
    name = _name(visit)
    endpoint = next((each for each in site.endpoints if each.name == name), None)
    if endpoint is None:
        raise NotFound(f"the config has no endpoint {name!r}")
    answer = await _act(
        visit,
        "endpoint test",
        lambda: ping(endpoint, shared_client_context(), secrets.token_hex(10), site.clock),
    )
    return await _shown(visit, {**answer, "says": about_ping(answer)})


async def _act(
    visit: Visit, what: str, do: Callable[[], Awaitable[Document]], because: str | None = None
) -> Document:
    assert visit.visitor is not None
    act = Act(visit.visitor.name, visit.visitor.way, what, _name(visit), because)
    return await logged(visit.site.store, visit.site.clock, act, do)


async def _shown(visit: Visit, ping_answer: Document | None) -> web.Response:
    site = visit.site
    name = _name(visit)
    rows = await operations.list_endpoints(site.store, site.names)
    document = next((each for each in rows if each["name"] == name), None)
    if document is None:
        raise NotFound(f"there is no endpoint {name!r}")
    newest = await newest_of_endpoint(site.store, site.clock, name, _NEWEST)
    oldest = await site.store.read(partial(oldest_undelivered, endpoints=[name]))
    used = next((each for each in site.endpoints if each.name == name), None)
    return await visit.show(
        "endpoint.html",
        "/endpoints",
        endpoint=document,
        says=about_endpoint(document),
        # No more of the URL: its path may be a secret.
        where=f"{used.url.scheme}://{used.url.netloc.decode()}" if used else "",
        counts=[
            ("Waiting", "pending", document["pending"]),
            ("Held", "held", document["held_deliveries"]),
            ("Dead", "dead", document["dead"]),
        ],
        **drawn(site, name, oldest.get(name), site.clock()),
        may_act=visit.reveal,
        ping=ping_answer,
        rows=[{**each, "why": why(each)} for each in newest],
    )


def _name(visit: Visit) -> str:
    return str(visit.request.match_info["name"])
