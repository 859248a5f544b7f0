"""Verifies that no message is unaccounted for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial

from bridge.operations.documents import Document
from bridge.store import Store, audit


async def audit_ledger(store: Store, clock: Callable[[], datetime]) -> Document:
    """Audit the whole ledger: {"ok", "checks": [{"name", "ok", "detail"}], "totals", "notes"}."""
    report = await store.read(partial(audit, now=clock()))
    return {
        "ok": report.ok,
        "checks": [asdict(check) for check in report.checks],
        "totals": dict(report.totals),
        "notes": list(report.notes),
    }
