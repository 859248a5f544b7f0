"""Deliveries are retried by stored orders, too; messages are found by a whole number.

Three columns are added to the orders, and two indexes are built: a second for a million messages.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and indexes; the orders that are there are replays."""
    op.add_column(
        "replays", sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("'replay'"))
    )
    op.add_column("replays", sa.Column("who", sa.Text))
    op.add_column("replays", sa.Column("why", sa.Text))
    op.create_index("messages_sender", "messages", ["sender"])
    op.create_index("messages_recipient", "messages", ["recipient"])


def downgrade() -> None:
    """Refuse: an older program would take an order to retry for one to replay."""
    raise NotImplementedError("orders to retry cannot be undone: restore the backup")
