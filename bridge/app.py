"""The only place that builds concrete things from Settings."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bridge import formats, logs, metrics, providers, systemd, trust
from bridge.clock import Clock
from bridge.clock import machine_time as now
from bridge.config.imap import ImapSettings
from bridge.config.load import ConfigFile
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings, Settings
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.planner import Planner
from bridge.delivery.schedule import longest_waits
from bridge.delivery.transport import EndpointTransport, open_transport
from bridge.errors import ConfigError, first_bridge_error
from bridge.intake import Intake
from bridge.model import Arrival, Receipt, Trust
from bridge.net import loop
from bridge.net.descriptors import fitted
from bridge.net.tls import shared_client_context, trust_nobody
from bridge.no_store import NO_STORE
from bridge.operations.digest import Digester
from bridge.operations.replay import Replayer
from bridge.operations.retention import Retention
from bridge.operations.retries import Retrier
from bridge.providers import Provider
from bridge.reader import Reader
from bridge.reload import Built, Reloaded, Reloader, lease_seconds, tokens_of
from bridge.sources.imap.places import Places
from bridge.sources.smtp.source import SmtpSource
from bridge.store import LEAD_SECONDS, Longest, Mailboxes, Store, failed_over, failing_endpoints
from bridge.supervisor import Parts, Source, serve
from bridge.web import Api, Bridge, Gauges, Health, WebServer
from bridge.web.door import Admission, Door, Sessions
from bridge.web.page import Page, Pulse, Site
from bridge.web.pages import unguarded
from bridge.workers import started

if TYPE_CHECKING:
    from bridge.providers.posts import Posts
    from bridge.sources.imap.mailbox import OpenMailbox
    from bridge.sources.imap.survey import Survey

_THREADS: Final = 4  # for decoding large mails, and files
# Mail servers retry for days, but mail that is deferred silently in a mailbox goes unnoticed.
_DNS_PATIENCE: Final = 3600.0

_T = TypeVar("_T")

Accept = Callable[[Arrival], Awaitable[Receipt]]
Sockets = Mapping[str, Sequence[socket.socket]]


def run(settings: Settings, load: Callable[[], ConfigFile]) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code.

    `load` reads the config again, at SIGHUP. Raises BridgeError if it can't start or continue.
    """
    logs.configure(settings.log)
    sockets = systemd.listen_sockets()
    try:
        loop.run(_run(settings, load, sockets))
    except BaseExceptionGroup as group:
        # Any other exception is a bug and keeps its traceback for the log.
        expected = first_bridge_error(group)
        if expected is None:
            raise
        raise expected from None
    return 0


@dataclass(frozen=True, slots=True)
class _Dependencies:
    """What sources and servers depend on, once the store is open."""

    accept: Accept
    mailboxes: Places
    health: Health
    refresh: Callable[[], Awaitable[None]]
    sockets: Sockets
    clock: Callable[[], datetime]
    api: Api | None = None  # none for `check`, which serves nothing
    door: Door | None = None
    page: Page | None = None


class _Standalone(NamedTuple):
    """Functions that build what needs the config only, before the store is open.

    `run` and `check` call all of these and of _Dependent; each raises ConfigError.
    """

    store: Sequence[Callable[[], object]]
    providers: Sequence[Callable[[], Provider]]
    posts: Sequence[Callable[[], Posts]]
    endpoints: Sequence[Callable[[], Endpoint]]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """List the parts of a config."""
        return cls(
            store=[partial(_store_url, settings)],
            providers=[
                partial(providers.build_one, each, f"providers.{index}")
                for index, each in enumerate(settings.providers)
                if each.reads_mails
            ],
            posts=[
                partial(_posts_of, each, f"providers.{index}", settings.posts)
                for index, each in enumerate(settings.providers)
                if each.post is not None
            ],
            endpoints=[
                partial(Endpoint.from_settings, index, each, settings.delivery)
                for index, each in enumerate(settings.endpoints)
            ],
        )


