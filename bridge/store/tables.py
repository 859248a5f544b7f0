"""The tables: what the ledger is made of.

Keys are counted up or begin with the provider's time, so that new rows land at the end of every
index: with random ones 400,000 rows took 3.6 times as long to write. Everything large stands last
in its row, so that SQLite reads past it only when it is asked for.

`migrations/` makes these tables; a test holds the two equal.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    event,
    false,
    text,
    true,
)

from bridge.store.types import ExactText, Instant, Key, SafeText, Strings

metadata: Final = MetaData()
ROWS: Final = "rows"  # of an index's `info`: the condition of the only rows that it holds


@event.listens_for(metadata, "before_create")
def limit_indexes(_metadata: MetaData, connection: Connection, **_more: object) -> None:
    """Give the indexes of some rows their condition, as the connection's database writes it.

    As arguments of the indexes, SQLAlchemy would import both dialects to check them: PostgreSQL's
    takes 2.5 MB of every daemon.
    """
    for table in metadata.sorted_tables:
        for index in table.indexes:
            if ROWS in index.info:
                index.dialect_kwargs[f"{connection.dialect.name}_where"] = text(index.info[ROWS])


messages: Final = Table(
    "messages",
    metadata,
    Column("id", SafeText, primary_key=True),
    Column("provider", SafeText, nullable=False),
    Column("sender", SafeText, nullable=False),
    Column("recipient", SafeText, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("bridged_at", Instant, nullable=False),
    Column("provider_message_id", SafeText),
    Column("content_key", SafeText, nullable=False),
    Column("email_key", SafeText),  # NULL until the message has come by e-mail
    Column("provider_key", SafeText),  # NULL until it has come with the provider's id
    # What events are made from, so that another format, a search or retention needs no JSON.
    Column("utc_offset", Integer),  # seconds east, of `received_at` as the provider gave it
    Column("own_time", Boolean),
    Column("raw_sender", SafeText),
    Column("raw_recipient", SafeText),
    Column("raw_date", SafeText),
    Column("email_message_id", SafeText),
    Column("email_subject", SafeText),
    Column("email_charset", SafeText),  # NULL if it came by HTTP
    Column("sha256", LargeBinary),  # of the raw arrival
    Column("warnings", Strings),
    Column("purged_at", Instant),  # when its text and its events' bodies were removed
    Column("body", ExactText),
    Column("checksum", BigInteger),  # NULL: purged, or older than that column
    Index("messages_content", "content_key"),
    Index("messages_sender", "sender"),
    Index("messages_recipient", "recipient"),
    Index(
        "messages_email",
        "email_key",
        unique=True,
        info={ROWS: "email_key IS NOT NULL"},
    ),
    Index(
        "messages_provider",
        "provider_key",
        unique=True,
        info={ROWS: "provider_key IS NOT NULL"},
    ),
)

# One event for each message and format; its id is what receivers dedupe by (`webhook-id`).
events: Final = Table(
    "events",
    metadata,
    Column("id", SafeText, primary_key=True),
    Column("message_id", SafeText, ForeignKey("messages.id")),
    Column("format", SafeText, nullable=False),
    Column("type", SafeText, nullable=False),
    Column("planned", Integer, nullable=False),  # so many deliveries were written with it
    Column("created_at", Instant, nullable=False),
    Column("body", LargeBinary, nullable=False),  # empty once its message was purged
    Column("checksum", BigInteger),  # NULL once its message was purged
    Index("events_message", "message_id", "format", unique=True),
)

arrivals: Final = Table(
    "arrivals",
    metadata,
    Column("id", Key, primary_key=True),
    Column("source", SafeText, nullable=False),
    Column("source_name", SafeText, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("outcome", SafeText, nullable=False),
    Column("message_id", SafeText, ForeignKey("messages.id")),  # the one it brought or repeats
    Column("provider", SafeText),
    Column("reason", SafeText),
    Column("detail", SafeText),
    Column("trust_by", SafeText),
    Column("trust_detail", SafeText),
    Column("reparsed_at", Instant),
    Column("peer", SafeText),
    Column("envelope_from", SafeText),
    Column("recipients", Strings, nullable=False),
    # Where it lay in a mailbox, for those that were read from one.
    Column("mailbox", SafeText),
    Column("folder", SafeText),
    Column("uidvalidity", BigInteger),
    Column("uid", BigInteger),
    # The raw bytes' SHA-256, where they became no message and may be read once more.
    Column("digest", LargeBinary),
    Column("purged_at", Instant),  # when the raw bytes were removed
    Column("discarded_because", SafeText),  # the operator's words
    Column("raw", LargeBinary, nullable=False),  # empty once purged
    Column("checksum", BigInteger),  # NULL: purged, or older than that column
    Index(
        "arrivals_message",
        "message_id",
        info={ROWS: "message_id IS NOT NULL"},
    ),
    Index(
        "arrivals_quarantine",
        "reason",
        "id",
        info={ROWS: "outcome = 'quarantine'"},
    ),
    Index(
        "arrivals_place",
        "mailbox",
        "folder",
        "uidvalidity",
        "uid",
        info={ROWS: "mailbox IS NOT NULL"},
    ),
    Index(
        "arrivals_digest",
        "digest",
        info={ROWS: "digest IS NOT NULL"},
    ),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("event_id", SafeText, ForeignKey("events.id"), nullable=False),
    Column("endpoint", SafeText, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("reason", SafeText),
    Column("attempts", Integer, nullable=False),  # calls counted, each before it is made
    Column("step", Integer, nullable=False),
    Column("schedule_from", Instant, nullable=False),
    # The same in time lived, by which it ends; UNBEGUN: with its next claim.
    Column("lived_from", Instant, nullable=False, server_default=text("0")),
    # When it may be claimed: the next try, or, while it is leased, the lease's end. One column
    # for both makes a claim one seek in one index, and an expired lease is due by itself.
    Column("due_at", Instant, nullable=False),
    Column("not_before", Instant),  # until when the endpoint asked to wait
    Column("leased_by", SafeText),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("replay", Integer, nullable=False, server_default=text("0")),  # 0: of the message itself
    # Of its sender and recipient, where the endpoint has an order, until it is delivered.
    Column("conversation", BigInteger),
    # Its number in the endpoint's stream; NULL if it is filtered, or older than that column.
    Column("sequence", BigInteger),
    Index("deliveries_event", "event_id", "endpoint", "replay", unique=True),
    Index(
        "deliveries_due",
        "endpoint",
        "due_at",
        "id",
        info={ROWS: "state = 'pending'"},
    ),
    Index(
        "deliveries_stopped",
        "state",
        "endpoint",
        "id",
        info={ROWS: "state IN ('held', 'dead')"},
    ),
    Index(
        "deliveries_undelivered",
        "endpoint",
        "id",
        info={ROWS: "state IN ('pending', 'held')"},
    ),
    # 1 to 3 µs a delivery. Without it, a list of them reads all that wait in front of the first.
    Index(
        "deliveries_delivered",
        "endpoint",
        "id",
        info={ROWS: "state = 'delivered'"},
    ),
    Index(
        "deliveries_conversation",
        "endpoint",
        "conversation",
        "id",
        info={ROWS: "conversation IS NOT NULL AND state IN ('pending', 'held')"},
    ),
    Index(
        "deliveries_in_flight",
        "endpoint",
        "conversation",
        info={ROWS: "conversation IS NOT NULL AND leased_by IS NOT NULL"},
    ),
    Index(
        "deliveries_sequence",
        "endpoint",
        "sequence",
        unique=True,
        info={ROWS: "sequence IS NOT NULL"},
    ),
    # Those that were erased before they were delivered.
    Index(
        "deliveries_erased",
        "endpoint",
        "id",
        info={ROWS: "state = 'filtered' AND sequence IS NOT NULL"},
    ),
    # What a dead process left, found at the start without reading all that waits.
    Index(
        "deliveries_leased",
        "leased_by",
        info={ROWS: "leased_by IS NOT NULL"},
    ),
    Index(
        "deliveries_not_configured",
        "endpoint",
        info={ROWS: "reason = 'endpoint is not in the config'"},
    ),
)

# How many deliveries are open and arrivals in quarantine, by state and by endpoint or reason. Kept
# by triggers (`counting.py`), in the transaction that changes the rows.
tallies: Final = Table(
    "tallies",
    metadata,
    Column("id", Key, primary_key=True),
    Column("state", SafeText, nullable=False),
    Column("name", SafeText, nullable=False),
    Column("count", BigInteger, nullable=False),
    Index("tallies_of", "state", "name"),
)

# Orders to replay messages or to retry deliveries. One that runs goes on where it stopped.
replays: Final = Table(
    "replays",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", SafeText, nullable=False, server_default=text("'replay'")),  # or retry
    Column("endpoint", SafeText, nullable=False),  # "": any, which only a retry has
    Column("selection", SafeText, nullable=False),  # which messages or deliveries, as JSON
    Column("rate", Double, nullable=False),  # deliveries a second
    # Arrivals, or of a retry deliveries, up to this id are done; `last` was the newest one then.
    Column("position", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("written", Integer, nullable=False),  # deliveries
    Column("skipped", Integer, nullable=False),  # those that match and were left as they are
    Column("state", SafeText, nullable=False),  # running, done or cancelled
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("who", SafeText),
    Column("why", SafeText),
)

# How many rows `[retention] records` has deleted of each table, and of each replay's deliveries.
deleted: Final = Table(
    "deleted",
    metadata,
    Column("kind", SafeText, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("delivery_id", Key, ForeignKey("deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("duration", Double, nullable=False),  # seconds
    Column("result", SafeText, nullable=False),  # delivered, retry, held or dead
    Column("lease_lost", Boolean, nullable=False),
    Column("status", Integer),
    Column("error", SafeText),
    Column("detail", SafeText, nullable=False),
    # Whether its request had begun to be sent: else it can't have arrived.
    Column("sent", Boolean, nullable=False, server_default=true()),
    Column("failover", Boolean, nullable=False, server_default=false()),  # made to that URL
    Column("answer", LargeBinary, nullable=False),
    Index("attempts_delivery", "delivery_id", "number", unique=True),
)

endpoints: Final = Table(
    "endpoints",
    metadata,
    Column("name", SafeText, primary_key=True),
    Column("held_reason", SafeText),  # NULL: its deliveries go out
    Column("held_at", Instant),
    Column("held_by", SafeText),  # operator or endpoint
    Column("failing_since", Instant),  # whether or not it is held
    Column("failover_since", Instant),  # while it is failing: its failover URL is in use
    Column("conversation_order", SafeText),  # as configured at the last start or reload
)

# How far each folder of each mailbox has been read, and which bridge reads it.
mailboxes: Final = Table(
    "mailboxes",
    metadata,
    Column("mailbox", SafeText, primary_key=True),
    Column("folder", SafeText, primary_key=True),
    Column("uidvalidity", BigInteger),  # NULL until it was read for the first time
    Column("uid", BigInteger),
    Column("horizon", BigInteger),  # UIDs below it were there before the first start
    Column("synced_at", Instant),
    Column("leader", SafeText),
    Column("led_until", Instant),
)

heartbeat: Final = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("owner", SafeText, nullable=False),
    Column("beat_at", Instant, nullable=False),
    # What the bridges have lived, from any beginning: deliveries' `lived_from` goes by it.
    Column("lived", Instant, nullable=False, server_default=text("0")),
    Column("moved", BigInteger, nullable=False, server_default=text("0")),  # microseconds in all
    Column("rest_until", Instant, nullable=False, server_default=text("0")),  # as `lived`
)
