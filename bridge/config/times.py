"""The time formats that a template may use, validated when the config is loaded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator

NAMED: Final = ("epoch", "epoch_ms", "rfc2822", "iso8601")

# Each part has a different value, so that a format which confuses or drops one is rejected.
_PROBE: Final = datetime(2023, 11, 28, 17, 46, 59, tzinfo=UTC)


def _format(text: str) -> str:
    if text in NAMED:
        return text
    if "%" not in text:
        raise ValueError(
            f"{text!r} is none of {', '.join(NAMED)}, nor a format like %d/%m/%Y %H:%M"
        )
    if "%Z" in text.replace("%%", ""):
        raise ValueError("%Z cannot be read: names of zones mean several; write %z, or time_zone")
    try:
        back = datetime.strptime(_PROBE.strftime(text), text)  # noqa: DTZ007  only compared
    except ValueError:
        raise ValueError(f"{text!r} is no format that can be read (strptime)") from None
    if back.replace(second=0, tzinfo=None) != _PROBE.replace(second=0, tzinfo=None):
        raise ValueError(f"{text!r} leaves out a part: year, month, day, hour, minute are needed")
    return text


def has_zone(text: str) -> bool:
    """Return whether times in this format carry their zone."""
    return text in {"epoch", "epoch_ms"} or "%z" in text


TimeFormat = Annotated[str, AfterValidator(_format)]