class _Dependent(NamedTuple):
    """Functions that build what depends on the store; otherwise like _Standalone."""

    sources: Sequence[Callable[[], Source]]
    servers: Sequence[Callable[[], WebServer]]

    @classmethod
    def of(cls, settings: Settings, dependencies: _Dependencies) -> Self:
        """List the parts of a config."""
        return cls(
            sources=[
                partial(_smtp, settings, dependencies),
                *(partial(_mailbox, each, dependencies) for each in settings.imap),
                *([partial(_posts, settings, dependencies)] if settings.posts.addresses else []),
            ],
            servers=[partial(_web, settings, dependencies)],
        )


def _build(builders: Iterable[Callable[[], _T]]) -> tuple[_T, ...]:
    return tuple(build() for build in builders)


def problems(settings: Settings) -> list[ConfigError]:
    """Build everything that `run` builds, without store and network; return what is wrong."""
    found = []
    for build in chain.from_iterable(
        (*_Standalone.of(settings), *_Dependent.of(settings, _NO_DEPENDENCIES))
    ):
        try:
            build()
        except ConfigError as error:
            found.append(error)
    return found


_NO_DEPENDENCIES: Final = _Dependencies(
    NO_STORE.accept, NO_STORE, Health(), NO_STORE.refresh, {}, now
)


def _store_url(settings: Settings) -> URL:
    try:
        return make_url(settings.store.url)
    except (ArgumentError, ValueError):
        # The parser's own text would quote the URL with its password.
        raise ConfigError("store.url", "cannot be read as a database URL") from None


def _smtp(settings: Settings, dependencies: _Dependencies) -> Source:
    return SmtpSource(
        settings.smtp, dependencies.accept, dependencies.sockets, clock=dependencies.clock
    )


def _posts_of(settings: ProviderSettings, key: str, posts: PostsSettings) -> Posts:
    from bridge.providers.posts import build_one  # 1 MB with the source, only for who has posts

    return build_one(settings, key, posts)


def _posts(settings: Settings, dependencies: _Dependencies) -> Source:
    from bridge.sources.posts.source import PostSource

    return PostSource(
        settings.posts,
        posts_of(settings),
        tokens_of(settings),
        dependencies.accept,
        dependencies.sockets,
        clock=dependencies.clock,
    )


def _mailbox(settings: ImapSettings, dependencies: _Dependencies) -> Source:
    from bridge.sources.imap import build  # 1 MB, which only those with mailboxes pay for

    accept, places, clock = dependencies.accept, dependencies.mailboxes, dependencies.clock
    return build.source(settings, accept, places, LEAD_SECONDS, clock)


def _transport_of(endpoint: Endpoint) -> EndpointTransport:
    return open_transport(
        endpoint, shared_client_context() if endpoint.speaks_tls else trust_nobody()
    )


def _web(settings: Settings, dependencies: _Dependencies) -> WebServer:
    health, refresh, sockets = dependencies.health, dependencies.refresh, dependencies.sockets
    parts = (dependencies.api, dependencies.page)
    routes = [route for part in parts if part is not None for route in part.routes()]
    guard = dependencies.door.guard if dependencies.door else unguarded
    return WebServer(settings.http.listen, health, refresh, sockets, api=routes, guard=guard)


def endpoints_of(settings: Settings) -> tuple[Endpoint, ...]:
    """Build the endpoints; ConfigError names the key of a scheme or secret that can't be used."""
    return _build(_Standalone.of(settings).endpoints)


def mails_of(settings: Settings) -> Sequence[Provider]:
    """Build every provider whose mails are read; raises ConfigError."""
    return _build(_Standalone.of(settings).providers)


def posts_of(settings: Settings) -> dict[str, Posts]:
    """Build the posts of every provider that has some; raises ConfigError."""
    return {each.name: each for each in _build(_Standalone.of(settings).posts)}


def reader_of(settings: Settings, vouched: Trust | None = None, patience: float = 0.0) -> Reader:
    """Build the reader for a config's providers and their evidence.

    `vouched` replaces all evidence. `patience`: for how many seconds of DNS failure a mail is
    deferred; 0 for commands, which don't retry. Raises ConfigError.
    """
    known = mails_of(settings)
    policies = {each.name: each.trust for each in settings.providers if each.reads_mails}
    names = None if vouched else trust.names_for(policies.values(), patience)
    wanted = formats.wanted(settings.endpoints)
    return Reader(known, policies, now, vouched, names, wanted, posts_of(settings))


