"""Leads through the change of an endpoint's signing secret, without a webhook that is refused.

Both secrets sign for a while; when the old one may go is asked of the receiver itself. Nothing is
kept between the steps: the config says which one it is.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from bridge.delivery.endpoint import Endpoint
from bridge.errors import NotPossible, SigningError
from bridge.operations.documents import Document
from bridge.operations.send_test import ping
from bridge.signing import Asymmetric

BEGIN: Final = "begin"  # the config has one secret
WAIT: Final = "wait"  # it has two, and the receiver does not take the new one yet
FINISH: Final = "finish"  # the receiver takes the new one
UNCLEAR: Final = "unclear"  # the receiver's answers prove nothing


def begin(endpoint: Endpoint) -> Document:
    """Make the new secret of an endpoint that has one; {"ok", "endpoint", "step", "secret"}.

    With "public_key" where receivers are given that. Raises NotPossible if the endpoint is not
    signed, or its scheme has no room for two signatures.
    """
    scheme = endpoint.scheme
    if not endpoint.keys:
        raise NotPossible(f"endpoint {endpoint.name} is not signed: it has no secret")
    secret = scheme.generate_secret()
    new = scheme.parse_secret(secret)
    try:
        scheme.headers((new, *endpoint.keys), "msg_0", 0, b"")
    except SigningError:
        raise NotPossible(
            f"endpoint {endpoint.name}: its scheme has room for one signature only, so the "
            "receiver must accept both secrets first; then replace `secret`"
        ) from None
    public = {"public_key": scheme.public_key(new)} if isinstance(scheme, Asymmetric) else {}
    return {"ok": True, "endpoint": endpoint.name, "step": BEGIN, "secret": secret, **public}


async def examine(
    endpoint: Endpoint, tls: ssl.SSLContext, token: str, clock: Callable[[], datetime]
) -> Document:
    """Ask the receiver which of an endpoint's two secrets it takes, by three pings.

    The third one is signed with neither: who takes that verifies nothing. Returns {"ok",
    "endpoint", "step", "new", "old", "neither"}, the last three as `ping` returns them; "ok" if the
    old secret may go. Raises NotPossible where `ping` does, and for more than two secrets.
    """
    if len(endpoint.keys) != 2:
        raise NotPossible(f"endpoint {endpoint.name} has more than two secrets: remove the oldest")
    stranger = endpoint.scheme.parse_secret(endpoint.scheme.generate_secret())
    asked = {"new": endpoint.keys[0], "old": endpoint.keys[1], "neither": stranger}
    found = {
        name: await ping(replace(endpoint, keys=(key,)), tls, f"{token}-{name}", clock)
        for name, key in asked.items()
    }
    step = _step(**{name: each["ok"] for name, each in found.items()})
    return {"ok": step == FINISH, "endpoint": endpoint.name, "step": step, **found}


def _step(*, new: bool, old: bool, neither: bool) -> str:
    if neither or not (new or old):
        return UNCLEAR
    return FINISH if new else WAIT
