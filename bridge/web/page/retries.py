"""Retries by filter: counted first, ordered with a reason, watched, and stopped."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from bridge.errors import NotPossible
from bridge.model import DeliveryState
from bridge.operations import retries as operations
from bridge.operations.acts import logged
from bridge.operations.documents import Document
from bridge.store import take_snapshot
from bridge.store.acts import Act
from bridge.store.pages import DeliveryFilter
from bridge.web.page.lists import Query
from bridge.web.page.visit import Visit, whole

_RETRYABLE: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
_RATES: Final = (1, 10, 50, 200)  # deliveries a second
_LONGEST: Final = 200  # characters of a reason


async def show_retries(visit: Visit) -> web.Response:
    """List the newest retries."""
    rows = await operations.list_retries(visit.site.store)
    return await visit.show(
        "retries.html", "/deliveries", rows=[{**each, "what": _what(each)} for each in rows]
    )


async def show_order(visit: Visit) -> web.Response:
    """Say how many a filter would retry, and ask for the order."""
    query = Query.of(visit, "state", "endpoint")
    which = _filter(query)
    return await visit.show(
        "retry_order.html", "/deliveries", query=query, count=await _count(visit, which),
        rates=_RATES,
    )  # fmt: skip


async def order(visit: Visit) -> web.Response:
    """Order a retry."""
    site = visit.site
    assert visit.visitor is not None
    form = await visit.form()
    query = Query(state=form.get("state", ""), endpoint=form.get("endpoint", ""))
    rate = whole(form.get("rate", ""))
    why = form.get("why", "").strip()
    if rate not in _RATES or not why or len(why) > _LONGEST:
        raise NotPossible(f"say why, in at most {_LONGEST} characters, and at which rate")
    which = _filter(query)
    who = visit.visitor.name
    act = Act(who, visit.visitor.way, "retry", operations.shown_filter(which), why)
    done = await logged(
        site.store,
        site.clock,
        act,
        lambda: operations.start(site.store, site.clock, which, rate=float(rate), who=who, why=why),
    )
    return visit.go(f"/retries/{done['retry']}")


async def show_retry(visit: Visit) -> web.Response:
    """Show how far a retry is."""
    document = await operations.show_retry(visit.site.store, _id(visit))
    return await visit.show(
        "retry.html", "/deliveries", retry=document, what=_what(document),
        may_act=visit.reveal and document["state"] == "running",
    )  # fmt: skip


async def cancel(visit: Visit) -> web.Response:
    """Stop a retry; what it has retried stays so."""
    site = visit.site
    assert visit.visitor is not None
    retry_id = _id(visit)
    act = Act(visit.visitor.name, visit.visitor.way, "retry cancel", str(retry_id))
    await logged(
        site.store, site.clock, act, lambda: operations.cancel(site.store, site.clock, retry_id)
    )
    return visit.go(f"/retries/{retry_id}")


def _filter(query: Query) -> DeliveryFilter:
    """Return the filter; raises NotPossible for what would retry everything, or nothing."""
    if not query.any:
        raise NotPossible("choose a state or an endpoint first: nothing retries everything")
    known = {each.value: each for each in _RETRYABLE}
    if query.state and query.state not in known:
        raise NotPossible(f"only deliveries that are {', '.join(known)} can be retried")
    return DeliveryFilter(endpoint=query.endpoint or None, state=known.get(query.state))


async def _count(visit: Visit, which: DeliveryFilter) -> int:
    """Count by what the store keeps: nothing is gone through."""
    snapshot = await visit.site.store.read(take_snapshot)
    states = _RETRYABLE if which.state is None else (which.state,)
    return sum(
        count
        for (endpoint, state), count in snapshot.deliveries.items()
        if state in states and which.endpoint in {None, endpoint}
    )


def _what(retry: Document) -> str:
    return ", ".join(f"{name} {value}" for name, value in retry["filter"].items())


def _id(visit: Visit) -> int:
    return whole(visit.request.match_info["id"]) or 0
