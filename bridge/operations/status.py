"""Reports whether the daemon is up, what waits, what failed last, and which mailbox is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httpx

from bridge.config.address import Address, parse_listen
from bridge.errors import StoreError
from bridge.model import DeliveryState, EndpointState, EndpointStatus
from bridge.operations.deliveries import NO_RATES
from bridge.operations.documents import Document, when
from bridge.store import Store
from bridge.store.overview import FailedAttempt, Overview, take_overview

UP: Final = "up"
DOWN: Final = "down"
_TIMEOUT: Final = 5.0  # seconds; the daemon answers from memory
_SILENT: Final = timedelta(seconds=60)  # the daemon writes its heartbeat every 5 s
_LONG_DUE: Final = timedelta(minutes=1)
_VERDICTS: Final = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a daemon answered on `/healthz`.

    `url` is None if the config names no address that can be asked; `up` is None then.
    """

    url: str | None
    up: bool | None
    detail: str = ""
    problems: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    process: Mapping[str, Any] = field(default_factory=dict)
    reload: Mapping[str, Any] = field(default_factory=dict)


async def ask_daemon(listen: str) -> Daemon:
    """Ask the daemon behind `[http] listen` for its health; raises nothing."""
    address = parse_listen(listen) if listen else None
    if not isinstance(address, Address) or address.port == 0:
        return Daemon(None, None, "[http] listen names no fixed address that could be asked")
    url = f"http://{address.reachable}/healthz"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT) as client:
            answer = await client.get(url)
    except httpx.TimeoutException:
        return Daemon(url, False, f"{url} does not answer within {_TIMEOUT:g} s")
    except httpx.HTTPError:
        return Daemon(url, False, f"nothing answers at {url}")
    try:
        document = answer.json() if answer.status_code in _VERDICTS else {}
        return Daemon(
            url,
            True,
            problems=tuple(map(str, document["problems"])),
            sources=dict(document["sources"]),
            process=dict(document.get("process", {})),
            reload=dict(document.get("reload", {})),
        )
    except (ValueError, KeyError, TypeError):
        return Daemon(url, False, f"another program answers at {url}")


async def overview(store: Store, configured: Sequence[str]) -> Overview:
    """Read what the status needs of the store."""
    return await store.read(partial(take_overview, configured=configured))


def status_document(
    daemon: Daemon,
    stored: Overview | StoreError,
    configured: Sequence[str],
    mailboxes: Sequence[str],
    clock: Callable[[], datetime],
    rates: Mapping[str, str] = NO_RATES,
) -> Document:
    """Return the status: {"ok", "problems", "daemon", "endpoints", "mailboxes", …}.

    `stored` is the store's overview, or why it could not be read; `configured` names the endpoints
    of the config, `mailboxes` its `[[imap]]` tables, `rates` the rates of endpoints that have one.
    """
    if isinstance(stored, StoreError):
        state, detail = _state(daemon, None, clock())
        problems = [*_daemon_problems(daemon, state, detail), f"store: {stored}"]
        counts: Document = {
            "endpoints": [], "quarantined": None, "last_message_at": None, "last_failure": None,
        }  # fmt: skip
        beat = None
    else:
        state, detail = _state(daemon, stored.beat_at, clock())
        endpoints = _endpoints(stored, configured, rates, clock())
        problems = [*_daemon_problems(daemon, state, detail), *_endpoint_problems(endpoints)]
        counts = {
            "endpoints": endpoints,
            "quarantined": sum(stored.snapshot.quarantine.values()),
            "last_message_at": when(stored.last_message_at),
            "last_failure": _failure(stored.last_failure),
        }
        beat = stored.beat_at
    return {
        "ok": not problems,
        "problems": problems,
        "daemon": {
            "state": state, "url": daemon.url, "detail": detail or None, "heartbeat": when(beat),
        },
        "mailboxes": [_mailbox(name, daemon.sources.get(f"imap.{name}", {})) for name in mailboxes],
        **counts,
    }  # fmt: skip


def _state(daemon: Daemon, beat: datetime | None, now: datetime) -> tuple[str, str]:
    """Return up, down or unknown, and why.

    The heartbeat counts where nobody can be asked, and where the daemon that answers may be that
    of another config.
    """
    silent = None if beat is None else now - beat > _SILENT
    if daemon.up is None:
        if silent is None:
            return "unknown", daemon.detail
        return (DOWN if silent else UP), f"by its heartbeat; {daemon.detail}"
    if daemon.up and silent:
        return DOWN, f"the daemon at {daemon.url} does not write to this database"
    return (UP if daemon.up else DOWN), daemon.detail


def _daemon_problems(daemon: Daemon, state: str, detail: str) -> Iterable[str]:
    if state != UP:
        yield f"daemon: {state}: {detail}"
    yield from daemon.problems


def _endpoints(
    stored: Overview, configured: Sequence[str], rates: Mapping[str, str], now: datetime
) -> list[Document]:
    snapshot = stored.snapshot
    others = {endpoint for endpoint, _ in snapshot.deliveries} | set(snapshot.held_endpoints)
    names = [*configured, *sorted(others - set(configured))]
    return [
        {
            "name": name,
            "configured": name in configured,
            "state": status.state.value,
            "reason": snapshot.held_endpoints.get(name),
            "since": when(status.since),
            **{
                state.value: snapshot.deliveries.get((name, state), 0)
                for state in (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
            },
            "undelivered_since": when(stored.undelivered_since.get(name)),
            "waits_for_rate": rates.get(name)
            if now - snapshot.oldest_due.get(name, now) > _LONG_DUE
            else None,
        }
        for name in names
        for status in [stored.statuses.get(name, EndpointStatus(EndpointState.ACTIVE))]
    ]


def _endpoint_problems(endpoints: Iterable[Document]) -> Iterable[str]:
    for each in endpoints:
        name = each["name"]
        if each["state"] == EndpointState.FAILING:
            yield (
                f"endpoints.{name}: failing since {each['since']}: `smsbridge deliveries list "
                f"--endpoint {name}` shows why"
            )
        if each["reason"]:
            yield (
                f"endpoints.{name}: held ({each['reason']}): `smsbridge endpoints resume {name}` "
                "releases its deliveries"
            )
        elif each["held"]:
            yield (
                f"endpoints.{name}: {each['held']} held: "
                f"`smsbridge deliveries list --endpoint {name} --state held` shows why"
            )
        if each["waits_for_rate"]:
            yield (
                f"endpoints.{name}: deliveries have been due for over a minute, and its rate lets "
                f"out {each['waits_for_rate']}: raise it if that is too little"
            )
        if each["dead"]:
            yield (
                f"endpoints.{name}: {each['dead']} dead: "
                f"`smsbridge deliveries retry --endpoint {name} --state dead` starts anew"
            )


def _mailbox(name: str, report: Mapping[str, Any]) -> Document:
    keys = ("last_sync", "lag_seconds", "open")
    return {"name": name, "state": report.get("state"), **{key: report.get(key) for key in keys}}


def _failure(failed: FailedAttempt | None) -> Document | None:
    if failed is None:
        return None
    return {
        "delivery_id": failed.delivery_id,
        "endpoint": failed.endpoint,
        "at": when(failed.started_at),
        "result": failed.result,
        "status": failed.status,
        "error": failed.error,
        "detail": failed.detail,
    }
