"""Carries an operator's act out and logs it, and lists what was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from bridge import logs
from bridge.errors import BridgeError, StoreError
from bridge.operations.documents import Document, when
from bridge.store import Store, acts
from bridge.store.acts import Act, LoggedAct

log = logs.logger("operations")

T = TypeVar("T")


async def logged(
    store: Store, clock: Callable[[], datetime], act: Act, do: Callable[[], Awaitable[T]]
) -> T:
    """Log an act, do it, log how it went; returns and raises what `do` does.

    Nothing is done that could not be logged: StoreUnavailable. One that is cut off stays in the
    log without a result, and so does one that was done when its result could not be logged: whoever
    were told that it failed would do it again.
    """
    now = clock()
    act_id = await store.change(partial(acts.begin_act, act=act, now=now))

    async def ended(result: str) -> None:
        await store.change(partial(acts.end_act, act_id=act_id, result=result))

    try:
        done = await do()
    except BridgeError as error:
        await ended(f"not done: {error}")
        raise
    try:
        await ended(acts.DONE)
    except StoreError as error:
        log.warning("act.result_not_logged", act=act_id, detail=str(error))
    return done


async def list_acts(store: Store, *, limit: int, before: int | None = None) -> list[Document]:
    """List what was done by API, page and command, newest first."""
    found = await store.read(partial(acts.list_acts, limit=limit, before=before))
    return [_document(each) for each in found]


def _document(logged_act: LoggedAct) -> Document:
    act = logged_act.act
    return {
        "id": logged_act.id,
        "at": when(logged_act.at),
        "who": act.who,
        "way": act.way,
        "what": act.what,
        "target": act.target,
        "why": act.why,
        "result": logged_act.result,
    }
