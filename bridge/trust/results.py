"""Parses an Authentication-Results header (RFC 8601): pure, linear, strict.

Servers copy text from strangers into this header, such as sender addresses. So comments and quotes
are parsed as the RFC says, and any syntax error rejects the whole header: lenient parsing is how
`smtp.mailfrom="a) dmarc=pass (b"@evil` becomes a pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_RESULTS_HEADER: Final = 8 * 1024  # bytes; the longest seen in the wild is a quarter of it
_MAX_COMMENTS: Final = 20  # comments in comments

# What can precede "=": a method with its version, a property with its type.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", re.ASCII)
_WORD: Final = re.compile(r'[^\s;()"\\\x00-\x1f\x7f]+')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_IN_COMMENT: Final = re.compile(r"\\.|[()]", re.DOTALL)
_BLANKS: Final = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Result:
    """One result: a method (`dkim`), its result (`pass`), and properties (`header.d`, value)."""

    method: str
    result: str
    properties: Sequence[tuple[str, str]]

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of a property."""
        return tuple(value for key, value in self.properties if key == name)


@dataclass(frozen=True, slots=True)
class Results:
    """One header: the authserv-id ("" if it has none) and the results."""

    authserv_id: str
    results: Sequence[Result]


class MalformedError(Exception):
    """A header with a syntax error; caught within this package."""


def authserv_id(value: bytes) -> str | None:
    """Parse only the authserv-id, in lower case; None if it isn't a plain ASCII token."""
    try:
        return _Reader(_text(value[:MAX_RESULTS_HEADER])).authserv_id()
    except MalformedError:
        return None


def read(value: bytes) -> Results:
    """Parse a whole header; raises MalformedError, whose text never quotes it."""
    if len(value) > MAX_RESULTS_HEADER:
        raise MalformedError(f"is longer than {MAX_RESULTS_HEADER} bytes")
    return _Reader(_text(value)).read()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def authserv_id(self) -> str:
        """Parse the authserv-id; "" if there is none and the first result comes at once.

        RFC 8601 allows quotes, and comments in front. No server writes those, and a server that
        deletes forged headers of its own id may not recognise it when it is spelled that way.
        """
        name = self._optional_word()
        if "=" in name or (name and self._skip_to("=")):
            self._at = 0  # no authserv-id: this is the first result
            return ""
        is_plain = name.isascii() and self._text.startswith(name) and bool(name)
        if not is_plain or self._peek('"') or self._peek("\\"):
            raise MalformedError("does not begin with a plain id")
        return name.lower()

    def read(self) -> Results:
        name = self.authserv_id()
        if name:
            version = self._optional_word()
            if version not in {"", "1"}:
                raise MalformedError("has a version that is not known here")
            if not self._skip_to(";"):
                raise MalformedError("has something between its id and its results")
        results: list[Result] = []
        while not self._ended():
            result = self._result()
            if result is not None:
                results.append(result)
            if not self._skip_to(";") and not self._ended():
                raise MalformedError("has results that are not parted by semicolons")
        return Results(name, results)

    def _result(self) -> Result | None:
        self._skip()
        if self._ended() or self._peek(";"):
            return None  # many servers add a trailing semicolon
        method = self._name()
        if self._skip_to("/"):
            if self._name() != "1":
                raise MalformedError("has a method of a version that is not known here")
        elif method == "none" and (self._ended() or self._peek(";")):
            return None  # nothing was checked
        self._expect("=")
        result = self._name()
        properties: list[tuple[str, str]] = []
        while True:
            self._skip()
            if self._ended() or self._peek(";"):
                return Result(method, result, properties)
            name = self._name()
            if self._skip_to("."):
                name = f"{name}.{self._name()}"
            self._expect("=")  # `reason=` too, and Microsoft's `action=`, which have no type
            self._skip()
            properties.append((name, self._value()))

    def _name(self) -> str:
        self._skip()
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise MalformedError("has no name where one belongs")
        self._at = found.end()
        return found[0].lower()

    def _value(self) -> str:
        """Parse a word, a quoted string, or an address with a quoted local part.

        A quoted string that is or contains part of an address keeps its quotes: `"x@a.example"`
        alone may be a local part, and then a.example isn't its domain.
        """
        quoted = _QUOTED.match(self._text, self._at)
        out = ""
        if quoted is not None:
            out = quoted[0]
            self._at = quoted.end()
        word = _WORD.match(self._text, self._at)
        if word is not None:
            if quoted is not None and not word[0].startswith("@"):
                raise MalformedError("has a quote with something behind it")
            out += word[0]
            self._at = word.end()
        elif quoted is None:
            raise MalformedError("has no value where one belongs")
        elif "@" not in out:
            out = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        if self._peek('"') or self._peek("\\"):
            raise MalformedError("has a quote in the middle of a value")
        return out

    def _optional_word(self) -> str:
        self._skip()
        word = _WORD.match(self._text, self._at)
        if word is None:
            return ""
        self._at = word.end()
        return word[0]

    def _expect(self, sign: str) -> None:
        if not self._skip_to(sign):
            raise MalformedError(f"lacks a {sign!r}")

    def _skip_to(self, sign: str) -> bool:
        """Skip whitespace, comments and this character, if it comes next."""
        self._skip()
        found = self._peek(sign)
        self._at += found
        return found

    def _peek(self, sign: str) -> bool:
        return self._text.startswith(sign, self._at)

    def _ended(self) -> bool:
        self._skip()
        return self._at >= len(self._text)

    def _skip(self) -> None:
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            if blanks is not None:
                self._at = blanks.end()
            if not self._peek("("):
                return
            self._comment()

    def _comment(self) -> None:
        depth = 0
        for step in _IN_COMMENT.finditer(self._text, self._at):
            if step[0] == "(":
                depth += 1
                if depth > _MAX_COMMENTS:
                    raise MalformedError(f"has comments nested more than {_MAX_COMMENTS} deep")
            elif step[0] == ")":
                depth -= 1
                if not depth:
                    self._at = step.end()
                    return
        raise MalformedError("has a comment that never ends")
