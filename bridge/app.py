"""The only place that builds concrete things from Settings."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from bridge import logs, metrics, providers, systemd, trust
from bridge.config.imap import ImapSettings
from bridge.config.settings import EndpointSettings, Settings
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport, tls_context
from bridge.errors import BridgeError
from bridge.ingest import Intake, Reader
from bridge.model import DeliveryState, Trust
from bridge.net import loop
from bridge.signing import standard_webhooks
from bridge.sources.imap.lease import LedSource
from bridge.sources.imap.mailbox import OpenMailbox
from bridge.sources.imap.oauth import tokens_for
from bridge.sources.imap.open import look_into
from bridge.sources.imap.source import ImapSource
from bridge.sources.imap.survey import Survey, survey
from bridge.sources.smtp.source import SmtpSource
from bridge.store import Store
from bridge.store.mailboxes import LEAD_SECONDS
from bridge.supervisor import Parts, Source, serve
from bridge.web import Health, WebServer

# A lease outlives the attempt that it covers and the record that follows, so that no other bridge
# sends what this one is still sending.
_LEASE_MARGIN: Final = 30.0
_THREADS: Final = 4  # for decoding big mails, verifying signatures, and files
# Mail servers try for days, but nobody looks at a mailbox whose mails are put off in silence.
_DNS_PATIENCE: Final = 3600.0

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


def open_mailbox(settings: ImapSettings) -> AbstractAsyncContextManager[OpenMailbox]:
    """Open a mailbox's folder to look at it alone: nothing in it is changed."""
    return look_into(settings, tokens_for(settings, tls_context()))


async def survey_mailbox(settings: ImapSettings) -> Survey:
    """Get into a mailbox as the daemon would, and say what it is like; raises BridgeError."""
    return await survey(settings, tokens_for(settings, tls_context()), now().date())


async def _run(settings: Settings, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
    reader = reader_of(settings, patience=_DNS_PATIENCE)
    endpoints = endpoints_of(settings)
    # Names are not looked up here: the loop does that, so that one that hangs holds up nobody else.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "worker"))
    health = Health()
    store = await Store.open(
        settings.store,
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        lease_seconds=max((each.timeout for each in endpoints), default=0.0) + _LEASE_MARGIN,
        endpoints=[each.name for each in endpoints],
        clock=now,
    )
    try:
        dispatcher = Dispatcher(
            endpoints,
            settings.delivery,
            store,
            partial(open_transport, verify=tls_context()),
            clock=now,
            rng=random.SystemRandom().random,
        )
        intake = Intake(reader, store, dispatcher)
        sources: list[Source] = [SmtpSource(settings.smtp, intake.accept, sockets, clock=now)]
        sources += [_mailbox(each, intake, store) for each in settings.imap]
        refresh = partial(_refresh, store, [each.name for each in endpoints])
        web = WebServer(settings.http.listen, health, refresh, sockets)
        grace = settings.delivery.grace
        await serve(Parts(store, dispatcher, tuple(sources), web, health, grace))
    finally:
        await store.close()


def _mailbox(settings: ImapSettings, intake: Intake, store: Store) -> Source:
    """Build the source of one mailbox; of several bridges on one store, one reads it at a time."""
    tokens = tokens_for(settings, tls_context())

    def make() -> ImapSource:
        return ImapSource(settings, intake.accept, store, tokens, clock=now)

    make()  # a CA that cannot be read is told at the start, not at the first turn
    lead = partial(store.lead, settings.name, settings.folder)
    return LedSource(settings.name, lead, make, LEAD_SECONDS)


async def _refresh(store: Store, endpoints: Sequence[str]) -> None:
    """Bring the gauges that show the store up to date; raises StoreError if it does not answer."""
    snapshot = await store.snapshot()
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
