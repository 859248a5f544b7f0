"""Reads the times that providers write, in the zone that the config names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timezone, tzinfo
from enum import StrEnum
from typing import Final

# Year first, so day and month cannot be mistaken; the separators are optional.
_COMPACT: Final = re.compile(
    r"((?:19[789]|20[0-9]|21[0-9])[0-9])[-/.]?([0-9]{2})[-/.]?([0-9]{2})[ T]?"
    r"([0-9]{2}):?([0-9]{2}):?([0-9]{2})"
)
_EPOCH: Final = re.compile(r"[0-9]{9,10}")  # seconds, from 1973 to 2286


class Doubt(StrEnum):
    """What a clock change did to a local time (docs/warnings.md)."""

    AMBIGUOUS = "time_ambiguous"
    MISSING_IN_ZONE = "time_missing_in_zone"


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant with its offset; `own` is False where it is not the provider's own time."""

    at: datetime
    warning: str | None = None
    own: bool = True


ReadTime = Callable[[str], Moment | None]


def local_time(zone: tzinfo) -> ReadTime:
    """Make a reader of `YYYYMMDDHHMMSS` in a zone; it gives None for anything else."""

    def read(written: str) -> Moment | None:
        digits = _COMPACT.fullmatch(written)
        if digits is None:
            return None
        year, month, day, hour, minute, second = (int(part) for part in digits.groups())
        try:
            naive = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  zone below
        except ValueError:
            return None
        return place(naive, zone)

    return read


def epoch(zone: tzinfo) -> ReadTime:
    """Make a reader of unix seconds, which are UTC's; the zone only decides the offset shown."""

    def read(written: str) -> Moment | None:
        if _EPOCH.fullmatch(written) is None:
            return None
        return Moment(_fixed(datetime.fromtimestamp(int(written), UTC).astimezone(zone)))

    return read


def place(naive: datetime, zone: tzinfo) -> Moment:
    """Put a local time into its zone.

    A time that the clocks showed twice is taken as the first; one that they skipped is moved on
    by what they skipped. Either way the same writing always gives the same instant.
    """
    aware = naive.replace(tzinfo=zone)
    first, second = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    if first == second:
        return Moment(_fixed(aware))
    there_and_back = aware.astimezone(UTC).astimezone(zone)
    if there_and_back.replace(tzinfo=None) == naive:
        return Moment(_fixed(aware), Doubt.AMBIGUOUS)
    return Moment(_fixed(there_and_back), Doubt.MISSING_IN_ZONE)


def _fixed(aware: datetime) -> datetime:
    # A fixed offset compares and serialises without surprises; a zone's datetimes do not.
    offset = aware.utcoffset()
    assert offset is not None
    return aware.replace(tzinfo=timezone(offset), fold=0)
