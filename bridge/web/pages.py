"""The operators' pages: health, readiness, metrics and the webhook's schema."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bridge import logs, metrics
from bridge.config.http import HttpOpen
from bridge.errors import StoreError
from bridge.formats import sms_received
from bridge.process import Process
from bridge.web.health import Health

log = logs.logger("web")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guard = Callable[[HttpOpen, Answer], Answer]

_REFRESH_SECONDS: Final = 3.0  # below the usual scrape timeout of 10 s


def unguarded(_part: HttpOpen, answer: Answer) -> Answer:
    """Leave it open to everybody."""
    return answer


class Pages:
    """Answers probes and scrapes, and serves the schema of the webhook.

    `refresh` updates the gauges from the store; it raises StoreError if that fails. `guard` puts
    in front of health and metrics what their config says.
    """

    def __init__(
        self,
        health: Health,
        refresh: Callable[[], Awaitable[None]],
        guard: Guard = unguarded,
    ) -> None:
        self._health = health
        self._guard = guard
        self._refresh = refresh
        self._process = Process.named(os.getpid())
        self._refreshing: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all pages."""
        return [
            web.get("/healthz", self._guard("health", self._healthz)),
            web.get("/readyz", self._guard("health", self._readyz)),
            web.get("/metrics", self._guard("metrics", self._metrics)),
            web.get("/schemas/sms.received.json", self._schema),
        ]

    async def close(self) -> None:
        """Cancel a refresh that still runs."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
            self._refreshing = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        own = {
            "process": asdict(self._process) if self._process else {},
            "reload": self._health.last_reload,
            "sources": self._health.reports,
        }
        return _verdict(self._health.problems, own)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._health.not_ready)

    async def _metrics(self, _request: web.Request) -> web.Response:
        metrics.STORE_UP.set(1 if await self._up_to_date() else 0)
        for kind, problems in self._health.count().items():
            metrics.PROBLEMS.labels(kind).set(problems)
        page = generate_latest(metrics.REGISTRY)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _schema(self, _request: web.Request) -> web.Response:
        return web.Response(body=sms_received.schema(), content_type="application/schema+json")

    async def _up_to_date(self) -> bool:
        """Refresh the gauges; False if that failed or took too long, and they may be old.

        Concurrent scrapes share one refresh, so that they don't pile up on a slow store.
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
