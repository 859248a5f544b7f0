"""An audit goes part by part beside a busy daemon, and later from where it was interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.config.load import load
from bridge.errors import NotPossible
from bridge.operations.audit import audit_ledger
from bridge.operations.documents import Document
from bridge.store import Store
from tests.cli.conftest import Filled, Ran

NOW = datetime(2026, 4, 8, 14, 30, tzinfo=UTC)


class Interrupted(Exception):
    """What Ctrl-C is to a command."""


async def audited(config: Path, mark: Path, parts: int) -> Document:
    """Audit, and be interrupted after so many parts; 0: never."""
    shown: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        shown.append((done, total))
        assert done <= total
        if len(shown) == parts:
            raise Interrupted

    store = await Store.beside(load(config).store, owner="test", clock=Clock(lambda: NOW))
    try:
        return await audit_ledger(store, lambda: NOW, progress, mark)
    finally:
        await store.close()


async def test_an_interrupted_audit_goes_on_where_it_was(filled: Filled, tmp_path: Path) -> None:
    """However often: each row is judged once, what was found stays found, and the mark ends."""
    with closing(sqlite3.connect(filled.config.parent / "bridge.db")) as database:
        database.execute("UPDATE arrivals SET reason = NULL WHERE outcome = 'quarantine'")
        database.commit()
    whole = await audited(filled.config, tmp_path / "whole", 0)
    assert not whole["ok"]
    mark = tmp_path / "mark"
    for _ in range(3):
        with pytest.raises(Interrupted):
            await audited(filled.config, mark, 2)
        assert mark.stat().st_mode & 0o777 == 0o600
    report = await audited(filled.config, mark, 0)
    (note,) = report.pop("notes")
    assert "rows were audited before, in a run that began 2026-04-08T14:30:00Z" in note
    assert not whole.pop("notes")
    assert report == whole
    assert not mark.exists()


async def test_the_mark_of_another_store_is_refused(filled: Filled, tmp_path: Path) -> None:
    """Nothing is called audited that was not."""
    mark = tmp_path / "mark"
    with pytest.raises(Interrupted):
        await audited(filled.config, mark, 1)
    mark.write_text(mark.read_text().replace("bridge.db", "other.db"))
    with pytest.raises(NotPossible, match=r"other\.db"):
        await audited(filled.config, mark, 0)
    mark.write_text("{}")
    with pytest.raises(NotPossible, match="no mark"):
        await audited(filled.config, mark, 0)


def test_the_command_keeps_its_mark(
    smsbridge: Callable[..., Ran], filled: Filled, tmp_path: Path
) -> None:
    """A whole audit leaves no file; one that cannot be written is said, and audits nothing."""
    mark = tmp_path / "mark"
    assert smsbridge("audit", "--mark", mark, "-c", filled.config).code == 0
    assert not mark.exists()
    ran = smsbridge("audit", "--mark", tmp_path / "none" / "mark", "-c", filled.config)
    assert ran.code == 2
    assert "cannot be written" in ran.err
