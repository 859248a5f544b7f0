"""Endpoints may have a failover URL, and attempts say whether they were made to it.

Two columns are added; no table is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("endpoints", sa.Column("failover_since", sa.BigInteger))
    op.add_column(
        "attempts", sa.Column("failover", sa.Boolean, nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Remove the columns: an older program uses the endpoints' own URLs."""
    op.drop_column("endpoints", "failover_since")
    op.drop_column("attempts", "failover")
