"""Flips single bits in a database and in its log: nothing may go out altered, or be lost unseen.

    python -m benchmarks.flips [--flips 200] [--seed N] [--checks off]

A ledger is filled, and its files are copied while it is open: that is what a kill leaves. In a copy
one bit is flipped, in the database's file or in its log; then the daemon's store opens it, takes
what is due, and it is audited. `altered` counts the flips after which something was claimed that
differs from what was stored, and `unseen` those that changed any value in the file, or lost or
changed a mail, a message or an event by the log, and neither the opening, a claim nor the audit
said so. A damaged log may also lose the last attempts: those are made again under the same id,
and counted as `repeated`; `history` counts flips that only changed when something was or will
be tried, or what is told of an attempt, unseen. With `--checks off` the checksums, the comparison
with the indexes and the number of what was acknowledged are left out: that must lose.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from bridge.errors import BridgeError
from bridge.model import RetryAt
from bridge.store import Store
from bridge.store.audit import Audit, AuditReport
from bridge.store.damage import list_damage
from bridge.store.witness import SUFFIX
from tests.store.making import (
    START,
    attempt,
    identity,
    ignored,
    opened,
    plan,
    sms,
    sqlite_settings,
    unreadable,
)

MAILS: Final = 60
FILES: Final = {"database": "", "log": "-wal"}
_STORED: Final = ("arrivals", "messages", "events")
_TABLES: Final = (*_STORED, "deliveries", "attempts", "tallies", "sequences", "endpoints")
# What only tells of the past, or when the next try is: no rule can tell a wrong time from a right.
_HISTORY: Final = frozenset(
    {"step", "schedule_from", "not_before", "changed_at", "created_at", "attempts", "started_at"}
    | {"duration", "error", "detail", "answer", "reparsed_at", "provider", "lease_lost", "failover"}
    | {"sent"}
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A filled database as a kill leaves it, and what is in it."""

    folder: Path
    rows: Mapping[str, Any]
    events: Mapping[str, bytes]


async def fill(folder: Path) -> Ledger:
    """Fill a database, and copy it with all of it in its file, and with half of it in its log."""
    made = folder / "made"
    made.mkdir()
    settings = sqlite_settings(made / "bridge.db")
    async with opened(settings) as store:
        for number in range(MAILS):
            if number == MAILS // 2:
                with closing(sqlite3.connect(made / "bridge.db")) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            body = f"Your code is {number:06}. " + "It is valid for ten minutes. " * (number % 5)
            known = identity(f"{number:06}", email=f"M{number}")
            await store.ingest(sms(known, plan("crm", "erp"), body=body))
        await store.ingest(unreadable(raw=b"What nobody can read. " * 40))
        await store.ingest(ignored())
        for claim in await store.claim("erp", 9):
            retried = claim.delivery_id % 2
            await store.record(attempt(claim, RetryAt(START, 1) if retried else None))
        _copy(made, folder / "log")
        with closing(sqlite3.connect(made / "bridge.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _copy(made, folder / "database")
    rows = _read(folder / "log", folder / "read")
    return Ledger(folder, rows, {row["id"]: row["body"] for row in rows["events"].values()})


def _copy(made: Path, to: Path) -> None:
    to.mkdir()
    for suffix in ("", "-wal", SUFFIX):
        shutil.copy(made / f"bridge.db{suffix}", to / f"bridge.db{suffix}")


def _read(folder: Path, copy: Path) -> Mapping[str, Any]:
    """Read all rows from a copy, each table from its own pages and not from an index."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with closing(sqlite3.connect(copy / "bridge.db")) as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes  # any byte can be read
        found = {}
        for table in _TABLES:
            rows = connection.execute(f"SELECT rowid AS row, * FROM {table} NOT INDEXED")
            found[table] = {row["row"]: _plain(dict(row)) for row in rows}
        return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("id"), bytes):
        with suppress(UnicodeDecodeError):
            row["id"] = row["id"].decode()
    return row


async def flip(ledger: Ledger, file: str, rng: random.Random, work: Path) -> Counter[str]:
    """Flip one bit of a copy, and see what becomes of it."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ledger.folder / file, work)
    path = work / f"bridge.db{FILES[file]}"
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content) * 8)
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(content)
    try:
        before = _read(work, work.with_name("look"))
    except (sqlite3.Error, TypeError):
        before = None  # SQLite itself sees it, at the latest when it comes to that page
    seen, altered, claimed = False, 0, 0
    try:
        async with opened(sqlite_settings(work / "bridge.db")) as store:
            for endpoint in ("crm", "erp"):
                for claim in await store.claim(endpoint, 2 * MAILS):
                    claimed += 1
                    altered += ledger.events.get(claim.event.id) != claim.event.body
            seen |= bool(await store.read(list_damage))
            seen |= not (await _audited(store)).ok
    except (BridgeError, sqlite3.Error):
        seen = True
    tables = _TABLES if file == "database" else _STORED
    changed = before is None or any(ledger.rows[each] != before[each] for each in tables)
    history = before is not None and all(
        _without_history(ledger.rows[each]) == _without_history(before[each]) for each in tables
    )
    repeated = before is not None and ledger.rows["attempts"] != before["attempts"]
    return Counter(
        flips=1,
        harmless=not changed,
        seen=seen,
        altered=altered > 0,
        unseen=changed and not seen and not history,
        history=changed and not seen and history,
        repeated=repeated and not changed,
    )


def _without_history(rows: Mapping[int, Mapping[str, Any]]) -> Mapping[int, Mapping[str, Any]]:
    return {
        number: {name: value for name, value in row.items() if name not in _HISTORY}
        for number, row in rows.items()
    }


async def _audited(store: Store) -> AuditReport:
    audit = Audit(acknowledged=await store.acknowledged())
    while not audit.done:
        await store.read(lambda connection: audit.go_on(connection, START))
    return audit.report()


@contextmanager
def without_checks() -> Iterator[None]:
    """Take the defences away, for the control."""
    with (
        mock.patch("bridge.store.due.Due.altered", False),
        mock.patch("bridge.store.unaltered._differs", return_value=False),
        mock.patch("bridge.store.audit.not_in_index", return_value=[]),
        mock.patch("bridge.store.witness.Witness.read", return_value=None),
    ):
        yield


async def run(flips: int, seed: int) -> Mapping[str, Counter[str]]:
    """Flip so many bits of each file."""
    with tempfile.TemporaryDirectory(prefix="smsbridge-flips-") as folder:
        ledger = await fill(Path(folder))
        found: dict[str, Counter[str]] = {file: Counter() for file in FILES}
        for file in FILES:
            for number in range(flips):
                rng = random.Random(f"{seed}:{file}:{number}")
                found[file] += await flip(ledger, file, rng, Path(folder) / "work")
        return found


def main() -> int:
    """Run, print, and return 1 if a flip went out or was not seen."""
    parser = argparse.ArgumentParser(description="Flips bits in a database and in its log.")
    parser.add_argument("--flips", type=int, default=200, help="of each file")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--checks", choices=("on", "off"), default="on")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}, checks {wanted.checks}")
    if wanted.checks == "off":
        with without_checks():
            found = asyncio.run(run(wanted.flips, wanted.seed))
    else:
        found = asyncio.run(run(wanted.flips, wanted.seed))
    for file, counts in found.items():
        words = ", ".join(
            f"{counts[name]} {name}"
            for name in ("flips", "harmless", "seen", "repeated", "history", "altered", "unseen")
        )
        print(f"{file}: {words}", flush=True)
    return int(any(counts["altered"] or counts["unseen"] for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
