"""Operators' patterns: compiled when the config is loaded, linear-time when they run.

They run on text from strangers. With a backtracking engine, one unnoticed nested quantifier lets
one mail stop the bridge; RE2 has no such patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, InstanceOf

from bridge.config.weight import weight

MAX_MATCHES: Final = 200  # in one text
# Places in play × characters, of what one mail's text is read with; at most 16 ns each, and a mail
# is read up to three times.
STEPS: Final = 4_000_000
_MAX_LENGTH: Final = 1000  # characters
_MAX_MEMORY: Final = 1024**2  # bytes of one compiled pattern
# Bytes for the states it is in while it runs, for each of its instructions: of a class such as \pL
# there are a thousand, and without room for its states RE2 is a hundred times slower.
_STATES_MEMORY: Final = 2048
_MOST_MEMORY: Final = 16 * 1024**2  # bytes of both, which only hostile text makes it use
_MAX_WEIGHT: Final = 200  # of one pattern: on a body of 40,000 characters, 0.1 s
_LIGHT: Final = 10  # up to this weight, the states fit into memory, and text is read at full speed
_SLOW: Final = 10  # times longer than at full speed, for each place in play
# Characters that all matches of a pattern look at together: of a light one, and at full speed of
# any other, which has counts that it rarely uses up. Fifty SMS may be split anywhere.
_ALL_LIGHT: Final = 7_000_000
_ALL: Final = 12_000_000
_VALUES: Final = 200_000  # places in play × characters, of the matches whose values are looked for
_VALUE: Final = "value"
# A pattern's tokens; quoted text and classes are kept as they are.
_TOKEN: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*+(?:\]|\\?\Z)"
    r"|(?P<name>\(\?P?<\w+>)"
    r"|(?P<blanks>(?:[ \t]|\\[t ])++)(?P<times>(?:[*+?]|\{(?P<least>\d+)(?:,\d*)?\})\??)?"
    r"(?P<end>(?=\$|\\n|\\z))?|\\.|.",
    re.DOTALL,
)
# Added where RE2's own message doesn't help an operator.
_LOOKING: Final = "look-ahead, look-behind and back-references are not supported"


Span = tuple[int, int]


class Match(NamedTuple):
    """A match: the value, its span, and the span of the whole match."""

    value: str
    span: Span
    whole: Span


@dataclass(slots=True)
class Looks:
    """How many matches without a wanted value may still be passed over, in all of a mail or post.

    Each takes 8 µs, and a text can have two hundred for each place and each SMS in it.
    """

    left: int

    @property
    def over(self) -> bool:
        """Whether a search was given up."""
        return self.left < 0

    def why(self) -> str:
        """Say what is wrong, for the operator."""
        return (
            "its patterns match so often without giving a value that they are not tried on all of "
            "it: in a pattern's value, write (…) around what must be there, not (…)* or (…)|…"
        )


@dataclass(frozen=True, slots=True)
class SearchPattern:
    """A compiled pattern: unanchored, multi-line, case-insensitive.

    Its value is the group named `value`, else its only group, else the whole match. What a group
    matched takes RE2 fifty times as long to find as where the match is, so only the matches whose
    value is wanted are searched for it.
    """

    text: str
    weight: int = field(compare=False)  # see bridge.config.weight
    groups: int = field(compare=False)
    group: int = field(compare=False)
    compiled: Any = field(compare=False, repr=False)  # without its groups
    with_groups: Any = field(compare=False, repr=False)

    def search(self, text: str, looks: Looks | None = None) -> Match | None:
        """Return the first match in which the value's group took part."""
        return next(self.all(text, looks), None)

    def all(self, text: str, looks: Looks | None = None) -> Iterator[Match]:
        """Yield the non-overlapping matches that have a value, in order, at most `most(text)`.

        Matches that are so long that their values take too long to find have none. Each that is
        not the last one asked for takes one of `looks`; when they run out, there are no more.
        """
        whole = _whole(text)
        left = _VALUES
        for found in self.wholes(text):
            span = found
            if self.group:
                left -= max(1, self.weight) * (found[1] - found[0])
                if left < 0:
                    return
                span = self._value(whole, found)
            if span[0] >= 0:
                yield Match(text[slice(*span)], span, found)
            if self.group and looks is not None:
                looks.left -= 1
                if looks.over:
                    return

    def wholes(self, text: str) -> Iterator[Span]:
        """Yield the spans of the non-overlapping matches in order, at most `most(text)`."""
        for found in islice(self.compiled.finditer(_whole(text)), self.most(text)):
            yield found.span()

    def _value(self, text: str, whole: Span) -> Span:
        start, end = whole
        before = max(0, start - 1)  # ^, $ and \\b look at the characters beside a match
        found = self.with_groups.fullmatch(text[before : end + 1], start - before, end - before)
        # None: `\B` also matches within a letter's bytes, where no position is.
        first, last = found.span(self.group) if found else (-1, -1)
        return (before + first, before + last) if first >= 0 else (-1, -1)

    def most(self, text: str) -> int:
        """Return how many matches are looked for in a text.

        One takes linear time, but each of many may look at the whole rest of the text, as with
        `a(?s:.*)b|a`.
        """
        if self.weight <= _LIGHT:
            return min(MAX_MATCHES, 1 + _ALL_LIGHT // (len(text) + 1))
        return min(MAX_MATCHES, 1 + _ALL // (_SLOW * self.weight * (len(text) + 1)))

    def __contains__(self, text: str) -> bool:
        return self.compiled.search(_whole(text)) is not None


def _blanks_alike(pattern: str) -> str:
    """Let a pattern's literal spaces and tabs match any number of either; at a line's end, none.

    A DKIM signature sees no more than that (RFC 6376, 3.4.4).
    """
    return _TOKEN.sub(_any_blanks, pattern)


def _any_blanks(token: re.Match[str]) -> str:
    if token["blanks"] is None:
        return token[0]
    least = len(token["blanks"].replace("\\", ""))
    times = token["times"]
    if times is not None:
        least += int(token["least"] or times[0] == "+") - 1
    # As few as possible, as written: any further one is the value's.
    lazy = "?" if times is None or times[1:].endswith("?") else ""
    return f"[ \\t]{'+' if least and token['end'] is None else '*'}{lazy}"


def _unnamed(pattern: str) -> str:
    """Take away the names of a pattern's groups: RE2 keeps track of named ones."""
    return _TOKEN.sub(lambda token: "(" if token["name"] else token[0], pattern)


def _whole(text: str) -> str:
    # RE2 reads UTF-8, which has no lone surrogates; replacing one by one keeps positions.
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> SearchPattern:
    """Compile a pattern; raises ValueError with what is wrong with it."""
    if not text:
        raise ValueError("is empty, so it matches everything")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"is longer than {_MAX_LENGTH} characters")
    import re2  # 3 MB, which only configs with patterns pay for

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        re2.compile(f"(?im){text}", options)  # so that an error quotes the operator's own words
        alike = f"(?im){_blanks_alike(text)}"
        size = re2.compile(alike, options).programsize
        options.max_mem = max(_MAX_MEMORY, min(_STATES_MEMORY * size, _MOST_MEMORY))
        with_groups = re2.compile(alike, options)
        options.never_capture = True
        compiled = re2.compile(_unnamed(alike), options)
        # It finds where matches begin, and RE2 would compile it at the first one: 30 ms of a
        # stranger's mail for a class as large as \pL{0,50}.
        _ = compiled.reverseprogramsize
    except re2.error as error:
        reason = error.args[0]
        why = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        more = f"; {_LOOKING}" if "perl operator" in why or "escape sequence: \\" in why else ""
        raise ValueError(
            f"is not a valid pattern (RE2 syntax): {why.replace('(?im)', '')}{more}"
        ) from None
    heavy = weight(text)
    if heavy > _MAX_WEIGHT:
        raise ValueError(
            f"is slow on long mails, since it can be at {heavy} places at once: what it repeats by "
            f"counts or has in a row, of classes like . or \\S, must be at most {_MAX_WEIGHT} "
            "characters; write + or *, or lower counts"
        )
    groups = with_groups.groups
    group = with_groups.groupindex.get(_VALUE, 1 if groups == 1 else 0)
    return SearchPattern(text, heavy, groups, group, compiled, with_groups)


def _pattern(value: object) -> object:
    if isinstance(value, SearchPattern):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a pattern in quotes, best in single ones: '^SMS from '")  # noqa: TRY004
    return compile_pattern(value)


def _finder(value: object) -> object:
    pattern = _pattern(value)
    assert isinstance(pattern, SearchPattern)
    if pattern.groups > 1 and not pattern.group:
        raise ValueError(
            "has several groups: name the value's group (?P<value>…), or begin the others with (?:"
        )
    return pattern


Pattern = Annotated[InstanceOf[SearchPattern], BeforeValidator(_pattern)]
Finder = Annotated[InstanceOf[SearchPattern], BeforeValidator(_finder)]
