"""Attempts say whether their request had begun to be sent.

A column is added; no table is rewritten. Of those that were made before, any may have been sent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "attempts", sa.Column("sent", sa.Boolean, nullable=False, server_default=sa.true())
    )


def downgrade() -> None:
    """Remove the column: nothing else depends on it."""
    op.drop_column("attempts", "sent")
