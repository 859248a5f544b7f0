"""What an event looks like when it goes out: one file a format, listed here by name.

A new format is one file with `event`, one line in FORMATS, and its tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from bridge.formats import sms_received
from bridge.model import SMS_RECEIVED, Event, Message


class Format(Protocol):
    """What a format's file offers."""

    def event(self, message: Message) -> Event:
        """Serialise a message, once; these bytes are stored and sent on every attempt."""
        ...


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        SMS_RECEIVED: sms_received,
    }
)


def events(message: Message, names: Iterable[str]) -> tuple[Event, ...]:
    """Make the message's events, one for each format in `names`."""
    return tuple(FORMATS[name].event(message) for name in names)
