"""What a provider's mails are recognised by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.config.pattern import STEPS, SearchPattern
from bridge.model import Email
from bridge.providers.base import Senders
from bridge.providers.places import addresses

_MAX_ADDRESS: Final = 320  # characters (RFC 5321, 4.5.3.1)
_RECIPIENTS: Final = ("to", "cc", "delivered-to", "x-original-to", "envelope-to")


@dataclass(frozen=True, slots=True)
class Marks:
    """What a provider's mails are recognised by; all that are set must match."""

    senders: Senders | None
    subject: SearchPattern | None
    recipient: SearchPattern | None
    headers: Mapping[str, SearchPattern]

    def match(self, email: Email) -> bool:
        """Return whether all marks but the subject match."""
        if self.senders is not None and (email.sender or "") not in self.senders:
            return False
        if self.recipient is not None:
            named = (value for header in _RECIPIENTS for value in email.headers.get(header, ()))
            found = (each for value in named for each in addresses(value))
            if not any(each in self.recipient for each in found if len(each) <= _MAX_ADDRESS):
                return False
        return have(email, self.headers)

    @property
    def beside_subject(self) -> bool:
        """Whether any mark but the subject is set."""
        return bool(self.senders or self.recipient or self.headers)

    @property
    def headers_read(self) -> frozenset[str]:
        """The headers that matching reads, in lower case."""
        return frozenset((*self.headers, *(_RECIPIENTS if self.recipient is not None else ())))


def have(email: Email, headers: Mapping[str, SearchPattern]) -> bool:
    """Return whether each header has a value that its pattern matches; not if it is too long."""
    for name, pattern in headers.items():
        values = email.headers.get(name, ())
        if pattern.weight * sum(map(len, values)) > STEPS:
            return False
        if not any(value in pattern for value in values):
            return False
    return True
