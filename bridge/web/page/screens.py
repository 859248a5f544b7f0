"""Which screen answers at which address; and the login, the files, and whatever goes wrong."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final

from aiohttp import web

from bridge.errors import BridgeError, NotFound, NotPossible, StoreError
from bridge.web.door import Door, Refusal, Visitor
from bridge.web.page import arrivals, endpoints, lists, live, overview, retries, stories
from bridge.web.page.rendering import Templates
from bridge.web.page.routes import Address
from bridge.web.page.site import Site
from bridge.web.page.visit import Visit

_FILES: Final = Path(__file__).parent / "files"
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
)
# Where a login may lead: a path of ours, which no browser takes for another host.
_OURS: Final = re.compile(r"/(?![/\\])[!-~]{0,1000}")

Screen = Callable[[Visit], Awaitable[web.StreamResponse]]

SCREENS: Final[Mapping[tuple[str, str], Screen]] = MappingProxyType(
    {
        ("GET", "/"): overview.show_overview,
        ("GET", "/messages"): lists.show_messages,
        ("GET", "/messages/{id}"): stories.show_message,
        ("GET", "/deliveries"): lists.show_deliveries,
        ("GET", "/deliveries/{id}"): stories.show_delivery,
        ("POST", "/deliveries/{id}/retry"): stories.retry,
        ("GET", "/retries"): retries.show_retries,
        ("POST", "/retries"): retries.order,
        ("GET", "/retries/order"): retries.show_order,
        ("GET", "/retries/{id}"): retries.show_retry,
        ("POST", "/retries/{id}/cancel"): retries.cancel,
        ("GET", "/quarantine"): lists.show_quarantine,
        ("GET", "/arrivals/{id}"): arrivals.show_arrival,
        ("GET", "/arrivals/{id}/raw"): arrivals.download,
        ("POST", "/arrivals/{id}/try"): arrivals.try_again,
        ("POST", "/arrivals/{id}/reparse"): arrivals.reparse,
        ("GET", "/endpoints"): endpoints.show_endpoints,
        ("GET", "/endpoints/{name}"): endpoints.show_endpoint,
        ("POST", "/endpoints/{name}/hold"): endpoints.hold,
        ("POST", "/endpoints/{name}/resume"): endpoints.resume,
        ("POST", "/endpoints/{name}/test"): endpoints.test,
        ("GET", "/live"): live.show_live,
    }
)


class Screens:
    """Answers those who were let in, and asks the others for their token."""

    def __init__(self, templates: Templates, door: Door, site: Site) -> None:
        self._templates = templates
        self._door = door
        self._site = site
        self._files = {name: (_FILES / name).read_bytes() for name in _TYPES}
        self._open = {
            ("GET", "/login"): self._show_login,
            ("POST", "/login"): self._log_in,
            ("GET", "/page/{file}"): self._file,
        }

    async def answer(
        self, address: Address, request: web.Request, found: Visitor | Refusal
    ) -> web.StreamResponse:
        """Answer a request that the door has looked at."""
        visitor = None if isinstance(found, Refusal) else found
        visit = Visit(request, self._site, self._templates, self._door.prefix, visitor)
        key = (address.method, address.path)
        if key in self._open:
            return await self._open[key](visit)
        if isinstance(found, Refusal):
            return await self._refuse(visit, found)
        if address.stream:
            return await live.stream(visit, lambda: self._door.still_in(found))
        if address.path == "/logout":
            return self._log_out(visit, found)
        try:
            return await SCREENS[key](visit)
        except NotFound as error:
            return await visit.problem(HTTPStatus.NOT_FOUND, "Not found", _sentence(error))
        except NotPossible as error:
            return await visit.problem(HTTPStatus.CONFLICT, "Not done", _sentence(error))
        except StoreError as error:
            return await visit.problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "The store doesn't answer", _sentence(error)
            )

    async def _refuse(self, visit: Visit, refusal: Refusal) -> web.Response:
        """Ask for a token; or say why this one isn't enough."""
        if refusal.status is not HTTPStatus.UNAUTHORIZED:
            return await visit.problem(refusal.status, refusal.status.phrase, f"{refusal.detail}.")
        if visit.request.method in {"GET", "HEAD"}:
            return visit.go("/login", {"next": visit.asked_for})
        return visit.go("/login")

    async def _show_login(self, visit: Visit, problem: str = "", status: int = 200) -> web.Response:
        if visit.visitor is not None:
            return visit.go("/")
        asked = visit.request.query.get("next", "")
        return await visit.show(
            "login.html",
            "",
            HTTPStatus(status),
            next=asked if _OURS.fullmatch(asked) else "",
            problem=problem,
        )

    async def _log_in(self, visit: Visit) -> web.Response:
        form = await visit.form()
        found = await self._door.log_in(visit.request, form.get("token", ""))
        if isinstance(found, Refusal):
            problem = "This token opens nothing: is it whole, and not revoked?"
            if found.status is not HTTPStatus.UNAUTHORIZED:
                problem = f"{found.detail[:1].upper()}{found.detail[1:]}."
            response = await self._show_login(visit, problem, found.status)
            response.headers.update(found.headers)
            return response
        after = form.get("next", "")
        where = after if _OURS.fullmatch(after) else visit.at("/")
        response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})
        self._door.keep(response, found)
        return response

    def _log_out(self, visit: Visit, visitor: Visitor) -> web.Response:
        self._door.log_out(visitor)
        response = visit.go("/login")
        self._door.forget(response)
        return response

    async def _file(self, visit: Visit) -> web.Response:
        name = visit.request.match_info["file"]
        if name not in self._files:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return web.Response(body=self._files[name], content_type=_TYPES[name], charset="utf-8")


def _sentence(error: BridgeError) -> str:
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}".rstrip(".") + "."
