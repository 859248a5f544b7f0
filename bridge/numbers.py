"""Phone numbers as E.164, without guessing: what is not clear stays as it came, with a warning."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final, NamedTuple

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
)

from bridge.remembered import remembered

MAX_SHORT_CODE: Final = 6  # digits; no country has national numbers this short
MIN_WITHOUT_PLUS: Final = 11  # digits; from here on a country code is likely in front
_MAX_LENGTH: Final = 64  # characters; E.164 has 15 digits, and spacing has an end too
_SPACING: Final = re.compile(
    r"[\s\-\u2010-\u2015\u2212().\u00b7/\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+"
)


class NumberWarning(StrEnum):
    """Why a number stayed as it came; a warning says of which (docs/warnings.md)."""

    NUMBER_IMPOSSIBLE = "number_impossible"
    NUMBER_WITHOUT_REGION = "number_without_region"


class Number(NamedTuple):
    """E.164, or the sender ID, short code or doubtful number as it was given."""

    value: str
    warning: str | None = None


@remembered(entries=4096, longest=_MAX_LENGTH)
def normalise(raw: str, region: str | None) -> Number:
    """Read a number as a provider wrote it; `region` (`"IT"`) is the config's, never a guess."""
    given = raw.strip()
    if any(char.isalpha() for char in given):
        return Number(given)  # decided first: phonenumbers reads letters as a phone's keys
    digits = _digits(given)
    if digits is None:
        return Number(given, NumberWarning.NUMBER_IMPOSSIBLE)
    if not digits.startswith(("+", "0")) and len(digits) <= MAX_SHORT_CODE:
        return Number(digits)
    if digits.startswith("+"):
        return _e164(digits) or Number(given, NumberWarning.NUMBER_IMPOSSIBLE)
    return _e164_without_plus(digits, region) or Number(
        given, NumberWarning.NUMBER_IMPOSSIBLE if region else NumberWarning.NUMBER_WITHOUT_REGION
    )


def national_digits(number: str) -> str:
    """Return the digits of a number in E.164 behind its country code; raises ValueError."""
    parsed = _parse(number, None) if number.startswith("+") else None
    if parsed is None or not _possible(parsed):
        raise ValueError("not a number in E.164")
    return phonenumbers.national_significant_number(parsed)


def pattern_of(number: str) -> re.Pattern[bytes]:
    """Return what finds a number in E.164 in raw bytes, with or without country code and spacing.

    Raises ValueError for anything else.
    """
    national = national_digits(number)
    country = number.removeprefix("+").removesuffix(national)
    gap = r"[ ().\-/]{0,2}"
    code = f"(?:(?:00)?{gap.join(country)}{gap})?"
    return re.compile(f"(?<![0-9]){code}0?{gap}{gap.join(national)}(?![0-9])".encode())


def _e164_without_plus(digits: str, region: str | None) -> Number | None:
    national = _parse(digits, region) if region else None
    international = None
    if not digits.startswith("0") and len(digits) >= MIN_WITHOUT_PLUS:
        international = _parse("+" + digits, None)
    if national is not None and phonenumbers.is_valid_number(national):
        # Both readings may be valid: in Germany, 4915… is also a landline in Leer. Of the two, a
        # mobile is who sends SMS.
        if international is not None and _mobile(international) and not _mobile(national):
            return _format(international)
        return _format(national)
    if digits.startswith("00"):  # the prefix that nearly all countries dial
        return _e164("+" + digits[2:])
    if international is not None and _possible(international):
        return _format(international)
    return _format(national) if national is not None and _possible(national) else None


def _mobile(number: PhoneNumber) -> bool:
    return phonenumbers.number_type(number) == PhoneNumberType.MOBILE


def _digits(given: str) -> str | None:
    """Take out the spacing and write every script's digits as ASCII; None if more is left."""
    if len(given) > _MAX_LENGTH:
        return None
    packed = _SPACING.sub("", given.replace("\uff0b", "+"))
    if not packed.isascii():
        packed = "".join(str(unicodedata.decimal(char, char)) for char in packed)
    return packed if re.fullmatch(r"\+?[0-9]+", packed) else None


def _e164(international: str) -> Number | None:
    number = _parse(international, None)
    return _format(number) if number is not None and _possible(number) else None


def _parse(digits: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(digits, region)
    except NumberParseException:
        return None


def _possible(number: PhoneNumber) -> bool:
    # Not `is_possible_number`: it also accepts what can only be dialled within one town.
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


def _format(number: PhoneNumber) -> Number:
    return Number(phonenumbers.format_number(number, PhoneNumberFormat.E164))
