"""What the API does: each act is logged before it is done, and done once for an Idempotency-Key."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from bridge import logs
from bridge.errors import BridgeError, NotPossible, StoreError
from bridge.intake import Intake
from bridge.model import DeliveryState
from bridge.net.tls import shared_client_context
from bridge.operations import endpoints as endpoint_operations
from bridge.operations import quarantine, retries
from bridge.operations.acts import logged
from bridge.operations.deliveries import retry as retry_deliveries
from bridge.operations.documents import Document
from bridge.operations.replay import endpoint_named
from bridge.operations.send_test import ping
from bridge.store import answers
from bridge.store.acts import Act
from bridge.store.discard import QuarantineFilter
from bridge.store.pages import DeliveryFilter
from bridge.web.api.admin import Bridge, Call, Problem, answered

log = logs.logger("api")

_KEY: Final = re.compile(r"[!-~]{1,200}")
_PING_SECONDS: Final = 45.0  # below those of a connection


async def reparse(bridge: Bridge, call: Call) -> web.Response:
    """Read an arrival again."""
    return await _reparsed(bridge, call, bridge.intake)


async def release(bridge: Bridge, call: Call) -> web.Response:
    """Read an arrival again, believing it."""
    return await _reparsed(bridge, call, bridge.believing(bridge.settings, call.visitor.name))


async def discard(bridge: Bridge, call: Call) -> web.Response:
    """End an arrival in quarantine."""
    which = QuarantineFilter((call.number,))
    why = f"{call.body.why} ({call.visitor.name})"
    do = partial(quarantine.discard, bridge.store, which, why, bridge.clock)
    return await act(bridge, call, f"arrival {call.number}", do)


async def retry(bridge: Bridge, call: Call) -> web.Response:
    """Retry a delivery now."""
    do = partial(retry_deliveries, bridge.store, bridge.clock, ids=[call.number])
    return await act(bridge, call, f"delivery {call.number}", do)


async def preview_retry(bridge: Bridge, call: Call) -> web.Response:
    """Count what a filter would retry; it changes nothing, so it is no act."""
    return answered(await retries.preview(bridge.store, _wanted(call)))


async def order_retry(bridge: Bridge, call: Call) -> web.Response:
    """Retry deliveries by filter."""
    which = _wanted(call)
    do = partial(
        retries.start, bridge.store, bridge.clock, which, rate=call.body.rate,
        who=call.visitor.name, why=call.body.why,
    )  # fmt: skip
    return await act(bridge, call, retries.shown_filter(which), do)


async def cancel_retry(bridge: Bridge, call: Call) -> web.Response:
    """Cancel a retry by filter."""
    do = partial(retries.cancel, bridge.store, bridge.clock, call.number)
    return await act(bridge, call, f"retry {call.number}", do)


def _wanted(call: Call) -> DeliveryFilter:
    wanted = call.body.filter.model_dump()
    state = DeliveryState(wanted.pop("state")) if wanted["state"] else wanted.pop("state")
    return DeliveryFilter(**wanted, state=state)


async def hold(bridge: Bridge, call: Call) -> web.Response:
    """Hold an endpoint."""
    name = call.named["name"]
    do = partial(
        endpoint_operations.hold, bridge.store, name, call.body.why, bridge.names, bridge.clock,
        _seen(call),
    )  # fmt: skip
    return await act(bridge, call, f"endpoint {name}", do)


async def resume(bridge: Bridge, call: Call) -> web.Response:
    """Resume an endpoint."""
    name = call.named["name"]
    do = partial(
        endpoint_operations.resume, bridge.store, name, bridge.names, bridge.clock, _seen(call)
    )
    return await act(bridge, call, f"endpoint {name}", do)


async def test(bridge: Bridge, call: Call) -> web.Response:
    """Send a signed ping to an endpoint."""
    endpoint = endpoint_named(call.named["name"], bridge.endpoints)
    if endpoint.timeout > _PING_SECONDS:
        raise NotPossible(
            f"its timeout is over {_PING_SECONDS:g} seconds: use `smsbridge endpoints test`"
        )
    do = partial(ping, endpoint, shared_client_context(), secrets.token_hex(10), bridge.clock)
    return await act(bridge, call, f"endpoint {endpoint.name}", do)


async def act(
    bridge: Bridge, call: Call, target: str, do: Callable[[], Awaitable[Document]]
) -> web.Response:
    """Do it once, with who and why in the log, and answer with what it returned."""
    key = call.headers.get("Idempotency-Key")
    request = hashlib.sha256(
        b"\n".join([call.route.method.encode(), call.route.path.encode(), target.encode(),
                    call.raw_body])
    ).digest()  # fmt: skip
    if key is not None and (kept := await _taken(bridge, call, key, request)) is not None:
        return kept
    way = call.visitor.way
    what = " ".join(part for part in call.route.path.split("/") if part and part[0] != "{")
    entry = Act(call.visitor.name, way, what, target, call.body.why)
    try:
        document = await logged(bridge.store, bridge.clock, entry, do)
    except (BridgeError, Problem):
        if key is not None:  # it has done nothing: the next one may
            await bridge.store.change(
                partial(answers.forget_answer, token_id=call.visitor.token_id, key=key)
            )
        raise
    answer = answered(document)
    if key is not None:
        keep = partial(
            answers.keep_answer, token_id=call.visitor.token_id, key=key, status=answer.status,
            body=_bytes_of(answer),
        )  # fmt: skip
        try:
            await bridge.store.change(keep)
        except StoreError as error:  # it is done; the same request again is told to look
            log.warning("api.answer_not_kept", detail=str(error))
    return answer


async def _taken(bridge: Bridge, call: Call, key: str, request: bytes) -> web.Response | None:
    """Take the key for this request; return the answer if it is taken."""
    if not _KEY.fullmatch(key):
        raise Problem(
            HTTPStatus.BAD_REQUEST, "an Idempotency-Key has 1 to 200 visible ASCII characters"
        )
    begin = partial(
        answers.begin_answer, token_id=call.visitor.token_id, key=key, request=request,
        now=bridge.clock(),
    )  # fmt: skip
    kept = await bridge.store.change(begin)
    if kept is None:
        return None
    if kept.request != request:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key was sent with another request"
        )
    if kept.status is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "the first request with this Idempotency-Key is under way, or was cut off: "
            "`/api/v1/log` says what became of it",
        )
    return web.Response(
        status=kept.status, body=kept.body, content_type="application/json",
        headers={"Idempotency-Replayed": "true"},
    )  # fmt: skip


def _seen(call: Call) -> list[str] | None:
    """Return the versions of what somebody looked at, by If-Match; None if any will do."""
    wanted = call.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return None
    return [each.strip().strip('"') for each in wanted.split(",")]


async def _reparsed(bridge: Bridge, call: Call, intake: Intake) -> web.Response:
    async def do() -> Document:
        (done,) = await quarantine.reparse(bridge.store, intake, [call.number], lambda _: None)
        return done

    return await act(bridge, call, f"arrival {call.number}", do)


def _bytes_of(answer: web.Response) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body
