"""Makes external text safe to print.

It is never printed verbatim: control characters are escaped, so that an SMS, a file's name or a
server's reply can't move the cursor or hide a line.
"""

from __future__ import annotations

from collections.abc import Mapping

import click


def printable(value: object) -> str:
    """Format a value for a terminal: None is empty, control characters are escaped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {printable(each)}" for name, each in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(printable(each) for each in value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def as_lines(text: str, *, err: bool = False) -> None:
    """Print sentences, one per line, that quote external text."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=err)
