"""Counts of what is open, read without counting: `counting.py` has the database keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, func, select

from bridge.store.statements import Statement
from bridge.store.tables import tallies

# A count is for one state and one name: of a delivery its state and endpoint, of an arrival in
# quarantine `quarantine` and the reason. What is at rest is not counted.
PARKED: Final = "parked"  # of a pending delivery that waits behind another of its conversation
Counts = Mapping[tuple[str, str], int]

_READ: Final = Statement(
    select(tallies.c.state, tallies.c.name, func.sum(tallies.c.count)).group_by(
        tallies.c.state, tallies.c.name
    )
)


def read_counts(connection: Connection) -> Counts:
    """Return the counts that the database keeps, those that are not zero."""
    found = _READ.select(connection)
    return {(state, name): int(count) for state, name, count in found if count}
