"""Backs the database up beside the daemon, and restores a backup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from bridge.config.settings import StoreSettings
from bridge.operations.documents import Document
from bridge.store import backup as copying
from bridge.store.backup import Copy, Progress


async def backup(
    settings: StoreSettings, target: Path, clock: Callable[[], datetime], progress: Progress
) -> Document:
    """Copy the database into a new file, checked and audited.

    Returns {"ok", "file", "bytes", "audited", "failed": names of checks, "totals"}; not "ok" if the
    audit fails: the copy is as good as the database then. `progress` gets pages done and in all.
    Raises NotPossible or StoreError.
    """
    made = await asyncio.to_thread(partial(copying.backup, settings, target, clock, progress))
    return _document(made)


async def restore(
    settings: StoreSettings,
    source: Path,
    clock: Callable[[], datetime],
    progress: Progress,
    *,
    replace: bool = False,
) -> Document:
    """Put a backup in the database's place, audited before; no daemon may run.

    Returns what `backup` does, and "kept": where the former database is, or null. It is not "ok" if
    damage is noted in the backup that nobody has accepted. Raises
    NotPossible or StoreError; the database is as it was then.
    """
    made, kept = await asyncio.to_thread(
        partial(copying.restore, settings, source, clock, progress, replace=replace)
    )
    return {**_document(made), "kept": None if kept is None else str(kept)}


def _document(made: Copy) -> Document:
    report = made.report
    failed = [] if report is None else [check.name for check in report.checks if not check.ok]
    return {
        "ok": not failed,
        "file": str(made.path),
        "bytes": made.size,
        "audited": report is not None,
        "failed": failed,
        "totals": {} if report is None else dict(report.totals),
    }
