"""Addresses that are secrets: whoever knows one is believed, so nobody may guess it.

Shorter ones would be as good as `anyone = true` to whoever has time, and the guesses that come in
mails cannot be told from honest mistakes.
"""

from __future__ import annotations

import math
import re
import secrets
from typing import Annotated, Final

from pydantic import AfterValidator

from bridge.config.values import FullAddress

_ENOUGH: Final = 80  # bits; no number of guesses that a server answers gets near
_RANDOM_BYTES: Final = 12
_SEPARATORS: Final = re.compile(r"[-_.+=]")
_DIGITS: Final = frozenset("0123456789")
_ALPHABETS: Final = (  # lower case: a guess may be in any case
    _DIGITS,
    _DIGITS | frozenset("abcdef"),
    frozenset("abcdefghijklmnopqrstuvwxyz"),
    _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz"),
)


def random_address(domain: str) -> str:
    """Make a secret address in a domain that is written with its @."""
    return f"sms-{secrets.token_hex(_RANDOM_BYTES)}{domain}"


def bits(address: str) -> float:
    """Return how many bits a guess at an address's local part takes, at most.

    If parts of it contain digits, the others are taken for words, such as the `sms` in
    `sms-0b7c…`. That a part without digits is a word can't be seen.
    """
    parts = [part for part in _SEPARATORS.split(address.rpartition("@")[0]) if part]
    random = [part for part in parts if any(map(str.isdigit, part))] or parts
    alphabet = next(
        (each for each in _ALPHABETS if all(set(part.lower()) <= each for part in random)),
        _ALPHABETS[-1],
    )
    return sum(map(len, random)) * math.log2(len(alphabet))


def _secret(address: str) -> str:
    found = bits(address)
    if found < _ENOUGH:
        raise ValueError(
            f"can be guessed, since what stands before its @ has at most {found:.0f} random bits, "
            f"and whoever guesses it is believed: use at least {_ENOUGH}, such as 16 random "
            'letters and digits (python3 -c "import secrets; print(secrets.token_hex(10))" makes '
            "them)"
        )
    return address


SecretAddress = Annotated[FullAddress, AfterValidator(_secret)]
