"""Runs the parts in nested task groups: store outside, deliveries inside, sources innermost.

So shutdown has the right order whatever causes it: first nothing more comes in, then in-flight
deliveries finish and are recorded, then the store closes. A bug in any part ends the process, and
systemd restarts it; the state is in the database, so nothing is lost.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from bridge import __version__, logs, metrics, shortage, systemd
from bridge.delivery.dispatcher import Dispatcher
from bridge.errors import ConfigError, StoreError, StoreFull
from bridge.model import Report
from bridge.shutdown import Shutdown
from bridge.store import Store
from bridge.store.damage import list_damage
from bridge.store.snapshot import oldest_undelivered
from bridge.web import Condition, Health, WebServer

log = logs.logger("supervisor")

_PROBE_INTERVAL: Final = 5.0  # seconds between two probes of the store and the sources
_PROBE_DEADLINE: Final = 10.0
_LONG_WAIT: Final = timedelta(minutes=5)  # of a delivery, until /healthz says so


class Source(Protocol):
    """A way in, as the supervisor runs it."""

    name: str
    listening: asyncio.Event  # set once it runs

    async def run(self) -> None:
        """Take arrivals in until `stop`, then finish those in flight."""

    def stop(self) -> None:
        """Make `run` end."""

    def reload_tls(self) -> None:
        """Reload the certificate; ConfigError if it cannot be used."""

    def report(self) -> Report:
        """Return the source's status."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What `serve` runs; built by `bridge.app`."""

    store: Store
    dispatcher: Dispatcher
    sources: tuple[Source, ...]
    web: WebServer
    health: Health
    grace: float  # seconds for in-flight deliveries to finish on shutdown
    endpoints: Sequence[str]
    clock: Callable[[], datetime]
    housekeeping: Sequence[Callable[[], Coroutine[None, None, None]]]  # run until cancelled


