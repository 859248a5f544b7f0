"""What formats share whose body is JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

CONTENT_TYPE: Final = "application/json"
# Made once: json.dumps makes one for each call with options.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def write(document: Mapping[str, object]) -> bytes:
    """Serialise in UTF-8, without spaces between."""
    # Lone surrogates cannot be encoded and no receiver could read them; nothing else changes.
    return _ENCODER.encode(document).encode("utf-8", "replace")


def utc(moment: datetime, precision: str) -> str:
    """Return a time as RFC 3339 has it, in UTC, with `seconds` or `milliseconds`."""
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
