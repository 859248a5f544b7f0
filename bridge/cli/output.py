"""Prints tables and fields, fitted to the terminal, aligned in full into a pipe, or as JSON.

External text goes through `bridge.cli.printable`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import click
from rich.cells import cell_len

from bridge.cli.printable import printable

_GAP: Final = "  "
_INDENT: Final = "    "
_MIN_TEXT: Final = 20  # columns; a text column that would be narrower gets lines of its own
_MESSAGE_ID: Final = re.compile(r"(msg_[0-9A-HJKMNP-TV-Z]{14})[0-9A-HJKMNP-TV-Z]{12}")


def as_document(value: object) -> None:
    """Print one JSON document, in ASCII so that it survives every pipe and terminal."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def as_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    nothing: str,
    spare: Collection[str] = (),
) -> None:
    """Print rows below their column names; prints `nothing` on stderr if there are none.

    The last column is the text: on a terminal only that one is ever wrapped. `spare` columns are
    left out where they have no room.
    """
    cells = [[printable(value) for value in row] for row in rows]
    if not cells:
        click.echo(nothing, err=True)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(layout(columns, cells, width, spare)))


def layout(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    spare: Collection[str] = (),
) -> list[str]:
    """Lay out a table in lines of at most `width` characters; None: as long as need be.

    If it is too wide, message ids are cut to a beginning that commands accept, then `spare` columns
    are left out, then the last column is wrapped, or moved below its row; at last each row becomes
    a block of fields.
    """
    head, lines = _laid_out(columns, rows, width, spare)
    return [*head, *lines]


class GrowingTable:
    """A table that is printed while its rows come: its columns' names once, then each row.

    Columns stay below each other as far as their cells are no longer than those before.
    """

    def __init__(self, columns: Sequence[str], spare: Collection[str] = ()) -> None:
        self._columns = columns
        self._spare = spare
        self._widths = [cell_len(column) for column in columns]
        self._begun = False

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Print more rows."""
        cells = [[printable(value) for value in row] for row in rows]
        self._widths = list(map(max, self._widths, _widths(self._columns, cells)))
        padded = [[*map(_padded, row[:-1], self._widths), row[-1]] for row in cells]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        head, lines = _laid_out(self._columns, padded, width, self._spare)
        if not head and self._begun:
            lines.insert(0, "")  # between two blocks
        click.echo("\n".join(lines if self._begun else [*head, *lines]))
        self._begun = True


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _laid_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, spare: Collection[str]
) -> tuple[list[str], list[str]]:
    """Lay out the names of the columns, none above blocks, and the rows."""
    if width is None or _width(columns, rows) <= width:
        return _parted(_aligned(columns, rows))
    rows = [[_MESSAGE_ID.sub(r"\1", cell) for cell in row] for row in rows]
    if _width(columns, rows) <= width:
        return _parted(_aligned(columns, rows))
    kept = [index for index, column in enumerate(columns) if column not in spare]
    if len(kept) < len(columns):
        cells = [[row[index] for index in kept] for row in rows]
        return _laid_out([columns[index] for index in kept], cells, width, ())
    fixed = _width(columns[:-1], [row[:-1] for row in rows])
    if len(columns) == 1 or fixed > width:
        return [], _blocks(columns, rows, width)
    room = width - fixed - len(_GAP)
    if room >= max(_MIN_TEXT, cell_len(columns[-1])):
        return _parted(list(_wrapped(columns, rows, fixed, room)))
    return _parted(list(_below(columns, rows, width)))


def _parted(lines: list[str]) -> tuple[list[str], list[str]]:
    return lines[:1], lines[1:]


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(_widths(columns, rows)) + len(_GAP) * (len(columns) - 1)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(columns, rows)
    return [_GAP.join(map(_padded, row, widths)).rstrip() for row in (columns, *rows)]


def _wrapped(
    columns: Sequence[str], rows: Sequence[Sequence[str]], fixed: int, room: int
) -> Iterator[str]:
    """Wrap the last column in its place."""
    lines = _aligned(columns[:-1], [row[:-1] for row in rows])
    for line, text in zip(lines, (columns[-1], *(row[-1] for row in rows)), strict=True):
        for piece in textwrap.wrap(text, room) or [""]:
            yield f"{line}{' ' * (fixed - cell_len(line))}{_GAP}{piece}".rstrip()
            line = ""


def _below(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Print the last column below its row."""
    head, *lines = _aligned(columns[:-1], [row[:-1] for row in rows])
    yield head
    for line, row in zip(lines, rows, strict=True):
        yield line
        yield from textwrap.wrap(row[-1], width, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Print each row as fields, with a blank line between rows."""
    lines: list[str] = []
    for row in rows:
        lines += _field_lines(list(zip(columns, row, strict=True)), width)
        lines.append("")
    return lines[:-1]


def as_list(
    columns: Sequence[str],
    documents: Sequence[Mapping[str, object]],
    nothing: str,
    spare: Collection[str] = (),
) -> None:
    """Print the given keys of documents as a table; `spare` as in `as_table`."""
    rows = [[each[column] for column in columns] for each in documents]
    as_table(columns, rows, nothing, spare)


def as_page(
    columns: Sequence[str],
    documents: Sequence[Mapping[str, object]],
    nothing: str,
    *,
    limit: int,
    key: str = "id",
    spare: Collection[str] = (),
) -> None:
    """Print the first `limit` documents as a table, and how to go on if there are more."""
    as_list(columns, documents[:limit], nothing, spare)
    if len(documents) > limit:
        last = documents[limit - 1][key]
        click.echo(f"there are more: add --before {last}, or a higher --limit", err=True)


def counted(count: int, one: str, many: str) -> str:
    """Return `1 mail`, or `2 mails`."""
    return f"{count} {one if count == 1 else many}"


def as_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print one field per line, omitting those without a value; long ones are wrapped."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in _field_lines([(name, printable(value)) for name, value in pairs], width):
        click.echo(line)


def _field_lines(pairs: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    shown = [(name, value) for name, value in pairs if value]
    names = max((cell_len(name) for name, _ in shown), default=0)
    lines = []
    for name, value in shown:
        start = f"{name}{' ' * (names - cell_len(name))}{_GAP}"
        # Wrapped at blanks only: an id or a URL stays one word, to be copied.
        room = 0 if width is None else width - len(start)
        pieces = (
            textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
            if room >= _MIN_TEXT
            else [value]
        )
        lines += [start + pieces[0], *(" " * len(start) + each for each in pieces[1:])]
    return lines


def heading(text: str) -> None:
    """Print a heading between blocks."""
    click.echo(f"\n{text}")
