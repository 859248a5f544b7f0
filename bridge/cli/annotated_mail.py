"""Prints how a mail was parsed, with the values highlighted in its text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from bridge.cli.output import as_fields, as_list, heading
from bridge.cli.printable import printable
from bridge.operations.explain import Explained
from bridge.operations.marked_text import Span, marked_lines

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


def _print_marked(text: str, spans: Sequence[Span]) -> None:
    """Print each line with the fields found on it; on a terminal they are highlighted."""
    lines, more = marked_lines(text, spans, _MAX_LINES, _MAX_LINE)
    margin = max(len(", ".join(line.fields)) for line in lines)
    console = Console() if sys.stdout.isatty() else None
    for line in lines:
        name = ", ".join(line.fields).ljust(margin)
        shown = Text(f"{line.number:4} {name} | ", style="dim")
        for piece in line.pieces:
            shown.append(printable(piece.text), style=f"not dim {_MARK if piece.field else ''}")
        if line.left_out:
            shown.append(f"… {line.left_out} more characters", style="dim")
        if console is None:
            click.echo(shown.plain.rstrip())
        else:
            console.print(shown)
    if more:
        click.echo(f"… {more} more lines")
