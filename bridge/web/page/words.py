"""How the page says times, sizes, numbers and sentences; all of it made safe for HTML."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_CODE: Final = re.compile(r"`([^`]+)`")
_TIME: Final = re.compile(r"\b20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ")
# What moves the cursor, hides or turns text round; tabs and line ends are the text's own.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def moment(value: datetime | str | None) -> datetime | None:
    """Return the time of a document's string; None stays None."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def time(value: datetime | str | None) -> Markup:
    """Show a time in UTC, which the page's script turns into the reader's zone; UTC on hover."""
    at = moment(value)
    if at is None:
        return Markup('<span class="none">–</span>')
    at = at.astimezone(UTC)
    whole = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", whole, whole
    )


def seconds(value: float) -> str:
    """Say a duration in its largest two units."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 10 and value != int(value):
        return f"{value:.1f} s"
    left = round(value)
    said = []
    for unit, size in _UNITS:
        if left >= size:
            said.append(f"{left // size} {unit}")
            left %= size
        elif said:
            break
    return " ".join(said[:2])


def ago(value: datetime | str | None, now: datetime) -> str:
    """Say how long ago something was, or in how long it will be."""
    at = moment(value)
    if at is None:
        return "never"
    gone = (now - at).total_seconds()
    if abs(gone) < 1:
        return "now"
    return f"{seconds(gone)} ago" if gone > 0 else f"in {seconds(-gone)}"


def due(value: datetime | str, now: datetime) -> str:
    """Say when something is due that waits for its turn."""
    at = moment(value)
    return "now" if at is None or at <= now else ago(at, now)


def size(value: float) -> str:
    """Say a number of bytes."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return (
                f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
            )
        value /= 1024
    return f"{value:.1f} TiB"


def count(value: int) -> str:
    """Write a number with a thin space between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def sentence(value: str) -> Markup:
    """Show a sentence, in which commands stand between backticks and times are as we write them."""
    safe = _CODE.sub(r"<code>\1</code>", str(escape(plain(value))))
    return Markup(_TIME.sub(_as_time, safe))  # noqa: S704 - escaped


def _as_time(found: re.Match[str]) -> str:
    try:
        return str(time(found[0]))
    except ValueError:  # somebody's number, which only looks like one
        return found[0]


def plain(value: str) -> str:
    """Return a stranger's text with what can't be seen written out."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
