"""Many tasks under one time limit: each is bounded as by a timer of its own."""

from __future__ import annotations

import asyncio

import pytest

from bridge.net.deadline import Deadline

pytestmark = pytest.mark.unhurried


async def lasting(deadline: Deadline, seconds: float) -> float:
    """Wait within the deadline; return how long it took, negative if it was cut off."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        with deadline.within():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return began - loop.time()
    return loop.time() - began


async def test_each_has_the_whole_time_and_no_more() -> None:
    """Those that begin later end later; who is done in time is not cut off, nor are the others."""
    deadline = Deadline(60)

    async def later(after: float, seconds: float) -> float:
        await asyncio.sleep(after)
        return await lasting(deadline, seconds)

    took = await asyncio.gather(
        lasting(deadline, 59), lasting(deadline, 1e6), later(30, 59), later(30, 1e6), later(70, 1e6)
    )
    assert [round(each) for each in took] == [59, -60, 59, -60, -60]


async def test_it_begins_anew_after_a_rest() -> None:
    """When nobody was within it for a while, the next one is bounded all the same."""
    deadline = Deadline(60)
    assert round(await lasting(deadline, 1)) == 1
    await asyncio.sleep(500)
    assert round(await lasting(deadline, 1e6)) == -60


async def test_what_is_done_there_raises_its_own() -> None:
    """An error within it is itself, and nothing cuts off what comes afterwards."""
    deadline = Deadline(60)
    with pytest.raises(ValueError, match="own"), deadline.within():
        raise ValueError("own")
    await asyncio.sleep(500)


@pytest.mark.parametrize("when", [1, 60])
async def test_who_is_cancelled_is_cancelled(when: float) -> None:
    """By somebody else, before or together with the deadline: that is no timeout."""
    deadline = Deadline(60)
    task = asyncio.create_task(lasting(deadline, 1e6))
    await asyncio.sleep(0)
    if when == 60:
        asyncio.get_running_loop().call_at(deadline._timer.when(), task.cancel)  # type: ignore[union-attr]
    else:
        asyncio.get_running_loop().call_later(when, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.sleep(500)


async def test_one_within_another() -> None:
    """The one that ends first ends what is within it; the outer one goes on."""
    outer, inner = Deadline(60), Deadline(5)
    with outer.within():
        assert round(await lasting(inner, 1e6)) == -5
        assert round(await lasting(inner, 1)) == 1
    assert round(await lasting(outer, 1)) == 1
