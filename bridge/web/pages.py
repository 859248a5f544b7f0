"""The pages themselves: what they answer, and how the gauges are brought up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bridge import logs, metrics
from bridge.errors import StoreError
from bridge.formats import sms_received
from bridge.web.health import Health

log = logs.logger("web")

_REFRESH_SECONDS: Final = 3.0  # below the usual scrape timeout of 10 s


class Pages:
    """The pages of an operator's machinery, and the schema of what is sent."""

    def __init__(self, health: Health, refresh: Callable[[], Awaitable[None]]) -> None:
        self._health = health
        self._refresh = refresh
        self._refreshing: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Say which path is which page."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/schemas/sms.received.json", self._schema),
        ]

    async def close(self) -> None:
        """End a refresh that is still under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
            self._refreshing = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _verdict(self._health.problems, {"sources": self._health.reports})

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._health.not_ready)

    async def _metrics(self, _request: web.Request) -> web.Response:
        metrics.STORE_UP.set(1 if await self._up_to_date() else 0)
        page = generate_latest(metrics.REGISTRY)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _schema(self, _request: web.Request) -> web.Response:
        return web.Response(body=sms_received.schema(), content_type="application/schema+json")

    async def _up_to_date(self) -> bool:
        """Refresh the gauges within the deadline; counters are worth a page even if it fails.

        One refresh at a time, whoever asks: scrapes of a slow store must not pile up on it.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._refresh())
        task = self._refreshing
        await asyncio.wait({task}, timeout=_REFRESH_SECONDS)
        if not task.done():
            return False
        if self._refreshing is task:
            self._refreshing = None
        try:
            task.result()
        except StoreError as error:
            log.warning("metrics.old", detail=str(error))
            return False
        return True


def _verdict(
    problems: tuple[str, ...], more: Mapping[str, object] = MappingProxyType({})
) -> web.Response:
    return web.json_response(
        {"ok": not problems, "problems": list(problems), **more}, status=503 if problems else 200
    )
