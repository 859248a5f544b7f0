"""Each endpoint's deliveries are numbered from now on.

A column is added, an empty index and two empty tables are made; no table is rewritten. What was
written before has no number.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NUMBERED = sa.text("sequence IS NOT NULL")


def upgrade() -> None:
    """Add the column with its index, and the tables of the counters and the deleted numbers."""
    op.add_column("deliveries", sa.Column("sequence", sa.BigInteger))
    op.create_index(
        "deliveries_sequence",
        "deliveries",
        ["endpoint", "sequence"],
        unique=True,
        sqlite_where=_NUMBERED,
        postgresql_where=_NUMBERED,
    )
    op.create_table(
        "sequences",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "deleted_numbers",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refuse: an older program would write deliveries without a number among the others."""
    raise NotImplementedError("the numbers cannot be undone: restore the backup")
