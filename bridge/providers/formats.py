"""Reads times in the formats that a template names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Final

from bridge.providers.times import Moment, ReadTime, epoch, place

_YEARS: Final = range(1970, 2200)
_EPOCH_MS: Final = re.compile(r"[0-9]{12,13}")  # from 1973 to 2286
# A date and a time of day; Python's own reader also takes weeks, and dates alone.
_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}[0-9:.,+Z-]*")


def read_formats(formats: Sequence[str], zone: tzinfo | None) -> ReadTime:
    """Return a reader that tries these formats in order; it returns None if none fits.

    `zone` is the zone of times without an offset; if it is None, those are not read.
    """
    readers = [_reader(each, zone) for each in formats]

    def read(written: str) -> Moment | None:
        if not written.isascii():  # strptime takes the digits of every script
            return None
        moments = (reader(written) for reader in readers)
        return next((moment for moment in moments if moment is not None), None)

    return read


def _reader(name: str, zone: tzinfo | None) -> ReadTime:
    match name:
        case "epoch":
            return epoch(zone or UTC)
        case "epoch_ms":
            return _epoch_ms(zone or UTC)

    def read(written: str) -> Moment | None:
        try:
            parsed = _parse(written, name)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if parsed is None or parsed.year not in _YEARS:
            return None
        offset = parsed.utcoffset()
        if offset is not None:
            return Moment(parsed.replace(tzinfo=timezone(offset)))
        return place(parsed, zone) if zone is not None else None

    return read


def _parse(written: str, name: str) -> datetime | None:
    if name == "rfc2822":
        return parsedate_to_datetime(written)
    if name == "iso8601":
        return datetime.fromisoformat(written) if _ISO.fullmatch(written) else None
    return datetime.strptime(written, name)  # noqa: DTZ007  the caller adds the zone


def _epoch_ms(zone: tzinfo) -> ReadTime:
    seconds = epoch(zone)

    def read(written: str) -> Moment | None:
        if _EPOCH_MS.fullmatch(written) is None:
            return None
        whole = seconds(written[:-3])
        if whole is None:
            return None
        return Moment(whole.at + timedelta(milliseconds=int(written[-3:])))

    return read
