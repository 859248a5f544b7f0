"""Replays: orders to deliver messages once more, to an endpoint that had them or a new one.

An order is a row, and so is how far it has come: it goes on after a restart, and of several bridges
on one database each step is made by one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from bridge.errors import NotFound, NotPossible
from bridge.model import DeliveryState, Event, PlannedDelivery
from bridge.store import postgres, rows
from bridge.store.emptying import UNDELIVERED
from bridge.store.endpoints import held_endpoints
from bridge.store.lease import UNBEGUN
from bridge.store.search import ALL, MessageFilter
from bridge.store.sequences import Sequences
from bridge.store.tables import arrivals, deliveries, events, messages, replays

RUNNING: Final = "running"
DONE: Final = "done"
CANCELLED: Final = "cancelled"
_REPLAY: Final = "replay"  # the kind of these rows
_TIMES: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are replayed: those that match the filter, of the named ones if any are."""

    ids: tuple[str, ...] = ()
    filter: MessageFilter = ALL

    @property
    def is_empty(self) -> bool:
        """Whether nothing is named, so that it would be all messages."""
        return not self.ids and self.filter == ALL

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on messages joined with the arrivals that brought them."""
        if self.ids:
            yield messages.c.id.in_(self.ids)
        yield from self.filter.conditions()

    def to_json(self) -> str:
        """Serialise, to be stored."""
        named = {name: value for name, value in asdict(self.filter).items() if value}
        for name in _TIMES:
            if name in named:
                named[name] = named[name].isoformat()
        return json.dumps({"ids": self.ids, **named} if self.ids else named)

    @classmethod
    def from_json(cls, stored: str) -> Selection:
        """Parse what `to_json` wrote."""
        named = json.loads(stored)
        ids = tuple(named.pop("ids", ()))
        for name in _TIMES:
            if name in named:
                named[name] = datetime.fromisoformat(named[name])
        if "state" in named:
            named["state"] = DeliveryState(named["state"])
        return cls(ids, MessageFilter(**named))


@dataclass(frozen=True, slots=True)
class Replay:
    """An order and how far it has come: all arrivals up to `position` of `last` are done."""

    id: int
    endpoint: str
    selection: Selection
    rate: float  # deliveries a second
    position: int
    last: int
    written: int  # deliveries
    skipped: int  # messages that match and were not replayed
    state: str
    created_at: datetime
    changed_at: datetime
    kind: str
    who: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A message that is replayed, with its event in the endpoint's format."""

    message_id: str
    event: Event
    plan: PlannedDelivery


def newest_arrival(connection: Connection) -> int:
    """Return the id of the newest arrival; 0 if there is none."""
    return int(connection.execute(select(func.coalesce(func.max(arrivals.c.id), 0))).scalar_one())


def order(
    connection: Connection, endpoint: str, selection: Selection, rate: float, now: datetime
) -> int:
    """Order a replay of what has arrived so far; return its id. Needs a write transaction."""
    ordered = connection.execute(
        insert(replays).values(
            endpoint=endpoint, selection=selection.to_json(), rate=rate, position=0,
            last=newest_arrival(connection), written=0, skipped=0, state=RUNNING, created_at=now,
            changed_at=now,
        )
    )  # fmt: skip
    key = ordered.inserted_primary_key
    assert key is not None
    return int(key[0])


def list_replays(connection: Connection, *, running: bool = False) -> list[Replay]:
    """List replays, newest first; `running`: only those that have not ended."""
    query = select(replays).where(replays.c.kind == _REPLAY).order_by(replays.c.id.desc())
    if running:
        query = query.where(replays.c.state == RUNNING)
    return [
        Replay(**dict(row) | {"selection": Selection.from_json(row["selection"])})
        for row in connection.execute(query).mappings()
    ]


