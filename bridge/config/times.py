"""The time formats that a template may use, validated when the config is loaded.

A format that no value can have is refused: it would fail with the first real mail.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator

NAMED: Final = ("epoch", "epoch_ms", "rfc2822", "iso8601", "gsm")

# Each part has a different value, so that a format which confuses or drops one is rejected.
_PROBE: Final = datetime(2023, 11, 28, 17, 46, 59, tzinfo=UTC)
_ESCAPED: Final = "%%"
_YEAR: Final = re.compile(r"%[yYGcx]")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):?([0-5][0-9])")
_ZONE_NAME: Final = re.compile(r"[A-Za-z]{1,10}")
_MONTHS: Final = 12
_MAX_OFFSET: Final = timedelta(hours=14)


def has_foreign_digits(text: str) -> bool:
    """Return whether a text has digits of another script, which strptime takes for its own."""
    return any(each.isdecimal() and not each.isascii() for each in text)


def without_year(text: str) -> bool:
    """Return whether times in this format carry no year."""
    return text not in NAMED and _YEAR.search(text.replace(_ESCAPED, "")) is None


def has_zone(text: str) -> bool:
    """Return whether times in this format carry their zone."""
    plain = text.replace(_ESCAPED, "")
    return text in {"epoch", "epoch_ms", "gsm"} or "%z" in plain or "%Z" in plain


def has_month_name(text: str) -> bool:
    """Return whether this format has a month's name."""
    plain = text.replace(_ESCAPED, "")
    return "%b" in plain or "%B" in plain


def _format(text: str) -> str:
    text = text.strip()
    if text in NAMED:
        return text
    if "%" not in text:
        raise ValueError(
            f"{text!r} is none of {', '.join(NAMED)}, nor a format like %d/%m/%Y %H:%M"
        )
    if has_foreign_digits(text) or any(unicodedata.category(each) == "Cc" for each in text):
        raise ValueError(f"{text!r} can never match: no time has such a digit or control character")
    probed = text.replace("%Z", "%z") + (" %Y" if without_year(text) else "")
    try:
        back = datetime.strptime(_PROBE.strftime(probed), probed)  # noqa: DTZ007  only compared
    except ValueError:
        raise ValueError(f"{text!r} is no format that can be read (strptime)") from None
    if back.replace(second=0, tzinfo=None) != _PROBE.replace(second=0, tzinfo=None):
        raise ValueError(f"{text!r} leaves out a part: month, day, hour and minute are needed")
    return text


def _months(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) != _MONTHS or len(set(map(str.casefold, names))) != _MONTHS:
        raise ValueError("must be the twelve names of the months, January's first")
    if any(not name.strip() or has_foreign_digits(name) for name in names):
        raise ValueError("a month's name is one of letters")
    return tuple(unicodedata.normalize("NFC", name.strip()) for name in names)


def _zones(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table of names and offsets, like { CEST = "+02:00" }')  # noqa: TRY004
    return {_zone_name(str(name)): _offset(offset) for name, offset in value.items()}


def _zone_name(name: str) -> str:
    if not _ZONE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a zone, like CEST")
    return name.upper()


def _offset(written: Any) -> timedelta:
    found = _OFFSET.fullmatch(written) if isinstance(written, str) else None
    size = timedelta(hours=int(found[2]), minutes=int(found[3])) if found else _MAX_OFFSET * 2
    if found is None or size > _MAX_OFFSET:
        raise ValueError(f'{written!r} is no offset from UTC, like "+02:00"')
    return -size if found[1] == "-" else size


TimeFormat = Annotated[str, AfterValidator(_format)]
MonthNames = Annotated[tuple[str, ...], AfterValidator(_months)]
ZoneNames = Annotated[dict[str, timedelta], BeforeValidator(_zones)]  # in upper case → offset
