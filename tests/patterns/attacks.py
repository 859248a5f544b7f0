"""Strings that make a backtracking pattern slow, derived from the pattern itself."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

_REPEATS: Final = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_GROUPS: Final = {codes.SUBPATTERN: 3, codes.ATOMIC_GROUP: None, codes.ASSERT: 1}
_CLASSES: Final = {
    codes.CATEGORY_DIGIT: "7",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: "!",
}
_PROBES: Final = "a7 \t\n\r!@.,:;<>()\"'=-_/\\*\xa0"
_MOST: Final = 60  # attacks on one pattern


def attacks(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Return (start, repeated, end): `start + repeated * n + end` for a growing n.

    Repeated is what each part of the pattern matches, each repeat's content, and pairs of them;
    the start is what stands before that part; the ends make the match fail.
    """
    source = pattern.pattern
    text = source.decode("latin-1") if isinstance(source, bytes) else source
    flags = pattern.flags & ~(re.UNICODE if isinstance(source, bytes) else 0)
    parsed = parser.parse(text, flags & ~re.DEBUG)
    pumps = dict.fromkeys(_pumps(list(parsed), ""))
    whole = _sample(list(parsed))
    singles = list(dict.fromkeys(pump for _, pump in pumps if pump))
    pairs = [(start, a + b) for (start, a), b in itertools.product(pumps, singles[:6]) if a != b]
    starts = [*pumps, *(("", pump) for pump in singles), ("", whole), *pairs]
    unique = [each for each in dict.fromkeys(starts) if each[1]]
    ends = ("", "\x00", "\n!")
    return [(start, pump, end) for start, pump in unique[:_MOST] for end in ends]


def _pumps(items: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """Yield (what stands before, what to repeat) for each part of a parsed pattern."""
    for item in items:
        code, value = item
        if code in _REPEATS:
            inner = list(value[2])
            for sample in _samples(inner):
                yield before, sample
            yield from _pumps(inner, before)
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield before, _sample(list(branch))
                yield from _pumps(list(branch), before)
        elif code in _GROUPS:
            inner = list(value if _GROUPS[code] is None else value[_GROUPS[code]])
            yield before, _sample(inner)
            yield from _pumps(inner, before)
        else:
            for sample in _samples([item]):
                yield before, sample
        before += _sample([item])


def _samples(items: list[Any]) -> list[str]:
    """Return a few strings that these parts match."""
    if len(items) == 1 and items[0][0] in (codes.IN, codes.NOT_LITERAL, codes.ANY):
        return _members(items[0])
    return [_sample(items)]


def _members(item: tuple[Any, Any]) -> list[str]:
    code, value = item
    if code is codes.ANY:
        return ["a", " "]
    if code is codes.NOT_LITERAL:
        return [each for each in _PROBES if ord(each) != value][:3]
    named = []
    for kind, content in value:
        if kind is codes.LITERAL:
            named.append(chr(content))
        elif kind is codes.RANGE:
            named.append(chr(content[0]))
        elif kind is codes.CATEGORY:
            named.append(_CLASSES[content])
    if value[0][0] is codes.NEGATE:
        ranges = [content for kind, content in value if kind is codes.RANGE]
        return [
            each
            for each in _PROBES
            if each not in named and not any(low <= ord(each) <= high for low, high in ranges)
        ][:4]
    return named[:4]


def _sample(items: list[Any]) -> str:
    """Return one string that these parts match, mostly."""
    found = ""
    for code, value in items:
        if code is codes.LITERAL:
            found += chr(value)
        elif code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
            found += next(iter(_members((code, value))), "")
        elif code in _REPEATS:
            found += _sample(list(value[2])) * min(max(value[0], 1), 40)
        elif code is codes.BRANCH:
            found += _sample(list(value[1][0]))
        elif code in _GROUPS:
            found += _sample(list(value if _GROUPS[code] is None else value[_GROUPS[code]]))
        elif code is codes.GROUPREF_EXISTS and value[1] is not None:
            found += _sample(list(value[1]))
    return found
