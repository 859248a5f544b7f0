"""Finds the line of a key in a TOML text, for error messages.

TOML's parser in the standard library keeps no positions. This reads the ordinary layouts
(headers, `key = value`, dotted keys, values over several lines) of a text that is already known
to be valid; a key inside an inline table or list has the line of the value that holds it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

Path = tuple[str | int, ...]

_WORD: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED: Final = rf"{_WORD}(?:\s*\.\s*{_WORD})*"
_HEADER: Final = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY: Final = re.compile(rf"\s*({_DOTTED})\s*=(.*)", re.DOTALL)
_PART: Final = re.compile(_WORD)
_MAX_VALUE_LINES: Final = 500  # of one value; each line re-parses the value so far


def key_lines(text: str) -> Mapping[Path, int]:
    """Map each key's path (list items by index) to its line, from 1."""
    found: dict[Path, int] = {}
    items: dict[Path, int] = {}  # list of tables → index of the latest item
    table: Path = ()
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if header := _HEADER.match(line):
            table = _enter(_parts(header[2]), header[1] == "[[", items)
            found.setdefault(table, number + 1)
            if table and isinstance(table[-1], int):
                found.setdefault(table[:-1], number + 1)
        elif key := _KEY.match(line):
            for end in range(1, len(parts := _parts(key[1])) + 1):
                found.setdefault((*table, *parts[:end]), number + 1)
            number = _last_line(lines, number, key[2])
        number += 1
    return found


def line_of(path: Sequence[str | int], lines: Mapping[Path, int]) -> int | None:
    """Return the line of a key, or of its nearest parent, or None."""
    for end in range(len(path), 0, -1):
        if (line := lines.get(tuple(path[:end]))) is not None:
            return line
    return None


def _parts(dotted: str) -> Path:
    return tuple(
        tomllib.loads(f"x = {part}")["x"] if part[0] in "\"'" else part
        for part in _PART.findall(dotted)
    )


def _enter(parts: Path, is_item: bool, items: dict[Path, int]) -> Path:
    """Return the path of a header; `[providers.trust]` belongs to the latest provider."""
    path: Path = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in items:
            path = (*path, items[path])
    path = (*path, parts[-1])
    if is_item:
        items[path] = items.get(path, -1) + 1
        # Lists of tables inside this item start again at 0.
        for inner in [other for other in items if other[: len(path)] == path and other != path]:
            if inner[len(path)] == items[path]:
                del items[inner]
        return (*path, items[path])
    return path


def _last_line(lines: Sequence[str], first: int, value: str) -> int:
    """Return the line on which a value ends: the first at which it parses."""
    for last in range(first, min(len(lines), first + _MAX_VALUE_LINES)):
        text = "\n".join([value, *lines[first + 1 : last + 1]])
        try:
            tomllib.loads(f"x = {text}")
        except tomllib.TOMLDecodeError:
            continue
        return last
    return first
