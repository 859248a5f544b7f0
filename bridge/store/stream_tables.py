"""The tables beside the ledger's own: the endpoints' streams, and what was found damaged."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table

from bridge.store.tables import metadata
from bridge.store.types import Instant, Key, SafeText

__all__ = ["damage", "deleted_numbers", "digests", "metadata", "sequences"]

# The last number that each endpoint's deliveries have (`sequences.py`).
sequences: Final = Table(
    "sequences",
    metadata,
    Column("endpoint", SafeText, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

# The digests of each endpoint, the newest ones.
digests: Final = Table(
    "digests",
    metadata,
    Column("delivery_id", Key, ForeignKey("deliveries.id"), primary_key=True, autoincrement=False),
    Column("endpoint", SafeText, nullable=False),
    Column("number", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),  # when its period began
    Column("after", BigInteger, nullable=False),  # it tells of the numbers from there on
    Column("last", BigInteger, nullable=False),
    Index("digests_number", "endpoint", "number", unique=True),
    Index("digests_due", "endpoint", "due_at", unique=True),
)

# The numbers of deliveries that `[retention] records` has deleted.
deleted_numbers: Final = Table(
    "deleted_numbers",
    metadata,
    Column("endpoint", SafeText, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

# What was found damaged, until an operator accepts it: an event that is not what was stored, or the
# numbers of arrivals that were acknowledged and are missing.
damage: Final = Table(
    "damage",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", SafeText, nullable=False),
    Column("event_id", SafeText),
    Column("first", BigInteger),
    Column("last", BigInteger),
    Column("found_at", Instant, nullable=False),
    Column("accepted_at", Instant),
    Column("because", SafeText),  # the operator's words
)
