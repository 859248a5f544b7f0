"""The lists: messages, deliveries and quarantine, filtered by what the address says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from bridge.model import DeliveryState, Reason, SourceKind
from bridge.operations.pages import Page, delivery_page, message_page, quarantine_page
from bridge.operations.sentences import why
from bridge.store import take_snapshot
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
    cut: str | None


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
    number = _BETWEEN.sub("", query.number)
    settings = visit.site.config().settings
    nothing = "Nothing has come in yet." if not query.any else "No message matches all of this."
    # By parts of a number that is masked, one could find it out digit by digit.
    hidden = not visit.reveal and number and not _WHOLE.fullmatch(number)
    which = MessageFilter(
        provider=query.provider or None,
        number=number or None,
        text=query.text if visit.reveal and query.text else None,
        state=visit.chosen("state", DeliveryState),
        endpoint=query.endpoint or None,
        since=_time(query.since),
        until=_time(query.until),
        source=visit.chosen("source", SourceKind),
    )
    if hidden:
        nothing = "Your token shows numbers masked: write the whole number, as +393301234567."
        page = Page([])
    else:
        page = await message_page(
            visit.site.store, which, limit=ROWS, before=visit.number("before"), reveal=visit.reveal
        )
    return await visit.show(
        "messages.html",
        "/messages",
        query=query,
        rows=page.rows,
        list=_links(visit, "/messages", query, page),
        states=_STATES,
        sources=_SOURCES,
        providers=[each.name for each in settings.providers],
        endpoints=visit.site.names,
        nothing=nothing,
    )


async def show_deliveries(visit: Visit) -> web.Response:
    """List deliveries, each with why it has not arrived and when it is tried next."""
    query = Query.of(visit, "state", "endpoint")
    page = await delivery_page(
        visit.site.store,
        visit.site.clock,
        visit.site.names,
        limit=ROWS,
        before=visit.number("before"),
        endpoint=query.endpoint or None,
        state=visit.chosen("state", DeliveryState),
        rates=visit.site.rates,
    )
    return await visit.show(
        "deliveries.html",
        "/deliveries",
        query=query,
        rows=[{**each, "why": why(each)} for each in page.rows],
        list=_links(visit, "/deliveries", query, page),
        states=_STATES,
        endpoints=visit.site.names,
        nothing="No delivery is like that." if query.any else "There are no deliveries yet.",
    )


async def show_quarantine(visit: Visit) -> web.Response:
    """List what came in and became no message."""
    query = Query.of(visit, "reason")
    reason = visit.chosen("reason", Reason)
    page = await quarantine_page(
        visit.site.store, limit=ROWS, before=visit.number("before"), reason=reason
    )
    snapshot = await visit.site.store.read(take_snapshot)
    return await visit.show(
        "quarantine.html",
        "/quarantine",
        query=query,
        rows=page.rows,
        total=sum(snapshot.quarantine.values()),
        list=_links(visit, "/quarantine", query, page),
        reasons=_REASONS,
        nothing="Nothing is in quarantine."
        if not query.any
        else "Nothing is here for this reason.",
    )


def _links(visit: Visit, path: str, query: Query, page: Page) -> Links:
    behind = visit.number("before") is not None
    return Links(
        first=visit.at(path, query.asked) if behind else "",
        next="" if page.next is None else visit.at(path, {**query.asked, "before": page.next}),
        cut=page.looked_back_to,
    )


def _time(written: str) -> datetime | None:
    """Return a time of the address, in UTC; None for what is none."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
