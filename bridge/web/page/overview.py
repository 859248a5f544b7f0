"""The first screen: is it well, what waits, and what failed last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from bridge.errors import StoreError
from bridge.operations.documents import Document
from bridge.operations.sentences import about_failure
from bridge.operations.status import Daemon, overview, status_document
from bridge.store.overview import Overview
from bridge.web.page import charts, words
from bridge.web.page.pulse import SAMPLES, SECONDS
from bridge.web.page.site import Site
from bridge.web.page.visit import Visit

_MOST: Final = 50  # endpoints shown here
SPAN: Final = f"charts: the last {words.seconds(SAMPLES * SECONDS)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is read at a glance, where it leads, and what belongs to it."""

    name: str
    value: str
    more: str = ""
    path: str = ""


async def show_overview(visit: Visit) -> web.Response:
    """Show health, figures, endpoints and sources; also if the store doesn't answer."""
    site = visit.site
    settings = site.settings
    names = site.names
    daemon = Daemon(
        settings.http.listen, True, problems=site.health.problems, sources=site.health.reports
    )
    stored: Overview | StoreError
    try:
        stored = await overview(site.store, names)
        free = await site.store.free_bytes()
    except StoreError as error:
        stored, free = error, None
    document = status_document(daemon, stored, names, (), site.clock, site.rates)
    problems = list(dict.fromkeys(document["problems"]))
    now = site.clock()
    shown = [_endpoint(each, site, now) for each in document["endpoints"][:_MOST]]
    return await visit.show(
        "overview.html",
        "/",
        heading=_heading(problems),
        problems=problems,
        figures=list(_figures(document, free, settings.store.min_free, now)),
        endpoints=shown,
        more_endpoints=max(0, len(document["endpoints"]) - _MOST),
        sources=[_source(name, report) for name, report in site.health.reports.items()],
        failure=_failure(document["last_failure"]),
        span=SPAN,
    )


def drawn(site: Site, name: str, since: datetime | str | None, now: datetime) -> Document:
    """Return an endpoint's charts, each with the words that say the same."""
    course = site.pulse.course(name)
    at = words.moment(since)
    age = f"{words.seconds((now - at).total_seconds())}" if at else "nothing waits"
    worst = max(course.ages, default=0.0)
    rate = course.rates[-1] if course.rates else 0.0
    best = max(course.rates, default=0.0)
    ages = f"Age of the oldest waiting: now {age}, at most {words.seconds(worst)} since the start"
    rates = f"Delivered per minute: now {rate:.3g}, at most {best:.3g}"
    return {
        "age": age,
        "age_chart": charts.line(course.ages, SAMPLES, ages, "age"),
        "rate": f"now {rate:.3g}, at most {best:.3g}" if best else "none yet",
        "rate_chart": charts.line(course.rates, SAMPLES, rates),
    }


def _heading(problems: list[str]) -> str:
    if not problems:
        return "All is well"
    return "One thing is wrong" if len(problems) == 1 else f"{len(problems)} things are wrong"


def _figures(document: Document, free: int | None, floor: int, now: datetime) -> Iterator[Figure]:
    last = document["last_message_at"]
    yield Figure("Last message", words.ago(last, now), path="/messages")
    for kind, name in (("pending", "Waiting"), ("held", "Held"), ("dead", "Dead")):
        total = sum(each[kind] for each in document["endpoints"])
        yield Figure(name, words.count(total), path=f"/deliveries?state={kind}" if total else "")
    inside = document["quarantined"]
    yield Figure(
        "In quarantine", "–" if inside is None else words.count(inside), path="/quarantine"
    )
    if free is not None:
        yield Figure("Free disk", words.size(free), f"mail is deferred below {words.size(floor)}")


def _endpoint(each: Document, site: Site, now: datetime) -> Document:
    return {**each, **drawn(site, each["name"], each["undelivered_since"], now)}


def _source(name: str, report: Mapping[str, Any]) -> Document:
    details = [
        (key.replace("_", " "), {"time": _time(value), "text": str(value)})
        for key, value in report.items()
        if key != "state" and value is not None
    ]
    return {"name": name, "state": str(report["state"]), "details": details}


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except ValueError:
        return None


def _failure(failure: Document | None) -> Document | None:
    return None if failure is None else {**failure, "what": about_failure(failure)}
