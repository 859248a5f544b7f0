"""Prints how a mail was parsed, with the values highlighted in its text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from bridge.cli.output import as_fields, as_list, heading
from bridge.cli.printable import printable
from bridge.operations.explain import Explained

_MAX_LINES: Final = 200  # of a mail that are shown
_MAX_LINE: Final = 2000  # characters of a line that are shown
_MARK: Final = "black on bright_yellow"


def print_explanation(explained: Explained) -> None:
    """Print an explanation, and the mail's text with the values highlighted."""
    document = explained.document
    charset = document["charset"]
    if charset is not None:
        declared = charset["declared"]
        origin = f"declared as {declared}" if declared else "none is declared"
        charset = f"{charset['used']} ({origin})"
    if charset is not None:
        heading("how it was parsed")
    as_fields([
        ("provider", document["provider"]),
        ("matched", document["matched"]),
        ("missing", document["missing"]),
        ("charset", charset),
        ("read from", document["mail"] and ("HTML" if document["from_html"] else "plain text")),
        ("warnings", document["warnings"]),
    ])  # fmt: skip
    if document["found"]:
        heading("found")
        as_list(("field", "line", "where", "value"), document["found"], "nothing")
    if explained.text:
        heading("the mail's text")
        _print_marked(explained.text, explained.spans)


def _print_marked(text: str, spans: Sequence[tuple[int, int, str]]) -> None:
    """Print each line with the fields found on it; on a terminal they are highlighted."""
    lines = text.removesuffix("\n").split("\n")
    names = []
    at = 0
    for line in lines:
        # A span that ends at the beginning of a line is not on it, unless that is all of it.
        on_it = [
            field
            for start, end, field in spans
            if start <= at + len(line) and (end > at or start == at)
        ]
        names.append(", ".join(on_it))
        at += len(line) + 1
    margin = max(map(len, names[:_MAX_LINES]))
    console = Console() if sys.stdout.isatty() else None
    at = 0
    for number, (line, name) in enumerate(zip(lines, names, strict=True), 1):
        if number > _MAX_LINES:
            click.echo(f"… {len(lines) - _MAX_LINES} more lines")
            break
        shown = Text(f"{number:4} {name.ljust(margin)} | ", style="dim")
        for piece, marked in _pieces(line[:_MAX_LINE], at, spans):
            shown.append(printable(piece), style=f"not dim {_MARK if marked else ''}")
        if len(line) > _MAX_LINE:
            shown.append(f"… {len(line) - _MAX_LINE} more characters", style="dim")
        if console is None:
            click.echo(shown.plain.rstrip())
        else:
            console.print(shown)
        at += len(line) + 1


def _pieces(line: str, at: int, spans: Sequence[tuple[int, int, str]]) -> list[tuple[str, bool]]:
    """Split a line that begins at offset `at` into (piece, is a value)."""
    cuts = {0, len(line)}
    for start, end, _ in spans:
        cuts |= {min(max(start - at, 0), len(line)), min(max(end - at, 0), len(line))}
    edges = sorted(cuts)
    return [
        (line[a:b], any(start <= at + a and at + b <= end for start, end, _ in spans))
        for a, b in pairwise(edges)
    ]
