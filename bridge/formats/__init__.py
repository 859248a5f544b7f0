"""What an event looks like when it goes out: one file a format, listed here.

A new format is one file with `FORMAT`, one line in FORMATS, and its tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from bridge.config.endpoints import EndpointSettings
from bridge.config.values import nearest
from bridge.errors import ConfigError
from bridge.formats import (
    agile,
    cloudevents,
    cloudevents_binary,
    mobile_api_connect,
    sms_received,
    twilio,
    url_networks,
)
from bridge.formats.base import Format
from bridge.model import SMS_RECEIVED, Event, Message

__all__ = ["FORMATS", "Format", "events", "format_named", "format_of", "wanted"]

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({
    each.name: each
    for each in (
        sms_received.FORMAT,
        cloudevents.FORMAT,
        cloudevents_binary.FORMAT,
        agile.FORMAT,
        url_networks.FORMAT,
        twilio.FORMAT,
        mobile_api_connect.FORMAT,
    )
})  # fmt: skip


def events(message: Message, names: Iterable[str]) -> tuple[Event, ...]:
    """Make the message's events, one for each format in `names`."""
    return tuple(FORMATS[name].event(message) for name in names)


def format_named(name: str) -> Format:
    """Return how an event goes out: as its format says; one of our own as the default format."""
    return FORMATS.get(name, sms_received.FORMAT)


def format_of(index: int, settings: EndpointSettings) -> Format:
    """Return the format of `endpoints.<index>`; ConfigError if there is none of that name."""
    found = FORMATS.get(settings.format)
    if found is None:
        near = nearest(settings.format, list(FORMATS))
        hint = f"did you mean {near!r}?" if near else f"known formats: {', '.join(FORMATS)}"
        problem = f"{settings.format!r} is not a format, {hint}"
        raise ConfigError(f"endpoints.{index}.format", problem)
    return found


def wanted(endpoints: Sequence[EndpointSettings]) -> tuple[str, ...]:
    """Return the formats that endpoints get, each once; raises ConfigError.

    Without endpoints it is the default one, since every message has an event.
    """
    names = (format_of(index, each).name for index, each in enumerate(endpoints))
    return tuple(dict.fromkeys(names)) or (SMS_RECEIVED,)
