"""The result of one check of the audit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the ledger: does it hold, and if not, what breaks it (ids, never texts)."""

    name: str
    ok: bool
    detail: str
