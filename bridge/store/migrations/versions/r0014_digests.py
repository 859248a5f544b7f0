"""Endpoints may get digests of their streams.

An empty table with two indexes is added, and an empty index; nothing is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ERASED = sa.text("state = 'filtered' AND sequence IS NOT NULL")


def upgrade() -> None:
    """Add the table of digests, and the index of what was erased."""
    op.create_table(
        "digests",
        sa.Column(
            "delivery_id",
            _KEY,
            sa.ForeignKey("deliveries.id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.create_index("digests_number", "digests", ["endpoint", "number"], unique=True)
    op.create_index("digests_due", "digests", ["endpoint", "due_at"], unique=True)
    op.create_index(
        "deliveries_erased",
        "deliveries",
        ["endpoint", "id"],
        sqlite_where=_ERASED,
        postgresql_where=_ERASED,
    )


def downgrade() -> None:
    """Refuse: an older program would take a digest for an event that lost its message."""
    raise NotImplementedError("digests cannot be undone: restore the backup")
