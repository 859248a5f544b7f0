"""`--follow`: prints a list as it grows, until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.output import GrowingTable
from bridge.operations.documents import Document
from bridge.store import Store

with_follow = click.option(
    "-f", "--follow", is_flag=True,
    help="Oldest first, and go on with what comes, until Ctrl-C.",
)  # fmt: skip


def refuse_with_follow(follow: bool, **options: object) -> None:
    """Raise UsageError if an option was given that makes no sense with --follow."""
    if not follow:
        return
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--follow goes with no --{name}")


def follow_list(
    config: Path | None,
    documents: Callable[[Store], AsyncIterator[list[Document]]],
    columns: Sequence[str],
    *,
    as_json: bool,
    shown: Callable[[Document], Document] = lambda document: document,
    spare: Collection[str] = (),
) -> None:
    """Print the documents in a table whose heading comes once; JSON: one document a line.

    `shown` makes what the table shows of a document.
    """
    table = GrowingTable(columns, spare)

    async def follow(store: Store) -> None:
        async for some in documents(store):
            if as_json:
                for each in some:
                    click.echo(json.dumps(each, ensure_ascii=True))
            else:
                table.add([[each[column] for column in columns] for each in map(shown, some)])

    run(config, lambda store, _: follow(store))
