"""Checksums of what never changes in a row: a flipped bit is seen before it is believed.

A database notices a flipped bit in the structure of its pages, and none in the values. So each
arrival, message and event has a CRC-32 of its values, made before the row is written: it finds any
one flipped bit and any run of 32, and one other change of 4,000,000,000 escapes it. It is no
signature: whoever can write to the database can write it, too.

What may change later (an arrival's outcome, a message's keys, a delivery) is in no checksum. The
audit knows it from its rules, and from the indexes, which have it a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

from sqlalchemy import RowMapping

from bridge.store.types import microseconds, storable

Row = Mapping[str, Any] | RowMapping

_ARRIVAL: Final = itemgetter("id", "source", "source_name", "peer", "envelope_from")
# What events are made from; the last three are of the arrival that brought it.
_MESSAGE: Final = itemgetter(
    "id", "provider", "sender", "recipient", "provider_message_id", "content_key", "utc_offset",
    "own_time", "raw_sender", "raw_recipient", "raw_date", "email_message_id", "email_subject",
    "email_charset", "sha256", "body", "source", "trust_by", "trust_detail",
)  # fmt: skip
_EVENT: Final = itemgetter("id", "message_id", "format", "type")


def of_arrival(row: Row) -> int:
    """Return the checksum of an arrival: its raw bytes, and where it came from."""
    at = microseconds(row["received_at"])
    return _sum((*_ARRIVAL(row), at, _strings(row["recipients"])), row["raw"])


def of_message(row: Row) -> int:
    """Return the checksum of a message, with the source and evidence of its arrival."""
    received, bridged = microseconds(row["received_at"]), microseconds(row["bridged_at"])
    return _sum((*_MESSAGE(row), received, bridged, _strings(row["warnings"])), b"")


def of_event(row: Row) -> int:
    """Return the checksum of an event."""
    return _sum((*_EVENT(row), microseconds(row["created_at"])), row["body"])


def _sum(values: tuple[object, ...], content: bytes) -> int:
    """Sum up values as they are read again, whatever database or version of Python it is.

    Python's `ascii` writes any text in the same way for good, which `repr` doesn't.
    """
    text = ascii(values)
    if "\\ud" in text or "\\x00" in text:  # half a surrogate pair or a NUL, most likely
        text = ascii(tuple(storable(each) if isinstance(each, str) else each for each in values))
    return crc32(content, crc32(text.encode("ascii")))


def _strings(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(map(str, values))  # of a StrEnum