def cancel(connection: Connection, replay_id: int, now: datetime) -> None:
    """Cancel a running replay; what it ordered so far is delivered.

    Raises NotFound, or NotPossible if it has ended. Needs a write transaction.
    """
    found = next((each for each in list_replays(connection) if each.id == replay_id), None)
    if found is None:
        raise NotFound(f"there is no replay {replay_id}")
    if found.state != RUNNING:
        raise NotPossible(f"replay {replay_id} is {found.state}")
    _change(connection, found, now, state=CANCELLED)


def undelivered_to(connection: Connection, ids: Collection[str], endpoint: str) -> set[str]:
    """Return those of the messages with a pending, held or dead delivery to the endpoint."""
    query = (
        select(events.c.message_id)
        .join(deliveries, deliveries.c.event_id == events.c.id)
        .where(
            events.c.message_id.in_(ids),
            deliveries.c.endpoint == endpoint,
            deliveries.c.state.in_(UNDELIVERED),
        )
    )
    return {each for each in connection.execute(query).scalars() if each is not None}


def advance(
    connection: Connection, replay: Replay, new: Sequence[Replayed], position: int, now: datetime,
    *, skipped: int,
) -> int:  # fmt: skip
    """Write deliveries of a replay and that it has come to `position`; return how many.

    Does nothing if the replay isn't any more as it was read: another bridge was faster, or it was
    cancelled. Messages that were purged meanwhile are skipped. Needs a write transaction.
    """
    postgres.lock_ingest(connection)  # before any other lock
    current = select(replays.c.position, replays.c.state).where(replays.c.id == replay.id)
    if connection.execute(current.with_for_update()).one() != (replay.position, RUNNING):
        return 0
    postgres.lock_holds(connection, change=False)
    ids = [each.message_id for each in new]
    whole = select(messages.c.id).where(messages.c.id.in_(ids), messages.c.purged_at.is_(None))
    alive = set(connection.execute(whole).scalars())
    writable = [each for each in new if each.message_id in alive]
    _write_events(connection, writable, now)
    held = held_endpoints(connection).get(replay.endpoint)
    state = DeliveryState.PENDING if held is None else DeliveryState.HELD
    if writable:
        sequences = Sequences(connection)
        connection.execute(
            insert(deliveries),
            [
                {
                    "event_id": each.event.id, "endpoint": replay.endpoint, "state": state,
                    "reason": held, "attempts": 0, "step": 0, "schedule_from": now,
                    "lived_from": UNBEGUN,
                    "due_at": now, "leased_by": None, "created_at": now, "changed_at": now,
                    "replay": replay.id, "conversation": each.plan.conversation,
                    "sequence": sequences.next(replay.endpoint),
                }
                for each in writable
            ],
        )  # fmt: skip
        sequences.write()
    _change(
        connection,
        replace(replay, position=position),
        now,
        state=DONE if position >= replay.last else RUNNING,
        written=replay.written + len(writable),
        skipped=replay.skipped + skipped + len(new) - len(writable),
    )
    return len(writable)


def _write_events(connection: Connection, new: Sequence[Replayed], now: datetime) -> None:
    """Write the events of those messages that have never gone out in this format."""
    wanted = [each.event.id for each in new]
    known = set(connection.execute(select(events.c.id).where(events.c.id.in_(wanted))).scalars())
    if missing := [each for each in new if each.event.id not in known]:
        connection.execute(
            insert(events), [rows.event(each.event, each.message_id, 0, now) for each in missing]
        )


def _change(
    connection: Connection, replay: Replay, now: datetime, *, state: str, **counts: int
) -> None:
    values: dict[str, object] = {"position": replay.position, "state": state, "changed_at": now}
    if state != RUNNING:
        # A number or a text is somebody's own, and no longer needed.
        least = replace(replay.selection.filter, number=None, text=None)
        values["selection"] = replace(replay.selection, filter=least).to_json()
    connection.execute(
        update(replays).where(replays.c.id == replay.id).values(values | dict(counts))
    )
