"""The recipe of docs/operating.md for PostgreSQL, as it is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bridge.config.settings import StoreSettings
from tests.documents import page
from tests.patience import PATIENCE
from tests.servers.postgres import PostgresServer
from tests.servers.programs import need
from tests.store.making import Clock, audited, many, opened


@pytest.mark.processes
async def test_a_dump_beside_an_open_store_is_restored_and_audited(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """pg_dump beside a running bridge, pg_restore into an empty database, the same ledger."""
    old, new = postgres.create_database(), postgres.create_database()
    lines = re.findall(r"^    (pg_(?:dump|restore) .*)$", page("docs/operating.md"), re.MULTILINE)
    assert len(lines) == 2
    async with opened(StoreSettings(url=old), clock=Clock()) as store:
        for item in many(5, "crm"):
            await store.ingest(item)
        for line in lines:
            filled_in = line.replace("NEW-DATABASE-URL", new).replace("DATABASE-URL", old)
            program, *arguments = shlex.split(filled_in)
            done = subprocess.run(
                [need(program), *arguments],
                cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    report = audited(StoreSettings(url=new))
    assert report.ok
    assert report.totals == audited(StoreSettings(url=old)).totals
    assert report.totals["messages"] == 5
