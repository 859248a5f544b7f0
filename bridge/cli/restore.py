"""`smsbridge restore`: puts a backup in the database's place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from bridge.cli.opened import total_progress
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.operations import backup as operations


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Keep the present database under another name.")
@with_config
@with_json
def restore(file: Path, replace: bool, config: Path | None, as_json: bool) -> None:
    """Restore the SQLite database from a backup; stop the daemon first.

    The backup is copied, brought up to this version and audited before it is put in place; FILE
    stays as it is. Mails that arrived after the backup are not in it: `smsbridge reconcile --fix`
    gets those back that are still in a mailbox. What was delivered after it is delivered again,
    under the same webhook-id. JSON: {"ok", "file", "bytes", "audited", "failed", "totals", "kept"};
    "kept" is where the former database is.
    """
    settings = require_config(config).settings.store
    with total_progress("restoring") as progress:
        document = asyncio.run(operations.restore(settings, file, now, progress, replace=replace))
    if as_json:
        as_document(document)
        return
    as_fields(
        [
            ("database", document["file"]),
            ("bytes", document["bytes"]),
            ("messages", document["totals"].get("messages")),
            ("kept", document["kept"]),
            *(("failed", f"{each}: `smsbridge damage list`") for each in document["failed"]),
        ]
    )
