"""Bridges count what they have lived, by which deliveries' schedules end, and notice a set clock.

Columns are added; of the deliveries, only those that are open are written. The time lived goes on
from the last heartbeat, so that they have waited for as long as they had until then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


_OF_HEARTBEAT = ("lived", "moved", "rest_until")


def upgrade() -> None:
    """Add the columns."""
    for table, names in (("heartbeat", _OF_HEARTBEAT), ("deliveries", ("lived_from",))):
        for name in names:
            column = sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
            op.add_column(table, column)
    op.execute("UPDATE heartbeat SET lived = beat_at")
    op.execute(
        "UPDATE deliveries SET lived_from = schedule_from "
        "WHERE state IN ('pending', 'held', 'dead')"
    )


def downgrade() -> None:
    """Remove the columns: an older program goes by the clock alone."""
    op.drop_column("deliveries", "lived_from")
    for name in _OF_HEARTBEAT:
        op.drop_column("heartbeat", name)
