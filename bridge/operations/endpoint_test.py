"""Shows a receiver right and wrong requests, and says what it should have answered.

All are pings, so a receiver that follows the rules does nothing with any of them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from bridge.delivery.endpoint import Endpoint
from bridge.delivery.paced import Pace
from bridge.operations.documents import Document
from bridge.operations.send_test import ping
from bridge.signing import Scheme

_OLD: Final = timedelta(hours=1)
_PROMPT_SHARE: Final = 0.5  # of the endpoint's timeout
_SLOW: Final = Pace(20, 0.1)
_CUT_OFF: Final = Pace(20, 0.0, missing=1)
_CUT_OFF_SECONDS: Final = 2.0  # until the connection is closed

_NO_ANSWER: Final = (
    "Nothing answered: does the endpoint's URL lead to the receiver, is that running, and does a "
    "firewall let us through?"
)
_ADVICE: Final = {
    "valid": (
        "A valid request was not taken. If others are, look at its secret; answer 2xx also to a "
        "type that you don't know, and never with a redirect."
    ),
    "prompt": (
        "The answer took more than half of the timeout: store first, answer, and do slow work "
        "after that."
    ),
    "repeated": (
        "The same webhook-id was not taken again: it comes twice when an answer gets lost, and is "
        "sent until you answer 2xx."
    ),
    "slow": (
        "A valid request was not taken that took two seconds to arrive, head and body in small "
        "pieces, as over a bad line: read on until content-length is reached, for some seconds."
    ),
    "cut off": (
        "A request was taken of which only the first part had come: read as many bytes as "
        "content-length says before you do anything, and answer nothing if they don't come."
    ),
    "wrong secret": "A request signed with another secret was taken: anybody can forge messages.",
    "tampered": (
        "A body that was changed after it was signed was taken: verify the raw bytes, before "
        "anything parses them."
    ),
    "stale": (
        "A request signed an hour ago was taken: whoever has recorded one can send it again; "
        "refuse timestamps that are more than 5 minutes off."
    ),
}


async def examine(
    endpoint: Endpoint, tls: ssl.SSLContext, token: str, clock: Callable[[], datetime]
) -> Document:
    """Send the requests; return {"ok", "endpoint", "checks"}.

    Each check is {"name", "ok", "taken", "expected", "status", "error", "detail", "seconds",
    "advice"}; "advice" is null where "ok". When the valid request is not taken, no other is sent:
    their answers would show nothing. Raises NotPossible as `ping` does.
    """
    checks: list[Document] = []
    for request in _requests(endpoint, clock):
        name = f"{token}-{request.token}"
        answer = await ping(request.endpoint, tls, name, request.clock, request.pace)
        checks.append(_check(request.name, answer, request.expected, answer["ok"]))
        if request.name == "valid":
            if not answer["ok"]:
                break
            prompt = answer["seconds"] <= endpoint.timeout * _PROMPT_SHARE
            checks.append(_check("prompt", answer, True, prompt))
    return {
        "ok": all(each["ok"] for each in checks),
        "endpoint": endpoint.name,
        "checks": checks,
    }


@dataclass(frozen=True, slots=True)
class _Request:
    """A ping, and whether it is to be taken."""

    name: str
    endpoint: Endpoint
    clock: Callable[[], datetime]
    expected: bool
    token: str
    pace: Pace | None = None


def _requests(endpoint: Endpoint, clock: Callable[[], datetime]) -> Iterator[_Request]:
    yield _Request("valid", endpoint, clock, True, "valid")
    yield _Request("repeated", endpoint, clock, True, "valid")
    yield _Request("slow", endpoint, clock, True, "slow", _SLOW)
    soon = replace(endpoint, timeout=min(endpoint.timeout, _CUT_OFF_SECONDS))
    yield _Request("cut off", soon, clock, False, "cut", _CUT_OFF)
    if not endpoint.keys:
        return
    scheme = endpoint.scheme
    stranger = scheme.parse_secret(scheme.generate_secret())
    yield _Request("wrong secret", replace(endpoint, keys=(stranger,)), clock, False, "secret")
    other = replace(endpoint, scheme=_OtherBody(scheme))
    yield _Request("tampered", other, clock, False, "tampered")
    if _covers_time(endpoint):
        yield _Request("stale", endpoint, lambda: clock() - _OLD, False, "stale")


def _check(name: str, answer: Document, expected: bool, good: bool) -> Document:
    ok = good is expected
    shown = {key: answer[key] for key in ("status", "error", "detail", "seconds")}
    unanswered = expected and answer["status"] is None and name == "valid"
    advice = None if ok else _NO_ANSWER if unanswered else _ADVICE[name]
    return (
        {"name": name, "ok": ok, "taken": answer["ok"], "expected": expected}
        | shown
        | {"advice": advice}
    )


def _covers_time(endpoint: Endpoint) -> bool:
    """Whether the signature depends on the time: else nobody can refuse an old one."""
    now, later = (
        endpoint.scheme.headers(endpoint.keys, "ping_0", timestamp, b"{}") for timestamp in (0, 1)
    )
    return now != later


class _OtherBody:
    """A scheme whose signature is that of another body."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self.parse_secret = scheme.parse_secret
        self.generate_secret = scheme.generate_secret
        self.self_test = scheme.self_test

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Sign the body without its last byte."""
        return self._scheme.headers(keys, webhook_id, timestamp, body[:-1])