def intake_of(settings: Settings, store: Store, vouched: Trust | None = None) -> Intake:
    """Build the intake of a command; the daemon that runs beside it delivers."""
    return Intake(reader_of(settings, vouched), store, Planner(endpoints_of(settings)))


def open_mailbox(settings: ImapSettings) -> AbstractAsyncContextManager[OpenMailbox]:
    """Open a mailbox's folder read-only."""
    from bridge.sources.imap import build

    return build.opened(settings)


async def survey_mailbox(settings: ImapSettings) -> Survey:
    """Log in to a mailbox as the daemon would, and report its state; raises BridgeError."""
    from bridge.sources.imap import build

    return await build.surveyed(settings, now().date())


def _built(settings: Settings) -> Built:
    return Built(
        reader_of(settings, patience=_DNS_PATIENCE), endpoints_of(settings), posts_of(settings)
    )


async def _run(settings: Settings, load: Callable[[], ConfigFile], sockets: Sockets) -> None:
    limited = fitted(settings)
    _build(_Standalone.of(settings).store)
    reader, endpoints, _ = built = _built(settings)
    # Not for host names: the loop resolves them itself, so that a look-up that hangs blocks no one.
    asyncio.get_running_loop().set_default_executor(started(_THREADS, "worker"))
    health = Health()
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    clock = Clock(now)
    store = await Store.open(
        settings.store,
        owner=owner,
        lease_seconds=lease_seconds(endpoints),
        endpoints=[each.name for each in endpoints],
        orders={each.name: each.order for each in endpoints},
        clock=clock,
        longest=Longest(*longest_waits(settings.delivery)),
    )
    mailboxes = Mailboxes(store, owner, clock)
    admission = Admission(store, clock)
    try:
        dispatcher = Dispatcher(
            endpoints,
            settings.delivery,
            store,
            _transport_of,
            clock=clock,
            rng=random.SystemRandom().random,
            failing=await store.read(failing_endpoints),
            over=await store.read(failed_over),
        )
        intake = Intake(reader, store, dispatcher)
        names = [each.name for each in endpoints]
        metrics.start_at_zero([each.name for each in settings.providers])
        refresh = Gauges(store, names, clock).refresh
        door = Door(settings.http, admission, Sessions())

        def believing(current: Settings, name: str) -> Intake:
            return Intake(reader_of(current, Trust("operator", name)), store, dispatcher)

        bridge = Bridge(store, health, clock, intake, believing, settings, endpoints)
        pulse = Pulse(store, names, admission.is_open, clock)
        page = Page(door, Site(bridge, pulse, lambda: reloader.candidate()))
        api = Api(bridge, door)
        found = intake.accept, mailboxes, health, refresh, sockets, clock, api, door, page
        dependent = _Dependent.of(limited, _Dependencies(*found))
        sources = _build(dependent.sources)
        (web,) = _build(dependent.servers)
        grace = settings.delivery.grace
        replayer = Replayer(store, endpoints, clock)
        digester = Digester(store, dispatcher, endpoints, clock)
        using = replayer.use, digester.use
        taking = Reloaded(store, intake, dispatcher, using, sources, health, api, names, clock)
        reloader = Reloader(settings, built, load, _built, taking)
        retention = Retention(store, settings.retention.ages, clock)
        steady = retention.run, replayer.run, Retrier(store, clock).run, digester.run
        endless = *steady, reloader.run, pulse.run
        parts = Parts(store, dispatcher, sources, web, health, grace, names, clock, endless)
        # What is here by now stays. Otherwise each full collection scans it all and pauses
        # everything for 25 ms: five times as long as a mail takes until its 250.
        gc.collect()
        gc.freeze()
        await serve(parts, reloader.request)
    finally:
        await mailboxes.step_down()
        await admission.close()
        await store.close()
        trust.close()
