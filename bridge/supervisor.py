"""Runs the parts nested in each other: store outside, deliveries inside, sources innermost.

So whatever ends, ends in the right order: first nothing more comes in, then what is under way is
delivered and recorded, then the store closes. A bug in any part ends the process, and systemd
starts it again; the database is the truth, so nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from bridge import __version__, logs, systemd
from bridge.delivery.dispatcher import Dispatcher
from bridge.errors import ConfigError, StoreError, StoreFull
from bridge.model import Report
from bridge.store import Store
from bridge.web import Condition, Health, WebServer

log = logs.logger("supervisor")

_BEAT: Final = 5.0  # seconds between two proofs that the store takes a write
_BEAT_DEADLINE: Final = 10.0
_KILLED_BY_USER: Final = 130


class Source(Protocol):
    """A way in, as far as it is run from here."""

    name: str
    listening: asyncio.Event  # set once it runs

    async def run(self) -> None:
        """Take arrivals in until `stop`, and end what is under way."""

    def stop(self) -> None:
        """Make `run` come to its end."""

    def reload_tls(self) -> None:
        """Read the certificate again; ConfigError if it cannot be used."""

    def report(self) -> Report:
        """Say how it does, for those who look."""

    def trouble(self) -> str | None:
        """Say what is wrong, in a sentence for the operator; None: nothing is."""

    def stuck(self) -> str | None:
        """Say that it has stopped in silence, so that only a restart helps; None: it has not."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs; built by `bridge.app`."""

    store: Store
    dispatcher: Dispatcher
    sources: tuple[Source, ...]
    web: WebServer
    health: Health
    grace: float  # seconds that what is under way may take on shutdown


async def serve(parts: Parts) -> None:
    """Run until SIGTERM or SIGINT, then drain; the second signal ends the process at once.

    Raises ListenError if an address is taken, and whatever a part dies of.
    """
    stop = asyncio.Event()
    for source in parts.sources:
        parts.health.show(source.name, source.report)
    with _signals(stop, lambda: _reload(parts.sources)):
        await parts.web.start()
        try:
            async with asyncio.TaskGroup() as beating:
                beat = beating.create_task(_beat(parts), name="beat")
                await _deliver(parts, stop)
                beat.cancel()
        finally:
            await parts.web.stop()
    log.info("stopped")


async def _deliver(parts: Parts, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as delivering:
        delivering.create_task(parts.dispatcher.run(), name="deliveries")
        await _listen(parts, stop)
        log.info("stopping", part="deliveries", grace=parts.grace)
        await parts.dispatcher.drain(parts.grace)


async def _listen(parts: Parts, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as listening:
        for source in parts.sources:
            listening.create_task(source.run(), name="source")
        for source in parts.sources:
            await source.listening.wait()
        parts.health.start()
        systemd.notify("READY=1")
        log.info("started", version=__version__)

        await stop.wait()

        parts.health.drain()
        systemd.notify("STOPPING=1")
        log.info("stopping", part="sources")
        for source in parts.sources:
            source.stop()


async def _beat(parts: Parts) -> None:
    """Prove again and again that all is well, and say so."""
    wanted = systemd.watchdog_seconds()
    pause = _BEAT if wanted is None else min(_BEAT, wanted / 3)
    while True:
        well = await _prove(parts.store, parts.health)
        for source in parts.sources:
            well &= _look_at(source, parts.health)
        if well:
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(pause)


async def _prove(store: Store, health: Health) -> bool:
    """Prove that the loop turns and the store takes a write; False if a restart could help."""
    problem, restart_helps = None, False
    try:
        async with asyncio.timeout(_BEAT_DEADLINE):
            await store.probe()
    except TimeoutError:
        problem, restart_helps = f"the store took no write within {_BEAT_DEADLINE:.0f} s", True
    except StoreFull as error:
        # The store answers, deliveries go on, and no restart frees a disk.
        problem = str(error)
    except StoreError as error:
        problem, restart_helps = str(error), True
    _note(health, "store", problem)
    return not restart_helps


def _look_at(source: Source, health: Health) -> bool:
    """Take note of how a source does; False if only a restart helps.

    A mailbox that is away is in trouble, and no reason to be started again: its source goes on
    trying. One that has stopped in silence would never read again.
    """
    stuck = source.stuck()
    _note(health, "source", source.trouble(), source.name)
    _note(health, "progress", stuck, source.name)
    return stuck is None


def _note(health: Health, condition: Condition, problem: str | None, part: str = "") -> None:
    """Keep what is wrong, or that nothing is; log when that changes."""
    named = {"part": part} if part else {}
    if problem is None:
        if health.good(condition, part):
            log.info(f"{condition}.well", **named)
    elif health.bad(condition, problem, part):
        log.error(f"{condition}.sick", exc_info=None, **named, detail=problem)


def _reload(sources: Sequence[Source]) -> None:
    """Read the certificates again; a bad one is told, and the old one kept."""
    for source in sources:
        try:
            source.reload_tls()
        except ConfigError as error:
            log.error("reload.failed", detail=str(error))
        else:
            log.info("reload.done")


@contextmanager
def _signals(stop: asyncio.Event, reload: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            # Everything acknowledged is committed, so there is nothing that must be tidied up.
            log.warning("killed", detail="second signal: out at once")
            os._exit(_KILLED_BY_USER)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
