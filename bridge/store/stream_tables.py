"""The tables of the endpoints' streams: what is counted beside the deliveries themselves."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table

from bridge.store.tables import metadata
from bridge.store.types import Instant, Key, SafeText

__all__ = ["deleted_numbers", "digests", "metadata", "sequences"]

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
