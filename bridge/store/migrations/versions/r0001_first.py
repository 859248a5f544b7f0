"""The first tables: messages, events, arrivals, deliveries, attempts, endpoints, heartbeat.

A revision is history: it spells its types out and imports nothing of the program, so that it
makes the same tables for ever.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _messages()
    _arrivals()
    _deliveries()
    op.create_table(
        "endpoints",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("held_reason", sa.Text),
        sa.Column("held_at", sa.BigInteger),
    )
    heartbeat = op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("beat_at", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(heartbeat, [{"id": 1, "owner": "", "beat_at": 0}])


def downgrade() -> None:
    """There is nothing before the first revision."""
    raise NotImplementedError("the first revision cannot be undone: take the backup")


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("bridged_at", sa.BigInteger, nullable=False),
        sa.Column("provider_message_id", sa.Text),
        sa.Column("content_key", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text),
        sa.Column("provider_key", sa.Text),
    )
    op.create_index("messages_content", "messages", ["content_key"])
    _index("messages_email", "messages", ["email_key"], "email_key IS NOT NULL", unique=True)
    _index(
        "messages_provider", "messages", ["provider_key"], "provider_key IS NOT NULL", unique=True
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Text, sa.ForeignKey("messages.id"), primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("planned", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


def _arrivals() -> None:
    op.create_table(
        "arrivals",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_name", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id")),
        sa.Column("provider", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("trust_by", sa.Text),
        sa.Column("trust_detail", sa.Text),
        sa.Column("reparsed_at", sa.BigInteger),
        sa.Column("peer", sa.Text),
        sa.Column("envelope_from", sa.Text),
        sa.Column("recipients", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    _index("arrivals_message", "arrivals", ["message_id"], "message_id IS NOT NULL")
    _index("arrivals_quarantine", "arrivals", ["reason", "id"], "outcome = 'quarantine'")


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("event_id", sa.Text, sa.ForeignKey("events.id"), nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("schedule_from", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("leased_by", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("deliveries_event", "deliveries", ["event_id", "endpoint"], unique=True)
    _index("deliveries_due", "deliveries", ["endpoint", "due_at", "id"], "state = 'pending'")
    _index(
        "deliveries_stopped",
        "deliveries",
        ["state", "endpoint", "id"],
        "state IN ('held', 'dead')",
    )
    op.create_table(
        "attempts",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("delivery_id", _KEY, sa.ForeignKey("deliveries.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("duration", sa.Double, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("lease_lost", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
    op.create_index("attempts_delivery", "attempts", ["delivery_id", "number"], unique=True)


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    """Make a partial index."""
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
