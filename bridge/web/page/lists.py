"""The lists: messages, deliveries and quarantine, filtered by what the address says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from sqlalchemy import Connection

from bridge.model import ArrivalOutcome, DeliveryState, Reason, SourceKind
from bridge.operations import listing
from bridge.operations.documents import Document
from bridge.operations.sentences import why
from bridge.store import take_snapshot
from bridge.store.moments import arrival_time, delivery_time
from bridge.store.pages import ArrivalFilter, DeliveryFilter
from bridge.store.search import MessageFilter
from bridge.web.page.visit import ROWS, Visit

_BETWEEN: Final = re.compile(r"[\s()/.-]+")  # as people write numbers
_ID: Final = re.compile(r"msg_[0-9A-Z]+")
_WHOLE: Final = re.compile(r"\+[0-9]{8,15}")
_STATES: Final = tuple(each.value for each in DeliveryState)
_REASONS: Final = tuple(each.value for each in Reason if each is not Reason.NOT_SMS)
_SOURCES: Final = tuple(each.value for each in SourceKind)


@dataclass(frozen=True, slots=True)
class Links:
    """Where a list goes on: `cut`: how far back it has looked, if there may be more."""

    first: str
    next: str
    cut: datetime | None


@dataclass(frozen=True, slots=True)
class Query:
    """What the address of a list asks for, as it is written there."""

    number: str = ""
    text: str = ""
    state: str = ""
    provider: str = ""
    source: str = ""
    endpoint: str = ""
    since: str = ""
    until: str = ""
    reason: str = ""

    @classmethod
    def of(cls, visit: Visit, *names: str) -> Query:
        """Read those of these names."""
        return cls(**{name: visit.asked(name) for name in names})

    @property
    def asked(self) -> dict[str, str]:
        """What is asked for, to be written into an address."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.asked)


async def show_messages(visit: Visit) -> web.Response:
    """List the messages that match."""
    query = Query.of(
        visit, "number", "text", "state", "provider", "source", "endpoint", "since", "until"
    )
    if _ID.fullmatch(query.number):
        return visit.go(f"/messages/{query.number}")
    site = visit.site
    number = _BETWEEN.sub("", query.number)
    which = MessageFilter(
        provider=query.provider or None,
        number=number or None,
        text=query.text if visit.reveal and query.text else None,
        state=visit.chosen("state", DeliveryState),
        endpoint=query.endpoint or None,
        since=_time(query.since),
        until=_time(query.until),
    )
    whole = _WHOLE.fullmatch(number) is not None
    nothing = "No message matches all of this." if query.any else "Nothing has come in yet."
    if number and not whole and not visit.reveal:
        # By its end, a number that is masked could be found out digit by digit.
        nothing = "Your token shows numbers masked: write the whole number, as +393301234567."
        page: Document = {"data": [], "next": None}
    else:

        def turn(limit: int, before: int | None) -> Awaitable[Document]:
            return listing.messages(
                site.store, which, visit.chosen("source", SourceKind), limit=limit, before=before,
                numbers=visit.reveal, texts=visit.reveal, ends=not whole,
            )  # fmt: skip

        page = await listing.patiently(turn, ROWS, visit.number("before"))
    return await visit.show(
        "messages.html",
        "/messages",
        query=query,
        rows=page["data"],
        list=await _links(visit, "/messages", query, page, arrival_time),
        states=_STATES,
        sources=_SOURCES,
        providers=[each.name for each in site.settings.providers],
        endpoints=site.names,
        nothing=nothing,
    )


async def show_deliveries(visit: Visit) -> web.Response:
    """List deliveries, each with why it has not arrived and when it is tried next."""
    query = Query.of(visit, "state", "endpoint")
    site = visit.site
    which = DeliveryFilter(
        endpoint=query.endpoint or None, state=visit.chosen("state", DeliveryState)
    )

    def turn(limit: int, before: int | None) -> Awaitable[Document]:
        return listing.deliveries(
            site.store, site.clock, which, limit=limit, before=before, rates=site.rates
        )

    page = await listing.patiently(turn, ROWS, visit.number("before"))
    return await visit.show(
        "deliveries.html",
        "/deliveries",
        query=query,
        rows=[{**each, "why": why(each)} for each in page["data"]],
        list=await _links(visit, "/deliveries", query, page, delivery_time),
        states=_STATES,
        endpoints=site.names,
        may_retry=visit.reveal and query.any and query.state not in {"delivered", "filtered"},
        nothing="No delivery is like that." if query.any else "There are no deliveries yet.",
    )


async def show_quarantine(visit: Visit) -> web.Response:
    """List what came in and became no message."""
    query = Query.of(visit, "reason")
    store = visit.site.store
    which = ArrivalFilter(outcome=ArrivalOutcome.QUARANTINE, reason=visit.chosen("reason", Reason))

    def turn(limit: int, before: int | None) -> Awaitable[Document]:
        return listing.arrivals(store, which, limit=limit, before=before)

    page = await listing.patiently(turn, ROWS, visit.number("before"))
    snapshot = await store.read(take_snapshot)
    return await visit.show(
        "quarantine.html",
        "/quarantine",
        query=query,
        rows=page["data"],
        total=sum(snapshot.quarantine.values()),
        list=await _links(visit, "/quarantine", query, page, arrival_time),
        reasons=_REASONS,
        nothing="Nothing is here for this reason." if query.any else "Nothing is in quarantine.",
    )


async def _links(
    visit: Visit,
    path: str,
    query: Query,
    page: Document,
    moment_of: Callable[[Connection, int], datetime | None],
) -> Links:
    """Return where a list goes on; `moment_of` a row's id, where it has looked so far in vain."""
    further = page["next"]
    cut = None
    if further is not None and len(page["data"]) < ROWS:
        cut = await visit.site.store.read(lambda connection: moment_of(connection, further))
    return Links(
        first=visit.at(path, query.asked) if visit.number("before") is not None else "",
        next="" if further is None else visit.at(path, {**query.asked, "before": further}),
        cut=cut,
    )


def _time(written: str) -> datetime | None:
    """Return a time of the address, in UTC; None for what is none."""
    try:
        moment = datetime.fromisoformat(written)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
