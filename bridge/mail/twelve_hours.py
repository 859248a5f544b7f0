"""Times with AM and PM in dates: the standard library reads "2:05:00 PM" as five past two."""

from __future__ import annotations

import re
from typing import Final

_TIME: Final = re.compile(
    r"\b([0-9]{1,2})((?:[:.][0-9]{2}){1,2})\s*+([AP])\.?M\b\.?", re.IGNORECASE
)
_NOON: Final = 12


def in_24_hours(date: str) -> str:
    """Rewrite a date's time of day if it has AM or PM; raises ValueError for a time that is none.

    Some write "14:05 PM", which says the same twice.
    """
    return _TIME.sub(_rewritten, date)


def _rewritten(time: re.Match[str]) -> str:
    hour, rest, is_pm = int(time[1]), time[2], time[3] in "Pp"
    if hour > _NOON and not is_pm:
        raise ValueError("no hour of the morning is over 12")
    hours = hour if hour > _NOON else hour % _NOON + _NOON * is_pm
    return f"{hours:02}{rest}"
