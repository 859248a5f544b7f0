"""Deliveries may have an order within their conversation.

Columns are added and two empty indexes are made; no table is rewritten. What was written before has
no order.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ORDERED = sa.text("conversation IS NOT NULL AND state IN ('pending', 'held')")
_LEASED = sa.text("conversation IS NOT NULL AND leased_by IS NOT NULL")


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.add_column("deliveries", sa.Column("conversation", sa.BigInteger))
    op.create_index(
        "deliveries_conversation",
        "deliveries",
        ["endpoint", "conversation", "id"],
        sqlite_where=_ORDERED,
        postgresql_where=_ORDERED,
    )
    op.create_index(
        "deliveries_in_flight",
        "deliveries",
        ["endpoint", "conversation"],
        sqlite_where=_LEASED,
        postgresql_where=_LEASED,
    )
    op.add_column("endpoints", sa.Column("conversation_order", sa.Text))


def downgrade() -> None:
    """Refuse: an older program would never send what waits behind another delivery."""
    raise NotImplementedError("an order cannot be undone: restore the backup")
