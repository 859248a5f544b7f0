"""Evidence: the mail was sent to an address that only the provider knows.

Only the envelope counts, since anyone can write headers. The address is a secret: it is compared
in constant time, and no sentence ever holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hmac import compare_digest
from typing import Final

from bridge import letters
from bridge.model import Arrival, Email, Trust
from bridge.trust.base import Absent, Kind, Names, smtp_only


async def _weigh(
    arrival: Arrival, _email: Email, secrets: Sequence[str], _names: Names | None
) -> Trust | Absent:
    found = False
    given = [_comparable(recipient) for recipient in arrival.recipients]
    for secret in map(_comparable, secrets):
        for recipient in given:
            found |= compare_digest(secret, recipient)  # all pairs, found or not
    if found:
        return Trust("recipients", "a secret recipient of the config")
    if not given:
        return Absent("the arrival names no envelope recipient")
    return Absent("no envelope recipient is one that the config names")


def _comparable(address: str) -> bytes:
    # Bytes that aren't UTF-8 arrive as surrogates, which strict encoding refuses.
    return letters.lower(address.strip()).encode("utf-8", "surrogatepass")


def _describe(secrets: Sequence[str]) -> Iterator[str]:
    yield f"{len(secrets)} secret recipient(s)"


def _who(_secrets: Sequence[str]) -> str:
    return (
        "whoever knows a secret address: the provider, every mail server on the way, and whoever "
        "was shown one of its mails with its envelope or its Received headers"
    )


def _guards(_secrets: Sequence[str]) -> Iterator[str]:
    yield "the address stands in the envelope; a To header doesn't count"
    yield "it is long enough for 80 random bits, and is compared in constant time"


KIND: Final[Kind[Sequence[str]]] = Kind(
    name="recipients",
    proves="the mail was sent to an address that only the provider knows",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    sources=smtp_only,
    secret="secret recipient",  # noqa: S106 - what it is called
)
