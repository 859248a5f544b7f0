"""Evidence: the mail was sent to an address that only the provider knows.

Only the envelope counts, since anyone can write headers. The address is a secret: it is compared
in constant time, and no sentence ever holds it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from hmac import compare_digest
from typing import Final

from bridge import letters
from bridge.model import Arrival, Email, Trust
from bridge.trust.base import Absent, Kind, Names, smtp_only

_ENOUGH: Final = 80  # bits; no number of guesses that a server answers gets near
_SEPARATORS: Final = re.compile(r"[-_.+=]")
_DIGITS: Final = frozenset("0123456789")
_ALPHABETS: Final = (  # lower case: a guess may be in any case
    _DIGITS,
    _DIGITS | frozenset("abcdef"),
    frozenset("abcdefghijklmnopqrstuvwxyz"),
    _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz"),
)


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


def bits(address: str) -> float:
    """Return how many bits a guess at an address's local part takes, at most.

    If parts of it contain digits, the others are taken for words, such as the `sms` in
    `sms-0b7c…`. That a part without digits is a word can't be seen.
    """
    parts = [part for part in _SEPARATORS.split(address.rpartition("@")[0]) if part]
    random = [part for part in parts if any(map(str.isdigit, part))] or parts
    alphabet = next(
        (each for each in _ALPHABETS if all(set(part) <= each for part in random)), _ALPHABETS[-1]
    )
    return sum(map(len, random)) * math.log2(len(alphabet))


def _warnings(secrets: Sequence[str]) -> Iterator[str]:
    for number, secret in enumerate(secrets, 1):
        if (found := bits(secret)) < _ENOUGH:
            yield (
                f"secret recipient {number} of {len(secrets)} can be guessed (its local part has "
                f"at most {found:.0f} bits), and whoever guesses it is believed: use at least "
                f"{_ENOUGH} bits, such as 16 random letters and digits"
            )


def _describe(secrets: Sequence[str]) -> Iterator[str]:
    yield f"{len(secrets)} secret recipient(s)"


def _who(_secrets: Sequence[str]) -> str:
    return (
        "whoever knows a secret address: the provider, every mail server on the way, and whoever "
        "was shown one of its mails with its envelope or its Received headers"
    )


def _guards(_secrets: Sequence[str]) -> Iterator[str]:
    yield "the address stands in the envelope; a To header doesn't count"
    yield "it is compared in constant time, and holds as long as nobody can guess it"


KIND: Final[Kind[Sequence[str]]] = Kind(
    name="recipients",
    proves="the mail was sent to an address that only the provider knows",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    warnings=_warnings,
    sources=smtp_only,
    secret="secret recipient",  # noqa: S106 - what it is called
)
