"""All of `/api/v1`: the endpoints' streams for their receivers, and the rest for operators."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from bridge.config.settings import Settings
from bridge.delivery.endpoint import Endpoint
from bridge.web.api.admin import AdminApi, Bridge
from bridge.web.api.events import EventsApi
from bridge.web.door import Door


class Api:
    """The routes, each behind what opens it: an endpoint's `pull_token`, or the door."""

    def __init__(self, bridge: Bridge, door: Door) -> None:
        self._bridge = bridge
        self._door = door
        self._events = EventsApi(bridge.store, bridge.settings.endpoints)

    def use(self, settings: Settings, endpoints: Sequence[Endpoint]) -> None:
        """Use this config from now on."""
        self._bridge.use(settings, endpoints)
        self._events.use(settings.endpoints)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, the last of which takes the rest of `/api/v1`."""
        admin = AdminApi(self._bridge, self._door)
        return self._door.routes([*admin.routes(), *self._events.routes()])
