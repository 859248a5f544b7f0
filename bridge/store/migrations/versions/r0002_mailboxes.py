"""Mailboxes: how far each has been read, who reads it, and where an arrival lay in it.

Columns are added, never a table rewritten: it takes no time and no space, however many arrivals
there are. Those that are there came by SMTP and keep NULL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the places, the digests and the table of cursors and leases."""
    for name, kind in (
        ("mailbox", sa.Text),
        ("folder", sa.Text),
        ("uidvalidity", sa.BigInteger),
        ("uid", sa.BigInteger),
        ("digest", sa.LargeBinary),
    ):
        op.add_column("arrivals", sa.Column(name, kind))
    _index("arrivals_place", ["mailbox", "folder", "uidvalidity", "uid"], "mailbox IS NOT NULL")
    _index("arrivals_digest", ["digest"], "digest IS NOT NULL")
    op.create_table(
        "mailboxes",
        sa.Column("mailbox", sa.Text, primary_key=True),
        sa.Column("folder", sa.Text, primary_key=True),
        sa.Column("uidvalidity", sa.BigInteger),
        sa.Column("uid", sa.BigInteger),
        sa.Column("horizon", sa.BigInteger),
        sa.Column("synced_at", sa.BigInteger),
        sa.Column("leader", sa.Text),
        sa.Column("led_until", sa.BigInteger),
    )


def downgrade() -> None:
    """Refuse: an older program would read every mailbox from its beginning."""
    raise NotImplementedError("mailboxes cannot be taken out again: take the backup")


def _index(name: str, columns: list[str], where: str) -> None:
    """Make a partial index on the arrivals."""
    op.create_index(
        name, "arrivals", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
