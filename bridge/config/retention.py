"""`[retention]`: for how long what was stored is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import field_validator

from bridge.config.strict import Strict
from bridge.config.values import Age

_REPEATS: Final = 30 * 86400.0  # seconds in which a mail may come once more


class RetentionSettings(Strict):
    """`[retention]`: ages at which stored data is removed; without one it is kept for ever.

    What goes later includes what goes earlier: a message without its text has no raw mail either.
    """

    raw: Age | None = None  # raw mails and posts, and their envelopes
    bodies: Age | None = None  # texts: of messages, and of the events that were sent
    attempts: Age | None = None  # the endpoints' answers, and attempts that failed
    messages: Age | None = None  # numbers and all else: what is left tells a repeated mail
    records: Age | None = None  # what is left, too: a mail that comes again is a new message
    quarantine: Age | None = None  # quarantined mail that nobody read is discarded

    @field_validator("records")
    @classmethod
    def _longer_than_repeats(cls, age: float | None) -> float | None:
        if age is not None and age < _REPEATS:
            raise ValueError(
                "must be 30d or more: mail servers and renumbered mailboxes repeat mails for days, "
                "which would be delivered again"
            )
        return age

    @property
    def ages(self) -> Mapping[str, float]:
        """The ages that apply, in seconds."""
        ages = {
            "raw": _least(self.raw, self.bodies, self.messages, self.records),
            "bodies": _least(self.bodies, self.messages, self.records),
            "attempts": _least(self.attempts, self.messages, self.records),
            "messages": _least(self.messages, self.records),
            "records": self.records,
            "quarantine": self.quarantine,
        }
        return {name: age for name, age in ages.items() if age is not None}


def _least(*ages: float | None) -> float | None:
    return min((age for age in ages if age is not None), default=None)
