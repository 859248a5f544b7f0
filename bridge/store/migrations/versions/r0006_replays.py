"""An event can be delivered to an endpoint once more, by a replay.

A column is added and an index is built anew over all deliveries, some seconds for a million; no
table is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table of replays, and the replay to a delivery's key."""
    op.create_table(
        "replays",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("selection", sa.Text, nullable=False),
        sa.Column("rate", sa.Double, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("written", sa.Integer, nullable=False),
        sa.Column("skipped", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.add_column(
        "deliveries", sa.Column("replay", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.drop_index("deliveries_event", "deliveries")
    op.create_index(
        "deliveries_event", "deliveries", ["event_id", "endpoint", "replay"], unique=True
    )


def downgrade() -> None:
    """Refuse: an older program takes a second delivery for damage."""
    raise NotImplementedError("replayed deliveries cannot be undone: restore the backup")
