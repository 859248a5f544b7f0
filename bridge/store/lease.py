"""A lease: a delivery that is somebody's for one attempt, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """In whose name, from when and until when deliveries are leased."""

    owner: str
    now: datetime
    until: datetime

    def token(self, attempt: int) -> str:
        """Name one claim: a delivery's attempts are counted up, so no token comes twice."""
        return f"{self.owner}:{attempt}"
