"""What goes wrong in a simulated run, and when: all of it drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple


class Fate(Enum):
    """What becomes of one commit."""

    DONE = auto()
    REFUSED = auto()  # the store is away, and nothing is written
    WORD_LOST = auto()  # it is written, and the store's word of it is lost
    DEATH_BEFORE = auto()  # the daemon is killed on the line above
    DEATH_AFTER = auto()  # and on the line below


class Answer(Enum):
    """What a receiver makes of one request."""

    TAKEN = auto()
    TAKEN_LATE = auto()  # perhaps after the deadline
    TAKEN_SILENTLY = auto()  # it was taken, and the answer is lost
    TAKEN_DENIED = auto()  # it was taken, and the answer says that it wasn't
    CUT_OFF = auto()  # the status says yes, and the answer breaks off
    FAULT = auto()
    BUSY = auto()  # with a Retry-After
    ELSEWHERE = auto()  # a redirect
    GONE = auto()
    REFUSED = auto()  # no connection
    SILENT = auto()
    DEATH_BEFORE = auto()  # the daemon is killed before the request is out
    DEATH_AFTER = auto()  # and after the receiver took it, before the answer


_WELL: Final = {Answer.TAKEN: 1.0}
# How a receiver may be for a while: what it answers, by weight.
MOODS: Final[tuple[dict[Answer, float], ...]] = (
    _WELL,
    {Answer.TAKEN: 8, Answer.TAKEN_SILENTLY: 1, Answer.TAKEN_DENIED: 1, Answer.CUT_OFF: 1},
    {Answer.REFUSED: 1},
    {Answer.FAULT: 3, Answer.SILENT: 1},
    {Answer.TAKEN: 3, Answer.BUSY: 2},
    {Answer.TAKEN_LATE: 1},
    {Answer.TAKEN: 2, Answer.FAULT: 2, Answer.REFUSED: 1, Answer.ELSEWHERE: 1},
    {Answer.TAKEN_DENIED: 3, Answer.TAKEN_SILENTLY: 1},
)
_GONE: Final = 0.002  # of all requests while things go wrong
_DEATH: Final = 0.004
_READ_FAILS: Final = 0.01
_OUTAGE: Final = 0.004  # of all commits, at which the store goes away for a while
_SYNCS: Final = (0.0005, 0.001, 0.004, 0.02, 5.0, 45.0, 70.0)  # seconds
_SYNC_WEIGHTS: Final = (300, 300, 200, 200, 2, 3, 1)
_FATES: Final = {
    Fate.REFUSED: 0.01,
    Fate.WORD_LOST: 0.01,
    Fate.DEATH_BEFORE: 0.003,
    Fate.DEATH_AFTER: 0.003,
}


class Commit(NamedTuple):
    """One commit: the seconds until it begins, those until its sync returns, and its fate."""

    before: float
    sync: float
    fate: Fate


@dataclass(slots=True)
class Faults:
    """Draws what goes wrong; from `heal` on, nothing does."""

    rng: random.Random
    healed: bool = False
    _away_until: float = 0.0
    _moods: dict[str, tuple[float, dict[Answer, float]]] = field(default_factory=dict)

    def heal(self) -> None:
        """Let all be well from now on."""
        self.healed = True

    def commit(self, now: float) -> Commit:
        """Return how long a commit takes, and what becomes of it."""
        if self.healed:
            return Commit(0.0, 0.001, Fate.DONE)
        if now < self._away_until:
            return Commit(0.0, 0.001, Fate.REFUSED)
        if self.rng.random() < _OUTAGE:
            self._away_until = now + self.rng.expovariate(1 / 10)
            # Some outages begin with a commit that hangs for longer than anybody waits.
            return Commit(self.rng.choice((0.001, 30.0, 90.0)), 0.0, Fate.REFUSED)
        drawn = self.rng.random()
        for fate, share in _FATES.items():
            if (drawn := drawn - share) < 0:
                return Commit(0.0, 0.001, fate)
        return Commit(0.0, self.rng.choices(_SYNCS, _SYNC_WEIGHTS)[0], Fate.DONE)

    def read_fails(self) -> bool:
        """Say whether a read finds the store away."""
        return not self.healed and self.rng.random() < _READ_FAILS

    def answer(self, receiver: str, now: float) -> Answer:
        """Return what becomes of a request to a receiver, whose mood changes from time to time."""
        if self.healed:
            return Answer.TAKEN
        until, mood = self._moods.get(receiver, (0.0, _WELL))
        if now >= until:
            mood = self.rng.choice((_WELL, *MOODS))
            self._moods[receiver] = now + self.rng.expovariate(1 / 40), mood
        drawn = self.rng.random()
        if drawn < _GONE:
            return Answer.GONE
        if drawn < _GONE + _DEATH:
            return self.rng.choice((Answer.DEATH_BEFORE, Answer.DEATH_AFTER))
        return self.rng.choices(tuple(mood), tuple(mood.values()))[0]

    def latency(self) -> float:
        """Return how many seconds a request or an answer is on its way."""
        return self.rng.choice((0.001, 0.005, 0.05, 0.3))

    def downtime(self) -> float:
        """Return for how many seconds a killed daemon is down."""
        return self.rng.choice((0.1, 2.0, 15.0))
