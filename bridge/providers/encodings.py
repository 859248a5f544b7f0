"""Undoes the encodings in which providers write a value into a mail's text. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote, unquote_plus

from bridge.config.template import Encoding
from bridge.mail.html_text import unescape

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def undo(encoding: Encoding, written: str) -> str | None:
    r"""Return what a value says, with "\n" line ends only; None if it isn't so encoded."""
    try:
        text = _UNDO[encoding](written)
    except ValueError:  # UnicodeError and binascii's among them
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", _REPLACEMENT)


def _base64(written: str) -> str:
    packed = "".join(written.split())  # in lines
    return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode()


_UNDO: Final[Mapping[Encoding, Callable[[str], str]]] = {
    "base64": _base64,
    "percent": lambda written: unquote(written, errors="strict"),
    "form": lambda written: unquote_plus(written, errors="strict"),
    "xml": unescape,
}
