"""The page's addresses, and who is let in to each; what answers is imported when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bridge.model import Scope
from bridge.web.door import Door, Refusal
from bridge.web.page.site import Site

if TYPE_CHECKING:
    from bridge.web.page.screens import Screens

_SECRETIVE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST})


@dataclass(frozen=True, slots=True)
class Address:
    """A path of the page, and what it takes to go there; `stream`: its answer goes on and on."""

    method: str
    path: str
    scope: Scope = Scope.READ
    stream: bool = False


ADDRESSES: Final = (
    Address("GET", "/"),
    Address("GET", "/messages"),
    Address("GET", "/messages/{id}"),
    Address("GET", "/deliveries"),
    Address("GET", "/deliveries/{id}"),
    Address("POST", "/deliveries/{id}/retry", Scope.OPERATE),
    Address("GET", "/retries"),
    Address("POST", "/retries", Scope.OPERATE),
    Address("GET", "/retries/order", Scope.OPERATE),
    Address("GET", "/retries/{id}"),
    Address("POST", "/retries/{id}/cancel", Scope.OPERATE),
    Address("GET", "/quarantine"),
    Address("GET", "/arrivals/{id}"),
    Address("GET", "/arrivals/{id}/raw", Scope.OPERATE),
    Address("POST", "/arrivals/{id}/try", Scope.OPERATE),
    Address("POST", "/arrivals/{id}/reparse", Scope.OPERATE),
    Address("GET", "/endpoints"),
    Address("GET", "/endpoints/{name}"),
    Address("POST", "/endpoints/{name}/hold", Scope.OPERATE),
    Address("POST", "/endpoints/{name}/resume", Scope.OPERATE),
    Address("POST", "/endpoints/{name}/test", Scope.OPERATE),
    Address("GET", "/live"),
    Address("GET", "/live/stream", stream=True),
    Address("GET", "/login"),
    Address("POST", "/login"),
    Address("POST", "/logout"),
    Address("GET", "/page/{file}"),
)


class Page:
    """Answers browsers, once there is a token."""

    def __init__(self, door: Door, site: Site) -> None:
        self._door = door
        self._site = site
        self._loading = asyncio.Lock()
        self._screens: Screens | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, with and without a proxy's prefix."""
        return self._door.routes(
            web.route(each.method, each.path, partial(self._answer, each)) for each in ADDRESSES
        )

    async def _answer(self, address: Address, request: web.Request) -> web.StreamResponse:
        found = await self._door.admit(request, address.scope, stream=address.stream)
        if isinstance(found, Refusal) and found.status in _SECRETIVE:
            return found.as_problem()
        return await (await self._loaded()).answer(address, request, found)

    async def _loaded(self) -> Screens:
        """Import what makes the screens, in a thread: that takes a tenth of a second."""
        async with self._loading:
            if self._screens is None:
                make = await asyncio.to_thread(_load)
                self._screens = make(self._door, self._site)
        return self._screens


def _load() -> Callable[[Door, Site], Screens]:
    from bridge.web.page.rendering import Templates
    from bridge.web.page.screens import Screens

    return partial(Screens, Templates())
