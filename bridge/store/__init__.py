"""The store: one ledger on SQLite or PostgreSQL, in which whatever was acknowledged is.

`Store` is what the rest of the program uses: the named line (`ingest`, `claim`, `record`), and two
doors, `read(fn)` and `change(fn)`, through which the functions of `queries`, `outbox`, `endpoints`,
`mailboxes`, `snapshot` and `audit` run on a connection. `Database` is the one below it.
"""

from bridge.store.database import Database
from bridge.store.endpoints import (
    endpoint_statuses,
    failed_over,
    failing_endpoints,
    hold_endpoint,
    resume_endpoint,
)
from bridge.store.ingest import Ingest, PlannedMessage, ingest_many
from bridge.store.lease import Lease
from bridge.store.mailboxes import LEAD_SECONDS, Mailboxes, MailboxRow
from bridge.store.mend import Longest
from bridge.store.retry import count_retryable, retry_deliveries
from bridge.store.snapshot import Snapshot, take_snapshot
from bridge.store.store import Store

__all__ = [
    "LEAD_SECONDS",
    "Database",
    "Ingest",
    "Lease",
    "Longest",
    "MailboxRow",
    "Mailboxes",
    "PlannedMessage",
    "Snapshot",
    "Store",
    "count_retryable",
    "endpoint_statuses",
    "failed_over",
    "failing_endpoints",
    "hold_endpoint",
    "ingest_many",
    "resume_endpoint",
    "retry_deliveries",
    "take_snapshot",
]
