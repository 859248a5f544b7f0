"""Takes a changed config over while the daemon runs: all that can change, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from bridge import logs, metrics
from bridge.config.load import ConfigFile
from bridge.config.settings import Settings
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.endpoint import Endpoint
from bridge.errors import BridgeError, ConfigError, ConfigErrors
from bridge.intake import Intake
from bridge.model import Order
from bridge.reader import Reader
from bridge.store import Store, failed_over, failing_endpoints
from bridge.store.endpoints import match_config
from bridge.supervisor import Source
from bridge.web import Api, Health

if TYPE_CHECKING:
    from bridge.providers.posts import Posts

log = logs.logger("reload")

_CHANGEABLE: Final = ("providers", "endpoints", "log")
# A lease outlives the attempt and its record, so that no other bridge sends an in-flight delivery.
_LEASE_MARGIN: Final = 30.0


@runtime_checkable
class _TakesPosts(Protocol):
    def use(self, providers: Mapping[str, Posts], tokens: Mapping[str, Sequence[str]]) -> None: ...


class Built(NamedTuple):
    """What is built from the tables that can change."""

    reader: Reader
    endpoints: Sequence[Endpoint]
    posts: dict[str, Posts]

    @property
    def orders(self) -> Mapping[str, Order]:
        """The endpoints' orders within conversations."""
        return {each.name: each.order for each in self.endpoints}


def lease_seconds(endpoints: Sequence[Endpoint]) -> float:
    """Return for how long a delivery to any of these endpoints is leased."""
    return max((each.timeout for each in endpoints), default=0.0) + _LEASE_MARGIN


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The parts that take a changed config over. `names`, the endpoints', is changed in place."""

    store: Store
    intake: Intake
    dispatcher: Dispatcher
    using: Sequence[Callable[[Sequence[Endpoint]], None]]  # what else uses the endpoints
    sources: Sequence[Source]
    health: Health
    api: Api
    names: list[str]
    clock: Callable[[], datetime]

    async def use(self, settings: Settings, built: Built) -> None:
        """Use a config; raises StoreError, and then nothing has changed."""
        names = [each.name for each in built.endpoints]
        failing = await self.store.read(failing_endpoints)
        over = await self.store.read(failed_over)
        await self.match(names, built.orders)
        # From here on nothing fails, and nothing waits: no mail is read half by the old config.
        logs.configure(settings.log)
        metrics.start_at_zero([each.name for each in settings.providers])
        # In-flight attempts of endpoints that are gone have a lease already.
        self.store.lease_for(lease_seconds(built.endpoints))
        self.intake.use(built.reader)
        self.dispatcher.change(built.endpoints, failing, over)
        for use in self.using:
            use(built.endpoints)
        self.api.use(settings, built.endpoints)
        for source in self.sources:
            if isinstance(source, _TakesPosts):
                source.use(built.posts, tokens_of(settings))
        for name in set(self.names) - set(names):
            self.health.good("delivery", name)
            self.health.good("delivery", f"{name} failover")
        self.names[:] = names

    async def match(self, names: Sequence[str], orders: Mapping[str, Order]) -> None:
        """Hold what is pending for endpoints that are gone, release it for those that are back.

        `orders` are the endpoints' orders within conversations.
        """
        now = self.clock()
        await self.store.change(partial(match_config, configured=names, now=now, orders=orders))


class Reloader:
    """Reloads the config on request.

    `settings` and `built` are in use. `load` reads the file; `build` builds what can change, and
    raises ConfigError. Tables that can't change keep their settings until a restart.
    """

    def __init__(
        self,
        settings: Settings,
        built: Built,
        load: Callable[[], ConfigFile],
        build: Callable[[Settings], Built],
        parts: Reloaded,
    ) -> None:
        self._settings = settings
        self._built = built
        self._load = load
        self._build = build
        self._parts = parts
        self._requested = asyncio.Event()

    def candidate(self) -> Reader:
        """Build the reader of the file as it is now, and use nothing of it; blocks.

        Raises BridgeError if the file can't be used.
        """
        file = self._load()
        try:
            return self._build(file.settings).reader
        except ConfigError as error:
            raise file.locate(error) from None

    def request(self) -> None:
        """Reload soon."""
        self._requested.set()

    async def run(self) -> None:
        """Reload whenever it is requested, until cancelled."""
        settle: float | None = None
        while True:
            try:
                async with asyncio.timeout(settle):
                    await self._requested.wait()
            except TimeoutError:
                settle = await self._settle()
                continue
            self._requested.clear()
            if await self.reload():
                # Attempts in flight to endpoints that are gone have ended by then.
                settle = self._parts.store.lease_seconds

    async def _settle(self) -> float | None:
        """Hold or wake what replaced lanes left: pending for nobody, or parked without an order.

        Returns None when that is done, else the seconds until it is tried again.
        """
        try:
            await self._parts.match(self._parts.names, self._built.orders)
        except BridgeError as error:
            log.warning("reload.unsettled", detail=str(error))
            return self._parts.store.lease_seconds
        return None

    async def reload(self) -> bool:
        """Take the config over if it is good; return whether it was."""
        try:
            file = await asyncio.to_thread(self._load)
            fresh = {name: getattr(file.settings, name) for name in _CHANGEABLE}
            settings = self._settings.model_copy(update=fresh)
            built = self._with_kept_endpoints(settings, file)
            await self._parts.use(settings, built)
        except ConfigErrors as error:
            for line in error.lines:
                log.error("reload.refused", detail=line)
            self._parts.health.reloaded(ok=False)
            return False
        except BridgeError as error:
            log.error("reload.failed", detail=str(error))
            self._parts.health.reloaded(ok=False)
            return False
        changed = [each for each in _CHANGEABLE if fresh[each] != getattr(self._settings, each)]
        log.info("reload.config", changed=", ".join(changed) or "nothing")
        kept = self._report_unchangeable(file.settings)
        self._settings, self._built = settings, built
        self._parts.health.reloaded(ok=True, changed=changed, needs_restart=kept)
        return True

    def _with_kept_endpoints(self, settings: Settings, file: ConfigFile) -> Built:
        """Build everything, and keep the endpoints whose settings are as they were."""
        try:
            built = self._build(settings)
        except ConfigError as error:
            raise file.locate(error) from None
        known = {each.name: each for each in self._settings.endpoints}
        objects = {each.name: each for each in self._built.endpoints}
        endpoints = [
            objects[each.name]
            # Files of certificates may have changed behind the same path.
            if known.get(each.name) == wanted and each.tls is None
            else each
            for each, wanted in zip(built.endpoints, settings.endpoints, strict=True)
        ]
        return built._replace(endpoints=endpoints)

    def _report_unchangeable(self, wanted: Settings) -> Sequence[str]:
        """Log and return the tables that differ and keep their settings."""
        kept = [
            name
            for name in type(wanted).model_fields
            if name not in _CHANGEABLE and getattr(wanted, name) != getattr(self._settings, name)
        ]
        for name in kept:
            log.warning("reload.needs_restart", table=name, detail=f"[{name}] changes at a restart")
        return kept


def tokens_of(settings: Settings) -> dict[str, Sequence[str]]:
    """Return the tokens of the providers that post."""
    return {each.name: each.post.all_tokens for each in settings.providers if each.post}
