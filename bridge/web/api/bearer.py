"""Bearer tokens (RFC 6750): compared in constant time, and wrong ones are told to slow down."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from bridge import logs
from bridge.net.limits import Guesses, network_of
from bridge.net.listening import peer_address
from bridge.sources.throttled_log import ThrottledLog
from bridge.web.problems import problem

log = logs.logger("api")

# Compared with where there is no token, so that it takes as long.
_NO_TOKENS: Final = ("-" * 32,)
_BURST: Final = 10  # wrong tokens of one network
_SECONDS: Final = 6.0  # then one in so many


class Bearer:
    """Admits requests by their token. The one answer to all others says nothing but that."""

    def __init__(self) -> None:
        self._guesses = Guesses(_BURST, _SECONDS)
        self._throttled = ThrottledLog(log)

    def shown(self, request: web.Request, tokens: Sequence[str]) -> int | None:
        """Return which of these tokens a request has, counted from 0; None: none of them.

        No `tokens`: whatever was asked for is closed, or isn't there, and nobody learns which.
        """
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        written = given.strip().encode("utf-8", "surrogateescape")
        same = [hmac.compare_digest(written, each.encode()) for each in tokens or _NO_TOKENS]
        return same.index(True) if tokens and any(same) and kind.lower() == "bearer" else None

    def refusal(self, request: web.Request) -> web.Response:
        """Return the answer to a request that has no token which opens what it asks for."""
        peer = peer_address(request.transport and request.transport.get_extra_info("peername"))
        self._throttled.warning("api.refused", peer=peer)
        now = asyncio.get_running_loop().time()
        wait = self._guesses.wrong(network_of(peer), now)
        if wait:
            retry = {"Retry-After": str(math.ceil(wait))}
            return problem(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens: wait", retry)
        return problem(
            HTTPStatus.UNAUTHORIZED,
            "send Authorization: Bearer with the token that opens this",
            {"WWW-Authenticate": "Bearer"},
        )
