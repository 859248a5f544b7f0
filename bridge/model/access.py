"""Who may use API and page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """What a token opens; each includes those above it."""

    READ = "read"  # see everything but whole numbers, texts and raw mails
    OPERATE = "operate"  # see those, too, and act

    def includes(self, wanted: Scope) -> bool:
        """Whether a token of this scope may do what `wanted` stands for."""
        return self is Scope.OPERATE or wanted is Scope.READ


@dataclass(frozen=True, slots=True)
class Token:
    """A token without the token itself, of which nobody has more than a hash."""

    id: int
    name: str
    scope: Scope
    created_at: datetime
    used_at: datetime | None  # about
    revoked_at: datetime | None
