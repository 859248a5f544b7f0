"""The only place that builds concrete things from Settings."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bridge import logs, metrics, providers, systemd, trust
from bridge.config.imap import ImapSettings
from bridge.config.settings import EndpointSettings, Settings
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.planner import Planner
from bridge.delivery.transport import open_transport
from bridge.errors import BridgeError, ConfigError
from bridge.intake import Intake
from bridge.model import Arrival, Cursor, DeliveryState, Receipt, Trust
from bridge.net import loop
from bridge.net.tls import client_context
from bridge.reader import Reader
from bridge.signing import standard_webhooks
from bridge.sources.imap.folder import Cursors
from bridge.sources.imap.lease import LedSource
from bridge.sources.imap.mailbox import OpenMailbox
from bridge.sources.imap.oauth import tokens_for
from bridge.sources.imap.open import look_into
from bridge.sources.imap.source import ImapSource
from bridge.sources.imap.survey import Survey, survey
from bridge.sources.smtp.source import SmtpSource
from bridge.store import LEAD_SECONDS, Mailboxes, Store, take_snapshot
from bridge.supervisor import Parts, Source, serve
from bridge.web import Health, WebServer

# A lease outlives the attempt that it covers and the record that follows, so that no other bridge
# sends what this one is still sending.
_LEASE_MARGIN: Final = 30.0
_THREADS: Final = 4  # for decoding big mails, verifying signatures, and files
# Mail servers try for days, but nobody looks at a mailbox whose mails are put off in silence.
_DNS_PATIENCE: Final = 3600.0

Accept = Callable[[Arrival], Awaitable[Receipt]]
Sockets = Mapping[str, Sequence[socket.socket]]

_OPEN_STATES: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)


def now() -> datetime:
    """Tell the time, in UTC."""
    return datetime.now(UTC)


def run(settings: Settings) -> int:
    """Run the daemon until it is told to stop; return the exit code.

    Raises BridgeError with a sentence if it cannot start or go on.
    """
    logs.configure(settings.log)
    standard_webhooks.self_test()
    sockets = systemd.listen_sockets()
    # What is imported stays. Else each full collection would look through all of it, and
    # everybody would wait for 25 ms: five times what a mail's 250 takes.
    gc.collect()
    gc.freeze()
    try:
        loop.run(_run(settings, sockets))
    except BaseExceptionGroup as group:
        # What a part cannot foresee is a bug and keeps its traceback for the log.
        foreseen = _first_foreseen(group)
        if foreseen is None:
            raise
        raise foreseen from None
    return 0


def problems(settings: Settings) -> list[ConfigError]:
    """Build everything that `run` builds before it needs store or network; return what is wrong.

    By the very functions that `run` uses, so that `check` accepts nothing that `run` refuses.
    """
    found = []
    for build in _builds(settings):
        try:
            build()
        except ConfigError as error:
            found.append(error)
    return found


def _builds(settings: Settings) -> Iterator[Callable[[], object]]:
    for index, provider in enumerate(settings.providers):
        yield partial(providers.build_one, provider, f"providers.{index}")
    for index, endpoint in enumerate(settings.endpoints):
        yield partial(Endpoint.from_settings, index, endpoint, settings.delivery)
    yield partial(_smtp, settings, _nobody, {})
    for mailbox in settings.imap:
        yield partial(_mailbox_sources, mailbox, _nobody, _NO_CURSORS)
    yield partial(_store_url, settings)


async def _nobody(_arrival: Arrival) -> Receipt:
    raise AssertionError("a source that was only built to be checked does not run")


class _NoCursors:
    """Stands in for the store where a source is built and never run."""

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Not called."""
        raise AssertionError

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        """Not called."""
        raise AssertionError

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        """Not called."""
        raise AssertionError


_NO_CURSORS: Final = _NoCursors()


def _store_url(settings: Settings) -> None:
    try:
        make_url(settings.store.url)
    except (ArgumentError, ValueError):
        # The parser's own text would quote the URL with its password.
        raise ConfigError("store.url", "cannot be read as a database URL") from None


def _smtp(settings: Settings, accept: Accept, sockets: Sockets) -> SmtpSource:
    return SmtpSource(settings.smtp, accept, sockets, clock=now)


def _mailbox_sources(
    settings: ImapSettings, accept: Accept, cursors: Cursors
) -> Callable[[], ImapSource]:
    """Give what makes a mailbox's source for each turn, all of them with the same tokens."""
    tokens = tokens_for(settings, client_context())
    make = partial(ImapSource, settings, accept, cursors, tokens, clock=now)
    make()  # what cannot be used is refused at the start, not at the first turn
    return make


