"""What formats share whose body is a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

CONTENT_TYPE: Final = "application/x-www-form-urlencoded"


def write(fields: Mapping[str, str]) -> bytes:
    """Return the fields in this order, in UTF-8; a lone surrogate becomes a question mark."""
    return urlencode(fields, encoding="utf-8", errors="replace").encode("ascii")
