"""Quarantined arrivals can be discarded, and an endpoint's oldest undelivered delivery is one seek.

A column is added, and an index over what is open; no table is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OPEN = sa.text("state IN ('pending', 'held')")


def upgrade() -> None:
    """Add the reason of a discard and the index of undelivered deliveries."""
    op.add_column("arrivals", sa.Column("discarded_because", sa.Text))
    op.create_index(
        "deliveries_undelivered",
        "deliveries",
        ["endpoint", "id"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def downgrade() -> None:
    """Refuse: an older program does not know what a discarded arrival is."""
    raise NotImplementedError("discarded arrivals cannot be brought back: restore the backup")
