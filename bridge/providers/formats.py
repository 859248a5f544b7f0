"""Reads times in the formats that a template names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, Protocol

from bridge.config.times import has_foreign_digits, has_month_name, without_year
from bridge.mail.twelve_hours import in_24_hours
from bridge.providers.times import Moment, epoch, place

_YEARS: Final = range(1970, 2200)
_EPOCH_MS: Final = re.compile(r"[0-9]{12,13}")  # from 1973 to 2286
# A date and a time of day; Python's own reader also takes weeks, and dates alone.
_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}[0-9:.,+Z-]*")
# A modem's time stamp (3GPP TS 27.005, 3.1): the zone counts quarters of an hour.
_GSM: Final = re.compile(r"([0-9/]{8}),? ?([0-9:]{8})(?: ?([+-][0-9]{2}))?")
# What stands behind the time of day. "-0000" is a time in UTC, by a program that doesn't know where
# it is (RFC 5322, 3.3), such as Python's own `formatdate`.
_RFC2822_ZONE: Final = re.compile(
    r"[0-9][:.][0-9]{2}(?:[:.][0-9]{2})?\s*+"
    r"(?:(?P<utc>-0000)|(?P<odd>[+-](?![0-9]{4}(?![0-9])))|[^\s(0-9:.])"
)
_QUARTER: Final = timedelta(minutes=15)
_ENGLISH: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_NO_ZONES: Final[Mapping[str, timedelta]] = MappingProxyType({})
_ALWAYS_UTC: Final = dict.fromkeys(("UTC", "GMT", "Z"), timedelta(0))

_Translate = Callable[[str], str]
# A datetime without a zone is a local one. May raise ValueError, and what the standard library's
# readers raise beside it.
_Parse = Callable[[str, datetime | None], datetime | None]


class ReadNear(Protocol):
    """Reads a time, or returns None; one without a year is the one that is nearest to `near`."""

    def __call__(self, written: str, near: datetime | None = None) -> Moment | None:
        """Read one."""


def read_formats(
    formats: Sequence[str],
    zone: tzinfo | None,
    months: Sequence[str] = (),
    zones: Mapping[str, timedelta] = _NO_ZONES,
) -> ReadNear:
    """Return a reader that tries these formats in order; it returns None if none fits.

    `zone` is the zone of times without an offset; if it is None, those are not read. `months` are
    the twelve names that %b and %B read instead of the English ones, `zones` those of %Z.
    """
    readers = [_reader(each, zone, months, zones) for each in formats]

    def read(written: str, near: datetime | None = None) -> Moment | None:
        if has_foreign_digits(written):
            return None
        moments = (reader(written, near) for reader in readers)
        return next((moment for moment in moments if moment is not None), None)

    return read


def _reader(
    name: str, zone: tzinfo | None, months: Sequence[str], zones: Mapping[str, timedelta]
) -> ReadNear:
    if name in _EPOCHS:
        return _EPOCHS[name](zone)
    parse = _PARSERS.get(name) or _strptime(name, zone or UTC, months, zones)

    def read(written: str, near: datetime | None = None) -> Moment | None:
        try:
            parsed = parse(written, near)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if parsed is None or parsed.year not in _YEARS:
            return None
        offset = parsed.utcoffset()
        if offset is not None:
            return Moment(parsed.replace(tzinfo=timezone(offset)))
        return place(parsed, zone) if zone is not None else None

    return read


def _rfc2822(written: str, _: datetime | None) -> datetime | None:
    written = in_24_hours(written)
    time = parsedate_to_datetime(written)
    zone = _RFC2822_ZONE.search(written)
    if zone is None:
        return time
    if zone["utc"]:
        return time.replace(tzinfo=UTC)
    # The name of a zone that is not known tells no offset, and "+02" would be two minutes.
    return None if time.tzinfo is None or zone["odd"] else time


def _iso8601(written: str, _: datetime | None) -> datetime | None:
    return datetime.fromisoformat(written) if _ISO.fullmatch(written) else None


def _gsm(written: str, _: datetime | None) -> datetime | None:
    found = _GSM.fullmatch(written)
    if found is None:
        return None
    local = datetime.strptime(f"20{found[1]} {found[2]}", "%Y/%m/%d %H:%M:%S")  # noqa: DTZ007
    return local if found[3] is None else local.replace(tzinfo=timezone(int(found[3]) * _QUARTER))


def _strptime(
    name: str, zone: tzinfo, months: Sequence[str], zones: Mapping[str, timedelta]
) -> _Parse:
    in_english = _translation(
        zip(months, _ENGLISH, strict=False)
        if "%B" in name
        else zip(months, (month[:3] for month in _ENGLISH), strict=False)
    )
    as_offsets = _translation(
        (zone_name, _shown(offset)) for zone_name, offset in {**_ALWAYS_UTC, **zones}.items()
    )
    form = name.replace("%Z", "%z")

    def parse(written: str, near: datetime | None) -> datetime | None:
        if months and has_month_name(name):
            written = in_english(unicodedata.normalize("NFC", written))
        if form != name:
            written = as_offsets(written)
        if not without_year(name):
            return datetime.strptime(written, form)  # noqa: DTZ007  the caller adds the zone
        if near is None:
            return None
        # With each year, since 29 February is not in all.
        found = (_in_year(written, form, near.year + add) for add in (-1, 0, 1))
        return min(
            (each for each in found if each is not None),
            key=lambda each: abs((each if each.tzinfo else each.replace(tzinfo=zone)) - near),
            default=None,
        )

    return parse


def _in_year(written: str, form: str, year: int) -> datetime | None:
    try:
        return datetime.strptime(f"{written} {year}", f"{form} %Y")  # noqa: DTZ007
    except ValueError:
        return None


def _translation(words: Iterable[tuple[str, str]]) -> _Translate:
    """Return what replaces whole words, whatever their case."""
    known = {word.casefold(): translated for word, translated in words}
    longest_first = sorted(map(re.escape, known), key=len, reverse=True)
    pattern = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(longest_first)})(?![^\W\d_])", re.IGNORECASE)
    return lambda text: pattern.sub(lambda word: known.get(word[0].casefold(), word[0]), text)


def _shown(offset: timedelta) -> str:
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}{minutes % 60:02}"


def _epoch(zone: tzinfo | None) -> ReadNear:
    seconds = epoch(zone)
    return lambda written, near=None: seconds(written)


def _epoch_ms(zone: tzinfo | None) -> ReadNear:
    seconds = epoch(zone)

    def read(written: str, near: datetime | None = None) -> Moment | None:
        if _EPOCH_MS.fullmatch(written) is None:
            return None
        whole = seconds(written[:-3])
        if whole is None:
            return None
        return Moment(whole.at + timedelta(milliseconds=int(written[-3:])))

    return read


_EPOCHS: Final = {"epoch": _epoch, "epoch_ms": _epoch_ms}
_PARSERS: Final[Mapping[str, _Parse]] = {"rfc2822": _rfc2822, "iso8601": _iso8601, "gsm": _gsm}
