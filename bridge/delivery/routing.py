"""Which endpoints want a message: a pure function of the message and their filters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from bridge.model import SmsMessage
from bridge.numbers import MAX_SHORT_CODE, MIN_WITHOUT_PLUS

# How people write numbers, none of which makes another number.
_DRESS: Final = str.maketrans("", "", " \t\u00a0-./()")


def number_key(number: str) -> str:
    """Reduce a number or sender ID to what two spellings of the same one share.

    `+39 333 123-4333`, `00393331234333` and `393331234333` are the same: a filter that silently
    matched nothing because of a space would keep messages from their receiver.
    """
    bare = number.translate(_DRESS)
    return bare.removeprefix("+").removeprefix("00").casefold() or number


def is_national(number: str) -> bool:
    """Tell whether a number lacks its country code: a short code or a sender ID does not."""
    bare = number.translate(_DRESS)
    if not (bare.isascii() and bare.isdigit()) or bare.startswith("00"):
        return False
    return bare.startswith("0") or MAX_SHORT_CODE < len(bare) < MIN_WITHOUT_PLUS


def unwanted(
    message: SmsMessage, *, providers: Collection[str], recipients: Collection[str]
) -> str | None:
    """Say why an endpoint with these filters doesn't want the message; None if it does.

    Empty filters want everything. `recipients` are keys made by `number_key`. The sentence holds
    no number.
    """
    if providers and message.provider not in providers:
        return f"the endpoint takes no messages of provider {message.provider}"
    if recipients and not {number_key(message.recipient), number_key(message.raw.recipient)} & set(
        recipients
    ):
        return "the endpoint takes no messages to this number"
    return None
