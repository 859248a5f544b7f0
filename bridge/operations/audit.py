"""Verifies that no message is unaccounted for: part by part, and later from where it stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from bridge import __version__
from bridge.errors import NotPossible
from bridge.operations.documents import Document, when
from bridge.store import Store
from bridge.store.audit import Audit, rows_to_audit
from bridge.store.indexes import check_files

Progress = Callable[[int, int], None]  # rows that were judged, and about how many there are

_PRIVATE: Final = 0o600
_NICE: Final = 19


@dataclass(slots=True)
class Mark:
    """How far an audit has come, and of what: another store's must not be gone on with."""

    store: str
    version: str
    began: datetime
    rows: int
    audit: Audit


_MARK: Final = TypeAdapter(Mark)


async def audit_ledger(
    store: Store,
    clock: Callable[[], datetime],
    progress: Progress = lambda done, total: None,
    file: Path | None = None,
    *,
    deep: bool = False,
) -> Document:
    """Audit the whole ledger: {"ok", "checks": [{"name", "ok", "detail"}], "totals", "notes"}.

    With `file` it goes on where an audit with that file was interrupted, and removes the file at
    the end. `deep` lets the database check its own files, too. Raises NotPossible if the file
    cannot be used.
    """
    mark = Mark(store.name, __version__, clock(), 0, Audit())
    notes = []
    if file is not None and (kept := await asyncio.to_thread(_read, file, mark)) is not None:
        mark = kept
        notes = [f"{mark.rows} rows were audited before, in a run that began {when(mark.began)}"]
    # Before any row is read: what is acknowledged from now on is no matter of this audit.
    mark.audit.acknowledged = await store.acknowledged()
    total = await store.read(rows_to_audit)
    while not mark.audit.done:
        mark.rows += await store.read(partial(_go_on, mark.audit, clock()))
        if file is not None:
            await asyncio.to_thread(_write, file, mark)
        progress(mark.rows, max(total, mark.rows))
    if file is not None:
        await asyncio.to_thread(file.unlink)
    report = mark.audit.report()
    checks = [*report.checks, *([await store.read(check_files)] if deep else [])]
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "totals": dict(report.totals),
        "notes": [*notes, *report.notes],
    }


def _go_on(audit: Audit, now: datetime, connection: Connection) -> int:
    """Judge the next part, after all who want the processor: a daemon's mail comes first."""
    # On Linux this is the thread's own, of a store that only this command has open.
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    return audit.go_on(connection, now)


def _read(file: Path, begun: Mark) -> Mark | None:
    """Return what was kept; None if there is no file."""
    try:
        mark = _MARK.validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotPossible(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise NotPossible(f"{file} is no mark of an audit; name another file") from None
    if (mark.store, mark.version) != (begun.store, begun.version):
        raise NotPossible(
            f"{file} is of an audit of {mark.store} by smsbridge {mark.version}; delete it to "
            "begin anew"
        )
    return mark


def _write(file: Path, mark: Mark) -> None:
    """Replace the file in one step, so that it is whole whenever the command ends."""
    partial_file = file.with_name(f"{file.name}.partial")
    try:
        partial_file.touch(_PRIVATE)
        partial_file.write_bytes(_MARK.dump_json(mark))
        partial_file.replace(file)
    except OSError as error:
        raise NotPossible(f"{file} cannot be written: {error.strerror}") from None
