"""The loop of tests that are about time: a busy machine makes nothing late, and nothing is slow."""

from __future__ import annotations

import asyncio
import time

import pytest

pytestmark = pytest.mark.unhurried


async def test_an_hour_takes_no_time() -> None:
    """Where nothing else can happen, the clock moves on to the next timer."""
    loop = asyncio.get_running_loop()
    began, spent = loop.time(), time.process_time()
    await asyncio.sleep(3600)
    assert 3600 <= loop.time() - began < 3601
    assert time.process_time() - spent < 1


async def test_a_stall_makes_nothing_late() -> None:
    """A process that was not given the processor for a while misses no deadline."""
    async with asyncio.timeout(0.1):
        time.sleep(0.3)
        await asyncio.sleep(0.05)


async def test_what_talks_is_waited_for() -> None:
    """No timer fires while bytes are on their way."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        time.sleep(0.2)
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, asyncio.timeout(0.1):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"here\n")
        assert await reader.readline() == b"here\n"
        writer.close()


async def test_a_thread_is_waited_for() -> None:
    """Time stands still while a thread of the executor works."""
    async with asyncio.timeout(0.1):
        await asyncio.to_thread(time.sleep, 0.3)


async def test_who_waits_in_vain_is_late() -> None:
    """A deadline is missed by whoever waits for what does not come."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()


async def test_endless_work_takes_time() -> None:
    """A turn of the loop takes some of its time, so that a deadline ends who never rests."""

    async def never_rest() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(never_rest(), 0.1)
