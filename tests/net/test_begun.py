"""A coroutine that is begun without a task, and goes on in one if it has to wait."""

from __future__ import annotations

import asyncio

import pytest

from bridge.net.begun import begin


async def test_what_waits_for_nothing_is_done_at_once() -> None:
    """It has ended when `begin` returns, and what it raises is raised there."""
    done = []

    async def work() -> None:
        done.append(1)

    async def wrong() -> None:
        raise ValueError("wrong")

    assert begin(work()) is None
    assert done == [1]
    with pytest.raises(ValueError, match="wrong"):
        begin(wrong())


async def test_what_waits_goes_on_where_it_was() -> None:
    """Whatever it waits for, and however often; each step comes once and in order."""
    opened = asyncio.get_running_loop().create_future()
    steps: list[object] = []

    async def work() -> None:
        steps.append("begun")
        steps.append(await opened)
        await asyncio.sleep(0)
        steps.append("slept")
        await asyncio.sleep(0.001)
        steps.append("ended")

    begun = begin(work())
    assert steps == ["begun"]
    assert begun is not None
    opened.set_result("opened")
    await begun
    assert steps == ["begun", "opened", "slept", "ended"]


async def test_what_goes_wrong_later_is_the_waiters() -> None:
    """An error after the wait is raised where it is awaited, and so is that of what it awaits."""
    failing = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await failing

    begun = begin(work())
    assert begun is not None
    failing.set_exception(ValueError("later"))
    with pytest.raises(ValueError, match="later"):
        await begun


async def test_it_is_cancelled_with_its_task() -> None:
    """A cancelled task cancels what the coroutine waits for, and the coroutine may clean up."""
    waited_for = asyncio.get_running_loop().create_future()
    heard = []

    async def work() -> None:
        try:
            await waited_for
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    begun = begin(work())
    assert begun is not None

    async def going_on() -> None:
        await begun

    task = asyncio.create_task(going_on())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert waited_for.cancelled()
    assert heard == ["cancelled"]
