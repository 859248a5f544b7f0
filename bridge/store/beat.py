"""The heartbeat: proves that the store takes writes, and keeps the bridges' time.

A daemon beats every few seconds. A beat counts what the bridges on this database have really lived,
by which a delivery's schedule ends, and it sees when the clock was set: the machine's, or that of
the database's server, by which all its bridges go. Then what waits and what is leased is moved by
as much, in the same transaction, so that nothing waits for longer and nothing goes out sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select, update

from bridge import clock as clocks
from bridge.clock import ZERO, Clock
from bridge.store import postgres
from bridge.store.mend import MICROSECOND, Longest, mend, move
from bridge.store.tables import arrivals, heartbeat

JUMP: Final = timedelta(seconds=5)  # of a clock that was set; less is followed in silence
FAR: Final = timedelta(days=1)  # of a jump ahead, or a stop that may have been one
# So long, in time lived, what removes by age waits after that for somebody to look. In a process
# that is this young it is most likely a time service that sets right what the machine began with.
_REST: Final = timedelta(days=1)
_YOUNG: Final = timedelta(minutes=10)
_REST_OF_YOUNG: Final = timedelta(hours=1)
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Beat:
    """What a beat found, and what its clock is set to once it is committed.

    `jump` is how far the clock was set since the last one. `apart` is how far the machine's clock
    is ahead of the one that counts. `resting`: nothing is to be removed because of its age.
    """

    now: datetime
    behind: timedelta
    jump: timedelta
    lived: datetime
    awake: float
    moved: timedelta
    apart: timedelta
    newest: datetime | None  # arrival
    resting: bool

    def set(self, clock: Clock) -> None:
        """Set the clock with which it was made."""
        clock.set_right(self.behind)
        clock.beat(self.lived, self.awake, self.moved)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database keeps of its bridges' beats.

    `moved` is how far its times were moved in all. `rest_until` is as `lived`.
    """

    beat_at: datetime
    lived: datetime
    moved: timedelta
    rest_until: datetime


def beat(
    connection: Connection,
    owner: str,
    clock: Clock,
    lease: timedelta,
    longest: Longest,
    *,
    first: bool = False,
) -> Beat:
    """Write the heartbeat, and mend the times that a clock that was set has put out of line.

    `first`: the process begins. Needs a write transaction; once it is committed, `Beat.set`.
    """
    row = connection.execute(select(heartbeat).with_for_update()).one()
    kept = Kept(row.beat_at, row.lived, row.moved * MICROSECOND, row.rest_until)
    late = behind(connection, clock)
    awake = clock.awake()
    now = clock() + late
    jump = jump_of_first(kept, now) if first else jump_of(kept, late, clock.moved)
    since = now - kept.beat_at - jump
    lived = kept.lived + lived_between(clock.awake_since_beat(awake), since)
    rest_until = max(kept.rest_until, lived + _rest(kept, jump, since, clock.age, first=first))
    if jump:
        move(connection, now - jump, jump)
    mend(connection, now, lease, longest)
    connection.execute(
        update(heartbeat).values(
            owner=owner,
            beat_at=now,
            lived=lived,
            moved=(kept.moved + jump) // MICROSECOND,
            rest_until=rest_until,
        )
    )
    newest = select(arrivals.c.received_at).order_by(arrivals.c.id.desc()).limit(1)
    return Beat(
        now=now,
        behind=late,
        jump=jump,
        lived=lived,
        awake=awake,
        moved=kept.moved + jump,
        apart=clock.machine() - clock() - late,
        newest=connection.execute(newest).scalar(),
        resting=rest_until > lived,
    )


def is_resting(connection: Connection) -> bool:
    """Return whether nothing is to be removed because of its age, for the clock may be wrong."""
    resting = select(heartbeat.c.rest_until > heartbeat.c.lived)
    return bool(connection.execute(resting).scalar_one())


def behind(connection: Connection, clock: Clock) -> timedelta:
    """Return how far a clock is behind the one that counts: the database server's, if it has one.

    So bridges whose machines disagree lease and retry by the same time.
    """
    if clock.alone or not postgres.is_postgres(connection):
        return clock.machine() - clock()
    before = clock()
    truth = postgres.read_time(connection)
    return clocks.behind(before, clock(), truth)


def jump_of(kept: Kept, late: timedelta, known: timedelta) -> timedelta:
    """Return how far the clock was set, and the database's times were not yet moved for it.

    Of several bridges, the first to see it moves them; `known` is what ours knew of that.
    """
    jump = late - (kept.moved - known)
    return jump if abs(jump) >= JUMP else ZERO


def jump_of_first(kept: Kept, now: datetime) -> timedelta:
    """Return how far the clock was set back while no bridge ran, at least; ahead can't be told."""
    return now - kept.beat_at if kept.beat_at - now >= JUMP else ZERO


def _rest(
    kept: Kept, jump: timedelta, since: timedelta, age: timedelta, *, first: bool
) -> timedelta:
    """Return for how long nothing is to be removed because of its age."""
    away = first and kept.beat_at > _NEVER and since >= FAR
    if not away and jump < FAR:
        return ZERO
    return _REST_OF_YOUNG if age < _YOUNG else _REST


def lived_between(awake: timedelta, since: timedelta) -> timedelta:
    """Return what to add to the time lived: what went by for us, but no second of it twice.

    `since` is the time since the last beat of any bridge.
    """
    return max(ZERO, min(awake, since, clocks.MOST))
