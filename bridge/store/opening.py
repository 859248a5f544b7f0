"""What the daemon does first with the database that it has opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from bridge import logs
from bridge.model import Order
from bridge.store import outbox
from bridge.store.damage import note_missing
from bridge.store.database import Database
from bridge.store.endpoints import match_config
from bridge.store.heart import Heart

log = logs.logger("store")


def take_up(
    database: Database,
    heart: Heart,
    lease: timedelta,
    owner: str,
    endpoints: Sequence[str],
    orders: Mapping[str, Order],
) -> None:
    """Take up what a dead predecessor left, and say what is missing of what it acknowledged.

    The first heartbeat comes before all else: it sets the clock.

    Raises StoreFull and StoreUnavailable.
    """
    with database.begin() as connection:
        first = heart.beat(connection, lease, first=True)
        now = first.now
        dead = owner if database.file is None else None
        freed = outbox.free_leases(connection, dead, now)
        match_config(connection, endpoints, now, orders)
        missing = note_missing(connection, database.acknowledged(), now)
    heart.committed(first)
    if freed:
        log.info("store.leases_freed", deliveries=freed)
    if missing is not None:
        log.error("store.mails_missing", detail=missing)
    if database.file is not None and database.file.readable_by_everybody:
        log.warning(
            "store.readable_by_everybody",
            detail=f"{database.name} holds texts and numbers: chmod 600 it",
        )
