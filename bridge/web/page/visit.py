"""One request to the page: who asks, for what, and the answers that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from bridge.model import Scope
from bridge.web.door import Visitor
from bridge.web.page.rendering import Templates
from bridge.web.page.site import Site

SCREENS: Final = (
    ("/", "Overview"),
    ("/messages", "Messages"),
    ("/deliveries", "Deliveries"),
    ("/quarantine", "Quarantine"),
    ("/endpoints", "Endpoints"),
    ("/live", "Live"),
)
ROWS: Final = 50  # of a list on one page
MAX_NUMBER: Final = 2**63 - 2  # the one behind it is a number, too
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = 20  # of a form
# What was done, as the address says it after a redirect: nobody else's words get onto the page.
_DONE: Final = {
    "held": "Held: {n} deliveries wait now, and new ones will.",
    "resumed": "Resumed: {n} deliveries go out.",
    "retried": "It is tried again now.",
    "not-retried": "Nothing to retry: it is delivered, filtered, or under way.",
    "message": "Read and stored: it is this message now, and on its way.",
    "duplicate": "Read: it repeats this message, which was here already.",
    "quarantine": "Read again: it stays in quarantine.",
    "ignored": "Read again: its provider says that it is no SMS.",
    "refused": "It could not be read again now: try once more.",
}
_BAD: Final = frozenset({"not-retried", "quarantine", "refused"})


@dataclass(frozen=True, slots=True)
class Note:
    """What was done, shown above a screen."""

    text: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor's request. `prefix` is in front of every path, for a proxy."""

    request: web.Request
    site: Site
    templates: Templates
    prefix: str
    visitor: Visitor | None = None  # None before the login

    @property
    def reveal(self) -> bool:
        """Whether whole numbers and texts are shown, and acts are possible."""
        return self.visitor is not None and self.visitor.may(Scope.OPERATE)

    def at(self, path: str, query: Mapping[str, object] = _NOTHING) -> str:
        """Return the address of one of our own pages; what is empty in `query` is left out."""
        asked = {name: value for name, value in query.items() if value not in {None, ""}}
        return self.prefix + path + (f"?{urlencode(asked)}" if asked else "")

    @property
    def asked_for(self) -> str:
        """Return the address that was asked for, as the browser has it: a proxy may cut it."""
        path = self.request.path_qs
        ours = path == self.prefix or path.startswith((f"{self.prefix}/", f"{self.prefix}?"))
        return path if ours else self.prefix + path

    def asked(self, name: str, longest: int = 200) -> str:
        """Return what the address asks for; empty if it is too long to mean anything."""
        value = self.request.query.get(name, "").strip()
        return value if len(value) <= longest else ""

    def number(self, name: str) -> int | None:
        """Return a whole number of the address; None if there is none."""
        return whole(self.asked(name))

    def chosen(self, name: str, values: type[Any]) -> Any:
        """Return the member of an enumeration that the address names; None if it names none."""
        asked = self.asked(name)
        return values(asked) if asked in {each.value for each in values} else None

    async def form(self) -> Mapping[str, str]:
        """Return the fields of one of our forms; none of anything else.

        Nothing is decoded as the request says: anybody may post to the login, and some charsets and
        encodings raise, or take a second for a few bytes.
        """
        if self.request.content_type != _FORM:
            return _NOTHING
        written = await self.request.read()
        try:
            fields = parse_qsl(written.decode(), keep_blank_values=True, max_num_fields=_FIELDS)
        except ValueError:
            return _NOTHING
        return dict(fields)

    async def show(
        self,
        template: str,
        here: str,
        status: HTTPStatus = HTTPStatus.OK,
        **values: Any,
    ) -> web.Response:
        """Return a screen."""
        known = {
            "at": self.at,
            "here": here,
            "screens": SCREENS,
            "visitor": self.visitor,
            "reveal": self.reveal,
            "note": self._note(),
            "now": self.site.clock(),
        }
        html = await self.templates.render(template, known | values)
        return web.Response(status=status, text=html, content_type="text/html")

    async def problem(self, status: HTTPStatus, heading: str, problem: str) -> web.Response:
        """Return a screen that says what went wrong, and what to do."""
        return await self.show("problem.html", "", status, heading=heading, problem=problem)

    def go(self, path: str, query: Mapping[str, object] = _NOTHING) -> web.Response:
        """Send the browser to another of our pages, by GET."""
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": self.at(path, query)})

    def _note(self) -> Note | None:
        done = self.asked("done")
        count = self.number("n")
        if done not in _DONE:
            return None
        return Note(_DONE[done].format(n=0 if count is None else count), done in _BAD)


def whole(written: str) -> int | None:
    """Return a whole number that an id can be, else None."""
    few = len(written) <= len(str(MAX_NUMBER))
    if not (few and written.isascii() and written.isdigit()):
        return None
    value = int(written)
    return value if value <= MAX_NUMBER else None
