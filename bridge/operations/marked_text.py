"""Splits a mail's text into lines in which the values that were found are marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Span = tuple[int, int, str]  # start, end, field


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line, and the field that it is a value of; None if of none."""

    text: str = field(repr=False)
    field: str | None


@dataclass(frozen=True, slots=True)
class MarkedLine:
    """A line with the fields that are on it; `left_out` characters at its end aren't in `pieces`.

    A span that ends at the beginning of a line is not on it, unless that is all of it.
    """

    number: int
    fields: tuple[str, ...]
    pieces: tuple[Piece, ...]
    left_out: int


def marked_lines(
    text: str, spans: Sequence[Span], most: int, longest: int
) -> tuple[list[MarkedLine], int]:
    """Return the first `most` lines, each up to `longest` characters, and how many more there are.

    `spans` are (start, end, field) in `text`.
    """
    lines = text.removesuffix("\n").split("\n")
    marked = []
    at = 0
    for number, line in enumerate(lines[:most], 1):
        on_it = [
            name
            for start, end, name in spans
            if start <= at + len(line) and (end > at or start == at)
        ]
        pieces = _pieces(line[:longest], at, spans)
        marked.append(MarkedLine(number, tuple(on_it), pieces, max(0, len(line) - longest)))
        at += len(line) + 1
    return marked, max(0, len(lines) - most)


def _pieces(line: str, at: int, spans: Sequence[Span]) -> tuple[Piece, ...]:
    """Split a line that begins at offset `at`."""
    cuts = {0, len(line)}
    for start, end, _ in spans:
        cuts |= {min(max(start - at, 0), len(line)), min(max(end - at, 0), len(line))}
    return tuple(
        Piece(
            line[a:b],
            next((name for start, end, name in spans if start <= at + a and at + b <= end), None),
        )
        for a, b in pairwise(sorted(cuts))
    )
