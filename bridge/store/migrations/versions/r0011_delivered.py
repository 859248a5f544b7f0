"""The list of an endpoint's delivered deliveries is found by an index; what is parked is counted.

One index is made of the deliveries that are there: a second or two for a million of them. The
counts and the triggers that keep them are made anew when all revisions have run.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_DELIVERED = sa.text("state = 'delivered'")


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "deliveries_delivered",
        "deliveries",
        ["endpoint", "id"],
        sqlite_where=_DELIVERED,
        postgresql_where=_DELIVERED,
    )


def downgrade() -> None:
    """Refuse: an older program doesn't know what the counts of parked deliveries are."""
    raise NotImplementedError("the counts cannot be undone: restore the backup")
