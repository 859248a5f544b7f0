"""What a format is to the rest: how an event is written, described, and acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from bridge.config.endpoints import DEFAULT_SCHEME
from bridge.event import event_id
from bridge.model import SMS_RECEIVED, Event, Message

Headers = Sequence[tuple[str, str]]


def any_2xx(_status: int, _answer: bytes) -> str | None:
    """Accept every 2xx answer."""
    return None


def no_headers(_event: Event) -> Headers:
    """Return no header."""
    return ()


@dataclass(frozen=True, slots=True)
class Format:
    """One format that events are sent in; all functions are pure.

    `write` returns the body of a message's event, given the event's id. `scheme` signs it unless
    the endpoint names another one, and `timeout` (seconds; None: [delivery]'s) holds likewise.
    `problem` returns why an answer with a 2xx status is no success, None if it is one; it gets the
    status and at most the first 4 KiB of the body. `headers` returns what describes an event beside
    the content type, the same for every attempt; `header_names` are their names in lower case.
    """

    name: str
    content_type: str
    write: Callable[[Message, str], bytes]
    scheme: str = DEFAULT_SCHEME
    timeout: float | None = None
    problem: Callable[[int, bytes], str | None] = any_2xx
    headers: Callable[[Event], Headers] = no_headers
    header_names: frozenset[str] = frozenset()

    def event(self, message: Message) -> Event:
        """Serialise a message, once; these bytes are stored and sent on every attempt."""
        made = event_id(message.id, self.name)
        return Event(made, self.name, SMS_RECEIVED, self.write(message, made))


def stable_uuid(webhook_id: str) -> UUID:
    """Derive a UUID from an event's id, for receivers that recognise a repetition by one."""
    return uuid5(NAMESPACE_URL, f"smsbridge:{webhook_id}")
