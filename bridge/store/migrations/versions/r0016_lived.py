"""Bridges count what they have lived, by which deliveries' schedules end, and notice a set clock.

Three columns of the heartbeat's one row are added; no other table is rewritten. The time lived goes
on from the last heartbeat, so that open deliveries have waited for as long as they had until then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for name in ("lived", "moved", "rest_until"):
        column = sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        op.add_column("heartbeat", column)
    op.execute("UPDATE heartbeat SET lived = beat_at")


def downgrade() -> None:
    """Remove the columns; open deliveries' schedules began as long before the last heartbeat."""
    kept = "(SELECT {} FROM heartbeat WHERE id = 1)"
    lived, beat_at = kept.format("lived"), kept.format("beat_at")
    op.execute(
        f"UPDATE deliveries SET schedule_from = CASE WHEN schedule_from > {lived} "  # noqa: S608
        f"THEN {beat_at} ELSE schedule_from - {lived} + {beat_at} END "
        "WHERE state IN ('pending', 'held', 'dead')"
    )
    for name in ("lived", "moved", "rest_until"):
        op.drop_column("heartbeat", name)
