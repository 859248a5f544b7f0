"""Endpoints have states: who holds one is recorded, and since when it is failing.

A delivery has the time until which its endpoint asked to wait. Columns are added; no table is
rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and tell the holds by a 410 from those by an operator."""
    op.add_column("deliveries", sa.Column("not_before", sa.BigInteger))
    op.add_column("endpoints", sa.Column("held_by", sa.Text))
    op.add_column("endpoints", sa.Column("failing_since", sa.BigInteger))
    op.execute(
        "UPDATE endpoints SET held_by = CASE held_reason"
        " WHEN 'the endpoint answered 410 Gone' THEN 'endpoint' ELSE 'operator' END"
        " WHERE held_reason IS NOT NULL"
    )


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("endpoints", "failing_since")
    op.drop_column("endpoints", "held_by")
    op.drop_column("deliveries", "not_before")
