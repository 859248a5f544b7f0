"""The digest: what an endpoint's stream has come to, told to the endpoint itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

BRIDGE_DIGEST: Final = "bridge.digest"  # the type and the format of its event


@dataclass(frozen=True, slots=True)
class Digest:
    """The numbers after `after` up to `last`, and what became of their deliveries so far.

    It is the endpoint's `number`th one, for the period that began at `due_at`, and there is one
    `every` so many seconds. What retention has deleted counts as delivered. `not_coming` are the
    highest numbers of the whole stream that are dead or erased.
    """

    endpoint: str
    number: int
    due_at: datetime
    every: float
    after: int
    last: int
    waiting: int
    dead: int
    erased: int
    not_coming: tuple[int, ...]

    @property
    def delivered(self) -> int:
        """How many were delivered."""
        return self.last - self.after - self.waiting - self.dead - self.erased
