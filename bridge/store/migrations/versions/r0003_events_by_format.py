"""One event for each message and format; message text and fields in columns of their own.

Until now an event's id was its message's, and the SMS's text was only in the event's JSON. The
columns are filled from there, a thousand messages at a time. No table is rewritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = {
    "utc_offset": sa.Integer,
    "own_time": sa.Boolean,
    "raw_sender": sa.Text,
    "raw_recipient": sa.Text,
    "raw_date": sa.Text,
    "email_message_id": sa.Text,
    "email_subject": sa.Text,
    "email_charset": sa.Text,
    "sha256": sa.LargeBinary,
    "warnings": sa.Text,
    "purged_at": sa.BigInteger,
    "body": sa.Text,
}
_MESSAGES = sa.table(
    "messages",
    sa.column("id", sa.Text),
    sa.column("bridged_at", sa.BigInteger),
    *(sa.column(name, kind) for name, kind in _COLUMNS.items()),
)
_EVENTS = sa.table("events", sa.column("id"), sa.column("body"))


def upgrade() -> None:
    """Add the columns, fill them, and let an event have an id of its own."""
    for name, kind in _COLUMNS.items():
        op.add_column("messages", sa.Column(name, kind))
    op.add_column("arrivals", sa.Column("purged_at", sa.BigInteger))
    # In plain SQL: Alembic makes a constraint of its own of a foreign key, which SQLite cannot add.
    op.execute("ALTER TABLE events ADD COLUMN message_id TEXT REFERENCES messages (id)")
    # SQLite adds no NOT NULL column without a default.
    op.add_column(
        "events", sa.Column("format", sa.Text, nullable=False, server_default="sms.received")
    )
    connection = op.get_bind()
    # Before the default goes: SQLite writes it into a row only when the row is written again.
    connection.execute(sa.text("UPDATE events SET message_id = id, format = 'sms.received'"))
    if connection.dialect.name == "sqlite":
        _edit_sqlite_schema(connection)
    else:
        op.drop_constraint("events_id_fkey", "events", type_="foreignkey")
        op.alter_column("events", "format", server_default=None)
    op.create_index("events_message", "events", ["message_id", "format"], unique=True)
    for rows in _filled(connection):
        connection.execute(_UPDATE, rows)


def downgrade() -> None:
    """Refuse: an older program takes an event's id for its message's."""
    raise NotImplementedError("events of several formats cannot be undone: take the backup")


def _edit_sqlite_schema(connection: sa.Connection) -> None:
    """Drop the foreign key of `events.id`, and the default of `events.format`, in place.

    SQLite has no statement for that, and copying the table would need as much space again. Its
    documentation gives this way for changes that leave what is on disk as it is (lang_altertable,
    "Making Other Kinds Of Table Schema Changes").
    """
    wanted = sa.text("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'events'")
    before = connection.execute(wanted).scalar_one()
    without_key, keys = re.subn(r",\s*FOREIGN KEY\(id\) REFERENCES messages \(id\)", "", before)
    after, defaults = re.subn(r" DEFAULT 'sms\.received'", "", without_key)
    if (keys, defaults) != (1, 1):
        raise RuntimeError("the table events is not as the revisions before this one made it")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema=ON")
    connection.execute(
        sa.text("UPDATE sqlite_schema SET sql = :sql WHERE type = 'table' AND name = 'events'"),
        {"sql": after},
    )
    connection.exec_driver_sql(f"PRAGMA schema_version={version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema=OFF")


_FILLED = {name: kind for name, kind in _COLUMNS.items() if name != "purged_at"}
_UPDATE = (
    sa.update(_MESSAGES)
    .where(_MESSAGES.c.id == sa.bindparam("message"))
    .values({name: sa.bindparam(f"new_{name}") for name in ("bridged_at", *_FILLED)})
)


def _filled(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    """Read the events in the order of their ids, and give the columns of their messages."""
    last = ""
    while True:
        query = sa.select(_EVENTS).where(_EVENTS.c.id > last).order_by(_EVENTS.c.id)
        found = connection.execute(query.limit(_AT_ONCE)).all()
        if not found:
            return
        rows = []
        for each in found:
            # A spoiled event must not keep the daemon from starting: the audit names it.
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                columns = _columns(bytes(each.body)).items()
                rows.append({"message": each.id} | {f"new_{name}": new for name, new in columns})
        if rows:
            yield rows
        last = found[-1].id


def _columns(body: bytes) -> dict[str, Any]:
    data = json.loads(body)["data"]
    raw, email = data["raw"], data["email"] or {}
    offset = datetime.fromisoformat(data["received_at"]).utcoffset() or timedelta()
    bridged_at = datetime.fromisoformat(data["bridged_at"])
    return {
        "bridged_at": (bridged_at - _EPOCH) // timedelta(microseconds=1),
        "utc_offset": offset // timedelta(seconds=1),
        # The id of a message without a time of its own does not begin with it: the key neither.
        "own_time": "time_from_mail" not in data["warnings"],
        "raw_sender": _storable(raw["from"]),
        "raw_recipient": _storable(raw["to"]),
        "raw_date": _storable(raw["date"]),
        "email_message_id": _storable(email.get("message_id")),
        "email_subject": _storable(email.get("subject")),
        "email_charset": _storable(email.get("charset")),
        "sha256": bytes.fromhex(data["sha256"]),
        "warnings": json.dumps(data["warnings"]),
        "body": _exactly(data["body"]),
    }


def _exactly(text: str) -> str:
    """Encode a text that a database cannot hold so that it comes back as it was."""
    if _storable(text) == text and not text.startswith("\x01"):
        return text
    return "\x01" + json.dumps(text)


def _storable(text: str | None) -> str | None:
    """Escape what a database's text cannot hold, as the program does: NUL and lone surrogates."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
