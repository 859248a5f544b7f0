"""Would this arrival bring anything new? Asked of the ledger without writing to it."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select

from bridge.store.ingest import Ingest, Parsed
from bridge.store.known import KnownMessages
from bridge.store.tables import arrivals


def is_known(connection: Connection, item: Ingest) -> bool:
    """Tell whether the ledger has the message already, or these very bytes without a message."""
    if isinstance(item.result, Parsed):
        identity = item.result.identity
        if KnownMessages.load(connection, [identity]).find(identity) is not None:
            return True
    digest = hashlib.sha256(item.arrival.raw).digest()
    found = select(arrivals.c.id).where(arrivals.c.digest == digest).limit(1)
    return connection.execute(found).first() is not None
