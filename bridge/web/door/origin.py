"""Is a request meant for us, and does it come from our own page? Hosts and origins."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from bridge import letters
from bridge.config.http import HttpSettings

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAME: Final = "same-origin"
# Whole: urlsplit takes `[::1].evil.example` for `::1`.
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]{0,5})?", re.ASCII)


class Origins:
    """Knows the names that we are called by.

    A name that somebody else points at us (DNS rebinding) makes his page the same origin as ours
    to a browser, with every header right but one: the Host is his.
    """

    def __init__(self, settings: HttpSettings) -> None:
        public = settings.public
        named = [public.hostname] if public is not None and public.hostname else []
        self._hosts = _LOCAL | {*settings.hosts, *named}
        self._public = f"{public.scheme}://{public.netloc}".lower() if public else None

    def is_for_us(self, request: web.Request) -> bool:
        """Whether its one Host is a name of ours, or the address that it was sent to.

        A request to a proxy names a host in its first line, too: that one counts, if there is one.
        """
        written = request.headers.getall("Host", ())
        named = {_host_of(each) for each in (*written, request.host)}
        host = named.pop() if len(written) == len(named) == 1 else None
        return host is not None and (host in self._hosts or host == _own_address(request))

    def is_foreign(self, request: web.Request, *, from_browser: bool) -> bool:
        """Whether a browser may have sent it for a page that is not ours.

        `from_browser`: it must prove that it is from our page. Else what has none of a browser's
        headers passes: a program, which sends no cookie by itself.
        """
        origin = _only(request, "Origin")
        site = _only(request, "Sec-Fetch-Site")
        if origin is not None and origin.lower() == self._public:
            return False  # behind a proxy that changes the Host
        if site is not None:  # a page cannot forge it
            return site != _SAME
        if origin is not None:
            return _authority(origin) != request.headers.get("Host", "").lower()
        return from_browser


def _only(request: web.Request, name: str) -> str | None:
    """Return a header; several of that name are like a wrong one."""
    written = request.headers.getall(name, ())
    return None if not written else ", ".join(written)


def _authority(origin: str) -> str | None:
    """Return an origin's host and port; None of `null`, and of what is no origin."""
    scheme, separator, authority = origin.lower().partition("://")
    return authority if separator and scheme in {"http", "https"} else None


def _host_of(written: str) -> str | None:
    """Return the host of a Host header, without its port; None if it is none."""
    found = _HOST.fullmatch(letters.lower(written))
    return (found[1] or found[2].removesuffix(".")) if found else None


def _own_address(request: web.Request) -> str | None:
    """Return the IP address that the connection was made to.

    A page whose host is an IP address is served from there: nobody can point that elsewhere.
    """
    sockname = request.transport and request.transport.get_extra_info("sockname")
    if not isinstance(sockname, tuple):
        return None
    address = ip_address(str(sockname[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
