"""What an SMS's text alone shows: its number of segments, and whether it is a keyword."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

# 3GPP TS 23.038 §6.2.1: the default alphabet (one septet each) and its extension (two).
_GSM7: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_GSM7_ALL: Final = _GSM7 | _GSM7_EXTENSION

# Units that fit in a single SMS, and in each part of a longer one (the user data header takes
# the rest): 3GPP TS 23.040 §9.2.3.24.1.
_GSM7_LIMITS: Final = (160, 153)
_UCS2_LIMITS: Final = (70, 67)

_OPT_OUT: Final = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"}
)
_OPT_IN: Final = frozenset({"START", "UNSTOP"})
_HELP: Final = frozenset({"HELP", "INFO"})
_LONGEST_KEYWORD: Final = 64  # a keyword with room for white space around it

_END: Final = " \t\r\n\xa0"

Encoding = Literal["GSM-7", "UCS-2"]
Opt = Literal["out", "in", "help"]


@dataclass(frozen=True, slots=True)
class Segments:
    """How many SMS a text takes on the air, and in which alphabet."""

    encoding: Encoding
    count: int


def without_end(text: str) -> str:
    """Return a text without the blanks and blank lines at its end.

    At the end of a mail nobody can tell whose they are: programs and gateways add and cut them,
    and no signature covers them. So they are no part of an SMS.
    """
    return text.rstrip(_END)


def segments(body: str) -> Segments:
    """Count the SMS that carry this text; an empty text takes one.

    A character of two units (GSM-7's extension, a UTF-16 pair) never straddles two parts.
    """
    if _GSM7_ALL.issuperset(body):
        return Segments("GSM-7", _parts(body, _GSM7_EXTENSION.__contains__, _GSM7_LIMITS))
    return Segments("UCS-2", _parts(body, _is_pair, _UCS2_LIMITS))


def _is_pair(character: str) -> bool:
    return character > "\uffff"


def _parts(body: str, is_wide: Callable[[str], bool], limits: tuple[int, int]) -> int:
    single, part = limits
    if len(body) + sum(map(is_wide, body)) <= single:
        return 1
    count, used = 1, 0
    for character in body:
        units = 2 if is_wide(character) else 1
        if used + units > part:
            count, used = count + 1, 0
        used += units
    return count


def opt(body: str) -> Opt | None:
    """Return which keyword the whole text is: opt-out, opt-in or help. A hint, never a filter."""
    if len(body) > _LONGEST_KEYWORD:
        return None
    word = body.strip().upper()
    if word in _OPT_OUT:
        return "out"
    if word in _OPT_IN:
        return "in"
    return "help" if word in _HELP else None
