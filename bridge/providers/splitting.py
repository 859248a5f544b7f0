"""Tells the SMS of one mail apart, and where each of them ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bridge.config.pattern import SearchPattern, Span
from bridge.config.template import SplitSettings
from bridge.text import without_end

MAX_MESSAGES: Final = 50  # in one mail


class Pieces(NamedTuple):
    """The SMS in a text: where each is, and whether there is text above the first."""

    spans: Sequence[Span]
    preamble: bool


@dataclass(frozen=True, slots=True)
class Split:
    """How a template splits a text: between SMS, or at the head of each."""

    line: SearchPattern
    keeps_line: bool  # it is the head of an SMS, not a line between two

    @classmethod
    def of(cls, settings: SplitSettings) -> Split:
        """Build from the config."""
        return cls(settings.line, settings.head is not None)

    def pieces(self, text: str) -> Pieces | str:
        """Find the parts that are not blank, or say in a sentence why they can't be told apart."""
        starts, ends = [], []
        at = 0
        lines = list(self.line.wholes(text))
        for from_, to in lines:
            line = text.rfind("\n", 0, from_) + 1
            if line < at:
                continue  # in the same line as the last one
            line_end = text.find("\n", max(to - 1, from_))
            at = len(text) if line_end < 0 else line_end + 1
            ends.append(line)
            starts.append(line if self.keeps_line else at)
        above = text[: ends[0]] if ends else text
        spans = list(zip(starts, [*ends, len(text)][1:], strict=True))
        if not self.keeps_line:
            spans.insert(0, (0, len(above)))
        spans = [span for span in spans if text[slice(*span)].strip()]
        most = self.line.most(text)
        if not 1 <= len(spans) <= MAX_MESSAGES or len(lines) == most:
            count = f"more than {min(MAX_MESSAGES, most - 1)}" if spans else "no"
            where = "below its heads" if self.keeps_line else "between the lines that split it"
            return f"the mail has {count} SMS {where}"
        return Pieces(spans, self.keeps_line and bool(above.strip()))


def above_footers(text: str, footers: Sequence[SearchPattern], *, beside: bool) -> str:
    """Cut off each footer from the last line that matches it, with the blank lines above.

    The last one, because the SMS itself may contain such a line. No footer is cut from a text
    with so many of them that the last one isn't known. A text that begins `beside` its label
    has no footer in that line, whatever it begins with.
    """
    for footer in footers:
        found = list(footer.wholes(text))
        if 0 < len(found) < footer.most(text):
            line = text.rfind("\n", 0, found[-1][0]) + 1
            text = without_end(text[:line]) if line or not beside else text
    return text
