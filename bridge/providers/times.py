"""Reads the times that providers write, in the zone that the config names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Final

# Year first or the month by its name, so that day and month cannot be mistaken.
_COMPACT: Final = re.compile(
    r"(?P<year>(?:19[789]|20[0-9]|21[0-9])[0-9])(?P<month>[0-9]{2})(?P<day>[0-9]{2})[ T]?"
    r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})"
    r"(?P<zone> ?(?:Z|UTC|GMT)|[+-][0-9]{4})?"
)
_CLOCK: Final = (
    r"(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{2})(?:[:.](?P<second>[0-9]{2})(?:[.,][0-9]{1,9})?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?"
)
_YEAR_FIRST: Final = re.compile(
    r"(?P<year>(?:19[789]|20[0-9]|21[0-9])[0-9])(?P<sep>[-/.])(?P<month>[0-9]{1,2})(?P=sep)"
    rf"(?P<day>[0-9]{{1,2}})(?:T|,? +){_CLOCK}"
)
_MONTH_NAMED: Final = re.compile(
    r"(?:[A-Z][a-z]{2,8},? +)?(?:(?P<day>[0-9]{1,2})[ -](?P<name>[A-Z][a-z]{2,8})"
    r"|(?P<name2>[A-Z][a-z]{2,8}) (?P<day2>[0-9]{1,2}),?)[ -]"
    rf"(?P<year>(?:19[789]|20[0-9]|21[0-9])[0-9]),?(?: at)? +{_CLOCK}"
)
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SECONDS: Final = re.compile(r"([0-9]{9,10})")  # from 1973 to 2286
# Milliseconds have 13 digits since 2001; a calendar time that lost one has 13 too, so these are
# only read where unix times are expected.
_SECONDS_OR_MS: Final = re.compile(r"([0-9]{9,10})|([0-9]{10})[0-9]{3}")
_NOON: Final = 12


class TimeWarning(StrEnum):
    """What a clock change makes of a local time (docs/warnings.md)."""

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
    """Return a reader of local times: `YYYYMMDDHHMMSS`, and other unambiguous formats.

    Those are the year first (`2026-04-08 14:30`), months by name, a trailing offset, and Unix
    seconds. `08/04/2026` is not read: which is the day? Fractions of seconds are dropped. The
    reader returns None for any other format.
    """

    def read(written: str) -> Moment | None:
        return _calendar(written, zone) or _epoch(_SECONDS, written, zone)

    return read


def epoch(zone: tzinfo | None) -> ReadTime:
    """Return a reader of Unix times; the zone only decides the offset shown.

    Calendar times are read too: those with an offset, and local ones if there is a zone.
    """

    def read(written: str) -> Moment | None:
        return _epoch(_SECONDS_OR_MS, written, zone or UTC) or _calendar(written, zone)

    return read


def _epoch(form: re.Pattern[str], written: str, zone: tzinfo) -> Moment | None:
    digits = form.fullmatch(written)
    if digits is None:
        return None
    seconds = int(digits[digits.lastindex or 0])
    return Moment(_fixed(datetime.fromtimestamp(seconds, UTC).astimezone(zone)))


def _calendar(written: str, zone: tzinfo | None) -> Moment | None:
    found = (
        _COMPACT.fullmatch(written)
        or _YEAR_FIRST.fullmatch(written)
        or _MONTH_NAMED.fullmatch(written)
    )
    if found is None:
        return None
    part = found.groupdict()
    month = _month(part.get("name") or part.get("name2")) or int(part.get("month") or 0)
    hour = int(part["hour"])
    if part.get("half"):
        if not 1 <= hour <= _NOON:
            return None
        hour = hour % _NOON + (_NOON if part["half"] in "pP" else 0)
    day = int(part["day"] or part["day2"])
    offset = _offset(part["zone"])
    try:
        naive = datetime(  # noqa: DTZ001  the zone comes below
            int(part["year"]), month, day, hour, int(part["minute"]), int(part["second"] or 0)
        )
        if offset is not None:
            return Moment(naive.replace(tzinfo=timezone(offset)))
    except ValueError:
        return None
    return None if zone is None else place(naive, zone)


def _month(name: str | None) -> int:
    if name:
        for number, month in enumerate(_MONTHS, 1):
            if name in {month, month[:3], month[:4] if month == "September" else month}:
                return number
    return 0


def _offset(written: str | None) -> timedelta | None:
    if written is None:
        return None
    digits = written.strip().replace(":", "")
    if digits.isalpha():
        return timedelta(0)
    size = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:]))
    return -size if digits.startswith("-") else size


def place(naive: datetime, zone: tzinfo) -> Moment:
    """Attach a zone to a local time.

    A time that occurs twice at a clock change is taken as the first; one that is skipped is moved
    on by what was skipped. The same text always gives the same instant.
    """
    aware = naive.replace(tzinfo=zone)
    first, second = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    if first == second:
        return Moment(_fixed(aware))
    there_and_back = aware.astimezone(UTC).astimezone(zone)
    if there_and_back.replace(tzinfo=None) == naive:
        return Moment(_fixed(aware), TimeWarning.AMBIGUOUS)
    return Moment(_fixed(there_and_back), TimeWarning.MISSING_IN_ZONE)


def _fixed(aware: datetime) -> datetime:
    # A fixed offset compares and serialises without surprises; a zone's datetimes do not.
    offset = aware.utcoffset()
    assert offset is not None
    return aware.replace(tzinfo=timezone(offset), fold=0)