def endpoints_of(settings: Settings) -> tuple[Endpoint, ...]:
    """Build the endpoints; ConfigError names the key of a secret that cannot be used."""

    def build(number: int, each: EndpointSettings) -> Endpoint:
        return Endpoint.from_settings(number, each, settings.delivery)

    return tuple(build(number, each) for number, each in enumerate(settings.endpoints))


def reader_of(settings: Settings, vouched: Trust | None = None, patience: float = 0.0) -> Reader:
    """Build what reads arrivals as this config says; evidence included, or vouched for.

    `patience`: for how many seconds without an answer of the DNS a mail is put off. A command does
    not come again by itself, so it has none.
    """
    known = providers.build(settings.providers)
    policies = {each.name: each.trust for each in settings.providers}
    names = None if vouched else trust.names_for(policies.values(), patience)
    return Reader(known, policies, now, vouched, names)


def intake_of(settings: Settings, store: Store, vouched: Trust | None = None) -> Intake:
    """Build what takes arrivals in from a command; the daemon beside it delivers."""
    return Intake(reader_of(settings, vouched), store, Planner(endpoints_of(settings)))


def open_mailbox(settings: ImapSettings) -> AbstractAsyncContextManager[OpenMailbox]:
    """Open a mailbox's folder to look at it alone: nothing in it is changed."""
    return look_into(settings, tokens_for(settings, client_context()))


async def survey_mailbox(settings: ImapSettings) -> Survey:
    """Get into a mailbox as the daemon would, and say what it is like; raises BridgeError."""
    return await survey(settings, tokens_for(settings, client_context()), now().date())


async def _run(settings: Settings, sockets: Sockets) -> None:
    _store_url(settings)
    reader = reader_of(settings, patience=_DNS_PATIENCE)
    endpoints = endpoints_of(settings)
    # Names are not looked up here: the loop does that, so that one that hangs holds up nobody else.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "worker"))
    health = Health()
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    store = await Store.open(
        settings.store,
        owner=owner,
        lease_seconds=max((each.timeout for each in endpoints), default=0.0) + _LEASE_MARGIN,
        endpoints=[each.name for each in endpoints],
        clock=now,
    )
    mailboxes = Mailboxes(store, owner, now)
    try:
        dispatcher = Dispatcher(
            endpoints,
            settings.delivery,
            store,
            partial(open_transport, verify=client_context()),
            clock=now,
            rng=random.SystemRandom().random,
        )
        intake = Intake(reader, store, dispatcher)
        sources: list[Source] = [_smtp(settings, intake.accept, sockets)]
        sources += [_mailbox(each, intake, mailboxes) for each in settings.imap]
        refresh = partial(_refresh, store, [each.name for each in endpoints])
        web = WebServer(settings.http.listen, health, refresh, sockets)
        grace = settings.delivery.grace
        await serve(Parts(store, dispatcher, tuple(sources), web, health, grace))
    finally:
        await mailboxes.step_down()
        await store.close()


def _mailbox(settings: ImapSettings, intake: Intake, mailboxes: Mailboxes) -> Source:
    """Build the source of one mailbox; of several bridges on one store, one reads it at a time."""
    make = _mailbox_sources(settings, intake.accept, mailboxes)
    lead = partial(mailboxes.lead, settings.name, settings.folder)
    return LedSource(settings.name, lead, make, LEAD_SECONDS)


async def _refresh(store: Store, endpoints: Sequence[str]) -> None:
    """Bring the gauges that show the store up to date; raises StoreError if it does not answer."""
    snapshot = await store.read(take_snapshot)
    moment = now()
    # Emptied first: what is no longer in the store must not stay on the page.
    metrics.DELIVERIES.clear()
    metrics.OLDEST_DUE_SECONDS.clear()
    metrics.QUARANTINED.clear()
    for endpoint in endpoints:
        for state in _OPEN_STATES:
            metrics.DELIVERIES.labels(endpoint, state.value).set(0)
        metrics.OLDEST_DUE_SECONDS.labels(endpoint).set(0)
    for (endpoint, state), count in snapshot.deliveries.items():
        metrics.DELIVERIES.labels(endpoint, state.value).set(count)
    for endpoint, due in snapshot.oldest_due.items():
        waited = max(0.0, (moment - due).total_seconds())
        metrics.OLDEST_DUE_SECONDS.labels(endpoint).set(waited)
    for reason, count in snapshot.quarantine.items():
        metrics.QUARANTINED.labels(reason.value).set(count)
    free = await store.free_bytes()
    if free is not None:
        metrics.FREE_BYTES.set(free)


def _first_foreseen(error: BaseException) -> BridgeError | None:
    if isinstance(error, BaseExceptionGroup):
        found = (_first_foreseen(inner) for inner in error.exceptions)
        return next((each for each in found if each is not None), None)
    return error if isinstance(error, BridgeError) else None
