"""The store: one ledger on SQLite or PostgreSQL, in which whatever was acknowledged is.

`Store` is for the daemon (asynchronous, one writer, grouped commits), `Database` for the CLI
beside it; `queries`, `outbox`, `endpoints`, `ingest` and `audit` hold the functions that run on a
Database's connection.
"""

from bridge.store.audit import AuditReport, Check, audit
from bridge.store.database import Database
from bridge.store.endpoints import hold_endpoint, resume_endpoint
from bridge.store.ingest import Ingest, Parsed, ingest_many
from bridge.store.lease import Lease
from bridge.store.mailboxes import LEAD_SECONDS, MailboxRow
from bridge.store.outbox import retry_deliveries
from bridge.store.snapshot import Snapshot
from bridge.store.store import Store

__all__ = [
    "LEAD_SECONDS",
    "AuditReport",
    "Check",
    "Database",
    "Ingest",
    "Lease",
    "MailboxRow",
    "Parsed",
    "Snapshot",
    "Store",
    "audit",
    "hold_endpoint",
    "ingest_many",
    "resume_endpoint",
    "retry_deliveries",
]
