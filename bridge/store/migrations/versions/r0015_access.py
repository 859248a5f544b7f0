"""API and page: tokens that open them, what was done with them, and answers to give again.

Three empty tables are added; nothing is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "tokens",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_index("tokens_hash", "tokens", ["hash"], unique=True)
    op.create_index(
        "tokens_name", "tokens", ["name"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.create_table(
        "acts",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("way", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("result", sa.Text),
    )
    op.create_table(
        "answers",
        sa.Column("token_id", _KEY, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("answers_at", "answers", ["at"])


def downgrade() -> None:
    """Refuse: an older program would leave tokens behind that nobody can revoke."""
    raise NotImplementedError("tokens cannot be undone: restore the backup")
