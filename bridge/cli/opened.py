"""The configured store, opened for a command beside a daemon that may be running on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from bridge.cli.options import now, require_config
from bridge.config.load import ConfigFile
from bridge.errors import ConfigError
from bridge.store import Store

T = TypeVar("T")


def run(config: Path | None, work: Callable[[Store, ConfigFile], Awaitable[T]]) -> T:
    """Open the store and do one operation with it.

    Raises a StoreError with what to do if the store is not there, not ours, or not available; an
    error of the config names file and line.
    """
    file = require_config(config)

    async def do() -> T:
        command = click.get_current_context().command_path
        store = await Store.beside(file.settings.store, owner=command, clock=now)
        try:
            return await work(store, file)
        finally:
            await store.close()

    try:
        return asyncio.run(do())
    except ConfigError as error:
        raise file.locate(error) from None


@contextmanager
def progress_bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; give what moves it on."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar.update
