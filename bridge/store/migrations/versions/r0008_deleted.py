"""What retention deletes for good is counted.

An empty table is added; nothing else changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of counts."""
    op.create_table(
        "deleted",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refuse: an older program would take what was deleted for a loss."""
    raise NotImplementedError("the counts cannot be undone: restore the backup")
