"""What others' trouble and a backlog cost a fresh message, on a clock that is never late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Final

import pytest

from bridge.config.settings import DeliverySettings
from bridge.delivery import Dispatcher, Endpoint
from bridge.model import DeliveryState
from tests.delivery.rows import Rows
from tests.delivery.servers import (
    HEAD_200,
    Answer,
    Request,
    closed_port,
    hangs,
    receiver,
    repeats,
    says,
    sends,
)
from tests.delivery.test_dispatcher import MESSAGE, Make, Opening, now
from tests.patience import PATIENCE

pytestmark = pytest.mark.unhurried

HEALTHY: Final = 15
CALL: Final = 0.02  # seconds that a healthy receiver takes
ROUNDS: Final = 80
PAUSE: Final = 0.05


async def _takes_a_while(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(CALL)
    await says(200)(request, writer)


def _flaps() -> Answer:
    numbers = count()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(200 if next(numbers) // 15 % 2 else 503)(request, writer)

    return answer


TROUBLE: Final[dict[str, Answer | None]] = {
    "hanging": hangs,
    "dripping": sends(HEAD_200 + b"Content-Length: 4000\r\n\r\n", then=repeats(b"x", 0.05)),
    "limited": says(429, "Retry-After: 1"),
    "dead": None,
    "flapping": _flaps(),
}


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def _times(endpoint_at: Make, opening: Opening, *, trouble: bool) -> list[float]:
    """Send the same messages to twenty endpoints; tell how long each took to a healthy one."""
    rows = Rows(now)
    began: dict[str, float] = {}
    took: list[float] = []

    async def note(request: Request, writer: asyncio.StreamWriter) -> None:
        took.append(asyncio.get_running_loop().time() - began[request.headers["webhook-id"]])
        await _takes_a_while(request, writer)

    async with AsyncExitStack() as stack:
        endpoints: list[Endpoint] = []
        for number in range(HEALTHY):
            server = await stack.enter_async_context(receiver(note))
            endpoints.append(endpoint_at(server.url, name=f"healthy-{number}"))
        for name, answer in TROUBLE.items():
            url = f"http://127.0.0.1:{closed_port()}/"
            if answer is not None or not trouble:
                shown = (answer or hangs) if trouble else _takes_a_while
                url = (await stack.enter_async_context(receiver(shown))).url
            endpoints.append(endpoint_at(url, name=name, timeout=2.0))
        dispatcher = Dispatcher(
            endpoints, DeliverySettings(), rows, opening, clock=now, rng=lambda: 0.0
        )
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(2)
        for _ in range(ROUNDS):
            for planned in dispatcher.plan(MESSAGE):
                claim = rows.add(planned.endpoint, leased=planned.claimed, lane=planned.lane)
                began[claim.event.id] = asyncio.get_running_loop().time()
                if planned.claimed:
                    dispatcher.start([claim])
                else:
                    dispatcher.release([planned])
            await asyncio.sleep(PAUSE)
        await dispatcher.drain(PATIENCE)
        await running
    for number in range(HEALTHY):
        assert rows.states(f"healthy-{number}") == [DeliveryState.DELIVERED] * ROUNDS
    return took


async def test_twenty_endpoints_of_which_five_are_in_trouble(
    endpoint_at: Make, opening: Opening
) -> None:
    """One hangs, one drips, one is at 429, one is dead, one flaps: the others don't notice."""
    quiet = await _times(endpoint_at, opening, trouble=False)
    troubled = await _times(endpoint_at, opening, trouble=True)
    assert len(quiet) == len(troubled) == HEALTHY * ROUNDS
    assert _p99(troubled) <= 1.2 * _p99(quiet)


async def _fresh(
    endpoint_at: Make, opening: Opening, backlog: int, watch: Callable[[Rows], Awaitable[None]]
) -> tuple[list[float], list[str]]:
    """Send 50 fresh messages a second for a while; tell how long each took, and what arrived."""
    rows = Rows(now)
    for _ in range(backlog):
        rows.add()
    began: dict[str, float] = {}
    took: list[float] = []
    arrived: list[str] = []

    async def note(request: Request, writer: asyncio.StreamWriter) -> None:
        name = request.headers["webhook-id"]
        arrived.append(name)
        if name in began:
            took.append(asyncio.get_running_loop().time() - began[name] + CALL)
        await _takes_a_while(request, writer)

    async with receiver(note) as server:
        dispatcher = Dispatcher(
            [endpoint_at(server.url)], DeliverySettings(), rows, opening, clock=now, rng=lambda: 0.0
        )
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(1)
        watching = asyncio.create_task(watch(rows))
        while not watching.done():
            (planned,) = dispatcher.plan(MESSAGE)
            claim = rows.add(leased=planned.claimed, lane=planned.lane)
            began[claim.event.id] = asyncio.get_running_loop().time()
            if planned.claimed:
                dispatcher.start([claim])
            else:
                dispatcher.release([planned])
            await asyncio.sleep(0.02)
        await dispatcher.drain(PATIENCE)
        await running
    return took, arrived


async def test_fresh_messages_while_a_backlog_drains(endpoint_at: Make, opening: Opening) -> None:
    """Their p99 is at most twice that without one, and what waited goes out fast and in order."""
    many = 800

    async def a_while(_: Rows) -> None:
        await asyncio.sleep(5)

    async def until_drained(rows: Rows) -> None:
        async with asyncio.timeout(PATIENCE):
            while any(
                rows.rows[each].state is DeliveryState.PENDING for each in range(1, many + 1)
            ):
                await asyncio.sleep(0.05)
        seconds.append(asyncio.get_running_loop().time())

    seconds: list[float] = []
    alone, _ = await _fresh(endpoint_at, opening, 0, a_while)
    beside, arrived = await _fresh(endpoint_at, opening, many, until_drained)
    assert len(alone) > 200
    assert len(beside) > 50
    assert _p99(beside) <= 2 * _p99(alone)
    old = [int(each.removeprefix("msg_")) for each in arrived]
    old = [each for each in old if each <= many]
    assert len(old) == many
    assert all(abs(place - number) < 40 for place, number in enumerate(old, 1))
