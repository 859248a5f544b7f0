"""Prints tables and fields: with rich on a terminal, aligned plain text into a pipe, or JSON.

External text goes through `bridge.cli.printable`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.cli.printable import printable


def as_document(value: object) -> None:
    """Print one JSON document, in ASCII so that it survives every pipe and terminal."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def as_table(columns: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> None:
    """Print rows below their column names; prints `nothing` on stderr if there are none."""
    cells = [[printable(value) for value in row] for row in rows]
    if not cells:
        click.echo(nothing, err=True)
        return
    if sys.stdout.isatty():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def as_list(
    columns: Sequence[str], documents: Sequence[Mapping[str, object]], nothing: str
) -> None:
    """Print the given keys of documents as a table."""
    as_table(columns, [[each[column] for column in columns] for each in documents], nothing)


def as_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print one field per line, omitting those without a value."""
    shown = [(name, printable(value)) for name, value in pairs]
    shown = [(name, value) for name, value in shown if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def heading(text: str) -> None:
    """Print a heading between blocks."""
    click.echo(f"\n{text}")
