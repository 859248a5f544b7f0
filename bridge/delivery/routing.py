"""Endpoint filters: pure functions that decide which endpoints get a message."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from bridge.model import SmsMessage
from bridge.numbers import MAX_SHORT_CODE, MIN_WITHOUT_PLUS

# Punctuation in written numbers, without meaning.
_PUNCTUATION: Final = str.maketrans("", "", " \t\u00a0-./()")


def number_key(number: str) -> str:
    """Normalise a number or sender ID, so that different spellings compare equal.

    `+39 333 123-4333`, `00393331234333` and `393331234333` are equal: a filter must not lose
    messages because of a space.
    """
    bare = number.translate(_PUNCTUATION)
    return bare.removeprefix("+").removeprefix("00").casefold() or number


def conversation_key(message: SmsMessage) -> int:
    """Return what all messages from one sender to one recipient have in common: 64 bits of a hash.

    Two conversations that share a key by chance would only wait for each other.
    """
    both = f"{number_key(message.sender)}\x1f{number_key(message.recipient)}".encode(
        "utf-8", "surrogatepass"
    )
    return int.from_bytes(hashlib.sha256(both).digest()[:8], signed=True)


def is_national(number: str) -> bool:
    """Whether a number lacks its country code; short codes and sender IDs need none."""
    bare = number.translate(_PUNCTUATION)
    if not (bare.isascii() and bare.isdigit()) or bare.startswith("00"):
        return False
    return bare.startswith("0") or MAX_SHORT_CODE < len(bare) < MIN_WITHOUT_PLUS


def unwanted(
    message: SmsMessage, *, providers: Collection[str], recipients: Collection[str]
) -> str | None:
    """Return why these filters reject the message, without a number in it; None if they accept it.

    An empty filter accepts everything. `recipients` are keys from `number_key`.
    """
    if providers and message.provider not in providers:
        return f"the endpoint takes no messages of provider {message.provider}"
    if recipients and not {number_key(message.recipient), number_key(message.raw.recipient)} & set(
        recipients
    ):
        return "the endpoint takes no messages to this number"
    return None
