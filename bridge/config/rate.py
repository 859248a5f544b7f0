"""How many requests an endpoint takes: `rate = "10/s"`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import BeforeValidator

_RATE: Final = re.compile(r"([1-9]\d{0,5})\s*/\s*(s|m|h)", re.ASCII)
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds; after a pause, `burst` of them may come at once."""

    text: str
    interval: float  # seconds from one to the next
    burst: int = 1

    def with_burst(self, burst: int) -> Rate:
        """Return the same rate with another burst."""
        return replace(self, burst=burst)


def _rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('must be like "10/s", "300/m" or "1000/h": so many requests in that time')
    return Rate(f"{found[1]}/{found[2]}", _SECONDS[found[2]] / int(found[1]))


RateText = Annotated[Rate, BeforeValidator(_rate)]
