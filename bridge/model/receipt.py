"""The receipt: what the store returns once an arrival is committed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bridge.model.delivery import Claim


class ArrivalOutcome(StrEnum):
    """What an arrival became."""

    MESSAGE = "message"
    DUPLICATE = "duplicate"
    QUARANTINE = "quarantine"
    DISCARDED = "discarded"  # it was in quarantine until an operator or its age ended it
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an arrival is committed and synced; only then is it acknowledged."""

    arrival_id: int
    outcome: ArrivalOutcome
    message_id: str | None = None  # of the message, or of the one it duplicates
    claims: tuple[Claim, ...] = ()
    repeated: bool = False  # no message, and its bytes were stored before: not stored again
