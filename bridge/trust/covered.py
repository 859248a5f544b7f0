"""Shows a provider only those headers of a mail that its evidence covers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from bridge.model import Email, Trust

_TOLD: Final = 5  # names of headers in a sentence


class CoveredHeaders(Mapping[str, tuple[str, ...]]):
    """The covered headers by lower-case name; `missed` are the others that were asked for."""

    __slots__ = ("_covers", "_headers", "missed")

    def __init__(self, headers: Mapping[str, tuple[str, ...]], covers: frozenset[str]) -> None:
        self._headers = headers
        self._covers = covers
        self.missed: dict[str, None] = {}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in self._covers:
            if name in self._headers:
                self.missed[name] = None
            raise KeyError(name)
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._headers if name in self._covers)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<CoveredHeaders: {len(self)} names>"  # values are the sender's words


def covered(email: Email, trust: Trust) -> Email:
    """Hide what the evidence does not cover: anybody may have written it."""
    if trust.covers is None:
        return email
    return replace(email, headers=CoveredHeaders(email.headers, trust.covers))


def missed(email: Email) -> str:
    """Say which hidden headers were looked for, to stand behind a sentence; else nothing."""
    headers = email.headers
    if not isinstance(headers, CoveredHeaders) or not headers.missed:
        return ""
    names = ", ".join(list(headers.missed)[:_TOLD])
    return f" (not read, because the mail's evidence does not cover it: {names})"
