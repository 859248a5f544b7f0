"""Runs the command that prints an access token: without a shell, and with a timeout."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from bridge.errors import TokenUnavailable

_MAX_OUTPUT: Final = 64 * 1024
_LAST: Final = 2.0  # seconds for a killed process to exit


async def run_command(command: Sequence[str], timeout: float, mailbox: str) -> str:  # noqa: ASYNC109 - the config's word
    """Return what the command prints; TokenUnavailable if it fails, hangs or prints too much.

    Its stdin is empty, and its stderr is discarded because it may contain secrets. It runs in its
    own process group, all of which is killed at the end.
    """
    called = f"imap.{mailbox}: token_command"
    # Our own pipe, so that we can close our end even if a child still holds the other.
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        why = (error.strerror or "it fails").lower()
        raise TokenUnavailable(f"{called} cannot be run: {why}") from None
    finally:
        os.close(writing)
    try:
        async with asyncio.timeout(timeout), _stream(reading) as stream:
            output = await _read(stream)
            code = await process.wait() if len(output) <= _MAX_OUTPUT else None
    except TimeoutError:
        raise TokenUnavailable(f"{called} did not end within {timeout:g} s") from None
    finally:
        # Including what it left running.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process of another user (sudo) we may not kill, and need not wait for.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await process.wait()
    if code is None:
        raise TokenUnavailable(f"{called} printed too much for a token")
    if code:
        raise TokenUnavailable(f"{called} failed with exit code {code}")
    return output.decode("ascii", "replace")


@asynccontextmanager
async def _stream(reading: int) -> AsyncIterator[asyncio.StreamReader]:
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        yield stream
    finally:
        transport.close()


async def _read(stream: asyncio.StreamReader) -> bytes:
    output = b""
    while len(output) <= _MAX_OUTPUT and (chunk := await stream.read(_MAX_OUTPUT)):
        output += chunk
    return output
