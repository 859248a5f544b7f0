"""Which headers of a mail its evidence covers: a provider reads no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from bridge.model import Email, Trust

_MAX_NAMED: Final = 10  # headers in a sentence
# Added on the way, so never what a provider reads.
_TRACE: Final = frozenset({
    "arc-authentication-results", "arc-message-signature", "arc-seal", "authentication-results",
    "delivered-to", "dkim-signature", "received", "received-spf", "return-path",
})  # fmt: skip


def only_covered(email: Email, trust: Trust) -> Email:
    """Return the mail without the headers that the evidence doesn't cover: anyone can add those."""
    if trust.covers is None:
        return email
    covered = {name: each for name, each in email.headers.items() if name in trust.covers}
    return replace(email, headers=covered)


def uncovered(email: Email, trust: Trust | None, reads: Iterable[str] | None) -> str:
    """Name the headers that a provider would have read but for the evidence, to end a sentence.

    `reads` are the headers that the provider reads, in lower case; None if it doesn't declare
    them: then all that the evidence doesn't cover are named, less trace headers. Empty if there
    are none.
    """
    if trust is None or trust.covers is None:
        return ""
    hidden = set(email.headers) - trust.covers
    named = sorted(hidden - _TRACE if reads is None else hidden.intersection(reads))
    if not named:
        return ""
    more = ", …" if len(named) > _MAX_NAMED else ""
    names = ", ".join(named[:_MAX_NAMED]) + more
    return f" (not read, because the mail's evidence does not cover it: {names})"
