"""A lease: a delivery that is somebody's for one attempt, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

# From when the schedule of a delivery counts that nobody has claimed since it was made to begin: in
# the time that bridges have lived, which a command can't tell.
UNBEGUN: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lease:
    """In whose name, from when and until when deliveries are leased.

    `lived` is what bridges have lived by now (`bridge.store.beat`): schedules begin at it.
    """

    owner: str
    now: datetime
    until: datetime
    lived: datetime = UNBEGUN

    def begun(self, lived_from: datetime) -> datetime:
        """Return from when a schedule counts that is claimed now."""
        return min(lived_from, self.lived)

    def elapsed(self, lived_from: datetime) -> float:
        """Return for how many seconds lived a schedule has gone on."""
        return (self.lived - self.begun(lived_from)) / timedelta(seconds=1)

    def token(self, attempt: int) -> str:
        """Name one claim: a delivery's attempts are counted up, so no token comes twice."""
        return f"{self.owner}:{attempt}"
