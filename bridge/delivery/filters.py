"""An endpoint's filters as they are evaluated: pure, compiled once from their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bridge import text
from bridge.config.filters import ConditionSettings, FilterSettings
from bridge.config.pattern import SearchPattern
from bridge.delivery.routing import number_key
from bridge.model import Message


@dataclass(frozen=True, slots=True)
class Condition:
    """Conditions on a message; empty ones always hold. Numbers are keys from `number_key`."""

    providers: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    senders: frozenset[str] = field(default=frozenset(), repr=False)
    recipients: frozenset[str] = field(default=frozenset(), repr=False)
    sender_pattern: SearchPattern | None = field(default=None, repr=False)
    recipient_pattern: SearchPattern | None = field(default=None, repr=False)
    body_pattern: SearchPattern | None = field(default=None, repr=False)
    opts: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls, settings: ConditionSettings) -> Self:
        """Build from one table of the config."""
        return cls(
            providers=frozenset(settings.provider),
            sources=frozenset(settings.source),
            senders=frozenset(map(number_key, settings.sender)),
            recipients=frozenset(map(number_key, settings.to)),
            sender_pattern=settings.from_pattern,
            recipient_pattern=settings.to_pattern,
            body_pattern=settings.body_pattern,
            opts=frozenset(settings.opt),
        )

    def mismatch(self, message: Message) -> str | None:
        """Return the key of the first condition that doesn't hold; None if all do.

        A number in a list may be written as in the webhook or as by the provider; patterns see it
        as in the webhook.
        """
        sms = message.sms
        numbers = (
            ("from", self.senders, sms.sender, sms.raw.sender),
            ("to", self.recipients, sms.recipient, sms.raw.recipient),
        )
        patterns = (
            ("from_pattern", self.sender_pattern, sms.sender),
            ("to_pattern", self.recipient_pattern, sms.recipient),
            ("body_pattern", self.body_pattern, sms.body),
        )
        if self.providers and sms.provider not in self.providers:
            return "provider"
        if self.sources and message.source.value not in self.sources:
            return "source"
        for key, wanted, number, raw in numbers:
            if wanted and wanted.isdisjoint((number_key(number), number_key(raw))):
                return key
        for key, pattern, value in patterns:
            if pattern is not None and value not in pattern:
                return key
        return "opt" if self.opts and text.opt(sms.body) not in self.opts else None


@dataclass(frozen=True, slots=True)
class Filter:
    """Takes a message for which `condition` holds and none of `excluded` does."""

    condition: Condition
    excluded: tuple[Condition, ...] = ()

    @classmethod
    def from_settings(cls, settings: FilterSettings) -> Self:
        """Build from one `[[endpoints.filter]]`."""
        excluded = tuple(Condition.from_settings(each) for each in settings.excluded)
        return cls(Condition.from_settings(settings), excluded)

    def mismatch(self, message: Message) -> str | None:
        """Return the key because of which the message isn't taken; None if it is."""
        if key := self.condition.mismatch(message):
            return key
        taken = all(each.mismatch(message) for each in self.excluded)
        return None if taken else "not"


def unmatched(filters: Sequence[Filter], message: Message) -> str | None:
    """Return why no filter takes the message, with nothing of it; None if one does, or none is set.

    Names the key that each filter failed by, filters counted from 1.
    """
    failed = []
    for filter_ in filters:
        key = filter_.mismatch(message)
        if key is None:
            return None
        failed.append(key)
    if not failed:
        return None
    if len(failed) == 1:
        return f"the endpoint's filter doesn't match: {failed[0]}"
    named = ", ".join(f"{number} ({key})" for number, key in enumerate(failed, 1))
    return f"none of the endpoint's filters matches: {named}"
