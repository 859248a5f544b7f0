"""`smsbridge backup`: a checked copy of the database, beside the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from bridge.cli.opened import total_progress
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations import backup as operations


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_config
@with_json
def backup(file: Path, config: Path | None, as_json: bool) -> int:
    """Back the SQLite database up into a new file, while the daemon runs.

    The copy is one moment of the database. It is private (mode 600), synced, checked for damage,
    and its ledger is audited; if the audit fails, the copy is kept and the command exits 1. JSON:
    {"ok", "file", "bytes", "audited", "failed", "totals"}; not audited is a database from an
    earlier version.
    """
    settings = require_config(config).settings.store
    with total_progress("copying") as progress:
        document = asyncio.run(operations.backup(settings, file, now, progress))
    if as_json:
        as_document(document)
    else:
        as_fields(
            [
                ("file", document["file"]),
                ("bytes", document["bytes"]),
                ("messages", document["totals"].get("messages")),
                ("audited", document["audited"]),
                ("failed", document["failed"]),
            ]
        )
    return DONE if document["ok"] else FOUND_WRONG
