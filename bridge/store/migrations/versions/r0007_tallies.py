"""What is open is counted as it changes, and what a dead process left is found by an index.

A table and two indexes of almost no rows are added; nothing is rewritten. The counts and the
triggers that keep them are made when all revisions have run.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LEASED = sa.text("leased_by IS NOT NULL")
_NOT_CONFIGURED = sa.text("reason = 'endpoint is not in the config'")


def upgrade() -> None:
    """Add the table and the indexes."""
    op.create_table(
        "tallies",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_index("tallies_of", "tallies", ["state", "name"])
    op.create_index(
        "deliveries_leased",
        "deliveries",
        ["leased_by"],
        sqlite_where=_LEASED,
        postgresql_where=_LEASED,
    )
    op.create_index(
        "deliveries_not_configured",
        "deliveries",
        ["endpoint"],
        sqlite_where=_NOT_CONFIGURED,
        postgresql_where=_NOT_CONFIGURED,
    )


def downgrade() -> None:
    """Refuse: the triggers would go on counting into a table that is gone."""
    raise NotImplementedError("the counts cannot be undone: restore the backup")
