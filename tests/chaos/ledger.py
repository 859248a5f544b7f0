"""What the SQLite ledger says, read beside the daemon and without its code."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.patience import PATIENCE


def count_messages(database: Path) -> int:
    """Count the messages."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0])


def count_deliveries(database: Path) -> dict[str, int]:
    """Count the deliveries by state."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))


def wait_until_delivered(database: Path, number: int) -> None:
    """Wait until this many deliveries are recorded as delivered, and no other is there."""
    deadline = time.monotonic() + PATIENCE
    while (counted := count_deliveries(database)) != {"delivered": number}:
        assert time.monotonic() < deadline, f"not all was delivered and recorded: {counted}"
        time.sleep(0.01)