async def serve(parts: Parts, reload: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT, then drain, for as long as `Shutdown` lets us.

    SIGHUP reloads the certificates and calls `reload`.

    Raises ListenError if an address is in use, and whatever a part raises.
    """
    shutdown = Shutdown(parts.grace)
    for source in parts.sources:
        parts.health.show(source.name, source.report)

    def hang_up() -> None:
        _reload(parts.sources)
        reload()

    with _signals(shutdown, hang_up):
        await parts.web.start()
        try:
            async with asyncio.TaskGroup() as beside:
                endless = [_probe(parts), *(each() for each in parts.housekeeping)]
                tasks = [beside.create_task(each, name="housekeeping") for each in endless]
                await _deliver(parts, shutdown)
                for task in tasks:
                    task.cancel()
        finally:
            await parts.web.stop()
    log.info("stopped")


async def _deliver(parts: Parts, shutdown: Shutdown) -> None:
    async with asyncio.TaskGroup() as delivering:
        delivering.create_task(parts.dispatcher.run(), name="deliveries")
        await _listen(parts, shutdown)
        log.info("stopping", part="deliveries", grace=parts.grace)
        await parts.dispatcher.drain(shutdown.left())


async def _listen(parts: Parts, shutdown: Shutdown) -> None:
    async with asyncio.TaskGroup() as listening:
        running = [listening.create_task(each.run(), name="source") for each in parts.sources]
        for source in parts.sources:
            await source.listening.wait()
        parts.health.start()
        systemd.notify("READY=1")
        log.info("started", version=__version__)

        await shutdown.wait()

        parts.health.drain()
        systemd.notify("STOPPING=1")
        log.info("stopping", part="sources")
        for source in parts.sources:
            source.stop()
        _, unfinished = await asyncio.wait(running, timeout=shutdown.left())
        for task in unfinished:
            task.cancel()


async def _probe(parts: Parts) -> None:
    """Check store and sources at intervals, and feed the watchdog unless a restart would help."""
    wanted = systemd.watchdog_seconds()
    pause = _PROBE_INTERVAL if wanted is None else min(_PROBE_INTERVAL, wanted / 3)
    while True:
        running = await _check_store(parts.store, parts.health)
        for part, problem in parts.store.clock_problems.items():
            _record(parts.health, "clock", problem, part)
        await _check_deliveries(parts)
        await _check_damage(parts)
        for source in parts.sources:
            running &= _check_source(source, parts.health)
        _record(parts.health, "resources", shortage.problem())
        metrics.LOG_DROPPED.inc(logs.flush())
        _record(parts.health, "log", logs.problem())
        if running:
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(pause)


async def _check_store(store: Store, health: Health) -> bool:
    """Check that the event loop and the store work; False if a restart could help."""
    problem, restart_helps = None, False
    try:
        async with asyncio.timeout(_PROBE_DEADLINE):
            await store.probe()
    except TimeoutError:
        problem, restart_helps = f"the store took no write within {_PROBE_DEADLINE:.0f} s", True
    except StoreFull as error:
        # The store answers, deliveries go on, and a restart frees no disk.
        problem = str(error)
    except StoreError as error:
        problem, restart_helps = str(error), True
    _record(health, "store", problem)
    return not restart_helps


async def _check_deliveries(parts: Parts) -> None:
    """Record which endpoints have waited for too long; a restart would not help."""
    try:
        async with asyncio.timeout(_PROBE_DEADLINE):
            oldest = await parts.store.read(partial(oldest_undelivered, endpoints=parts.endpoints))
    except (StoreError, TimeoutError):
        return  # the store's own condition says so, and the watchdog must not wait for a reader
    now = parts.clock()
    for endpoint in parts.endpoints:
        since = oldest.get(endpoint, now)
        _record(parts.health, "delivery", _waiting(endpoint, since, now), endpoint)
        over = parts.dispatcher.over.get(endpoint)
        _record(parts.health, "delivery", _failed_over(endpoint, over), f"{endpoint} failover")


async def _check_damage(parts: Parts) -> None:
    """Record what was found damaged and no operator has accepted; a restart would not help."""
    try:
        async with asyncio.timeout(_PROBE_DEADLINE):
            found = await parts.store.read(list_damage)
    except (StoreError, TimeoutError):
        return  # the store's own condition says so
    more = f" (and {len(found) - 1} more: `smsbridge damage list`)" if len(found) > 1 else ""
    _record(parts.health, "damage", f"{found[0]}{more}" if found else None)


def _waiting(endpoint: str, since: datetime, now: datetime) -> str | None:
    """Say what is wrong if an endpoint's oldest delivery has waited since then; None: nothing.

    One of the future came when the clock was ahead, and nobody knows how long ago that was.
    """
    if abs(now - since) < _LONG_WAIT:
        return None
    return (
        f"endpoints.{endpoint}: a delivery has been waiting since "
        f"{since.isoformat(timespec='seconds')}; `smsbridge deliveries list --endpoint {endpoint}` "
        "shows why"
    )


def _failed_over(endpoint: str, since: datetime | None) -> str | None:
    """Say since when an endpoint's failover URL is in use; None: it isn't."""
    if since is None:
        return None
    return (
        f"endpoints.{endpoint}: fails, and is on its failover URL since "
        f"{since.isoformat(timespec='seconds')}"
    )


def _check_source(source: Source, health: Health) -> bool:
    """Record a source's status in `health`; False if only a restart helps.

    A mail server that is away is a problem, but no reason for a restart: the source keeps trying.
    A source that has stalled would never read again.
    """
    report = source.report()
    _record(health, "source", report.problem, source.name)
    _record(health, "progress", report.stalled, source.name)
    return report.stalled is None


def _record(health: Health, condition: Condition, problem: str | None, part: str = "") -> None:
    """Mark a condition as good or bad; log when that changes."""
    named = {"part": part} if part else {}
    if problem is None:
        if health.good(condition, part):
            log.info(f"{condition}.well", **named)
    elif health.bad(condition, problem, part):
        log.error(f"{condition}.sick", exc_info=None, **named, detail=problem)


def _reload(sources: Sequence[Source]) -> None:
    """Reload the certificates; a bad one is logged, and the old one stays in use."""
    failed = False
    for source in sources:
        try:
            source.reload_tls()
        except ConfigError as error:
            failed = True
            log.error("reload.failed", detail=str(error))
    if not failed:
        log.info("reload.done")


@contextmanager
def _signals(shutdown: Shutdown, reload: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    loop.add_signal_handler(signal.SIGTERM, shutdown.begin)
    loop.add_signal_handler(signal.SIGINT, shutdown.begin)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
