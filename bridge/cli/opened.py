"""Opens the configured store for a command; a daemon may be running on it."""

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
    """Open the store and run one operation on it.

    Raises StoreError if the store is missing, foreign or unavailable, ConfigErrors with file and
    line.
    """
    file = require_config(config)

    async def with_store() -> T:
        command = click.get_current_context().command_path
        store = await Store.beside(file.settings.store, owner=command, clock=now)
        try:
            return await work(store, file)
        finally:
            await store.close()

    try:
        return asyncio.run(with_store())
    except ConfigError as error:
        raise file.locate(error) from None


@contextmanager
def progress_bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; yield the function that advances it."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar.update


@contextmanager
def total_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yield the function that is given done and total."""
    with click.progressbar(
        length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield show
