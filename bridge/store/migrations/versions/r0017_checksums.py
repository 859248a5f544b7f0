"""What is stored once and for all gets a checksum, and what was found damaged is noted.

Events, which are signed and sent, get theirs here, a thousand at a time: a row is written again,
about 10 µs each. Arrivals and messages that are there keep none, since their raw bytes may be
gigabytes; they are known as unchecked.
"""

from __future__ import annotations

from zlib import crc32

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_EVENTS = sa.table(
    "events",
    sa.column("id", sa.Text),
    sa.column("message_id", sa.Text),
    sa.column("format", sa.Text),
    sa.column("type", sa.Text),
    sa.column("created_at", sa.BigInteger),
    sa.column("body", sa.LargeBinary),
    sa.column("checksum", sa.BigInteger),
)


def upgrade() -> None:
    """Add the columns and the table, and fill what is sent."""
    for name in ("arrivals", "messages", "events"):
        op.add_column(name, sa.Column("checksum", sa.BigInteger))
    op.create_table(
        "damage",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text),
        sa.Column("first", sa.BigInteger),
        sa.Column("last", sa.BigInteger),
        sa.Column("found_at", sa.BigInteger, nullable=False),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("because", sa.Text),
    )
    connection = op.get_bind()
    change = (
        sa.update(_EVENTS)
        .where(_EVENTS.c.id == sa.bindparam("event"))
        .values(checksum=sa.bindparam("new"))
    )
    last = ""
    while True:
        query = sa.select(_EVENTS).where(_EVENTS.c.id > last).order_by(_EVENTS.c.id)
        found = connection.execute(query.limit(_AT_ONCE)).all()
        if not found:
            return
        rows = [
            {"event": each.id, "new": _checksum(tuple(each[:5]), each.body)}
            for each in found
            if each.body  # else it was purged
        ]
        if rows:
            connection.execute(change, rows)
        last = found[-1].id


def downgrade() -> None:
    """Refuse: what was found damaged would be forgotten, and sent."""
    raise NotImplementedError("checksums cannot be undone: restore the backup")


def _checksum(values: tuple[object, ...], body: bytes) -> int:
    return crc32(body, crc32(ascii(values).encode("ascii")))
