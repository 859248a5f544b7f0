"""`smsbridge purge`: erases what is stored of a phone number."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations import purge as operations


@click.command()
@click.option("--number", required=True, help="Whose: an international number, +39…")
@click.option(
    "--undelivered", is_flag=True,
    help="Also messages that no endpoint got yet, which then never go out.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@with_config
@with_json
def purge(number: str, undelivered: bool, dry_run: bool, config: Path | None, as_json: bool) -> int:
    """Erase what is stored of a phone number.

    That is all messages from or to it, and all raw mails that contain it.

    What is left tells that there was a message, when, and how to recognise a repeat. On SQLite the
    file is rewritten, which defers incoming mail for as long as that takes. Messages that are not
    delivered stay, unless --undelivered. Exits 1 if any were left. Backups still have everything.

    JSON: {"messages", "undelivered", "arrivals", "quarantined", "answers", "mentioned"};
    "mentioned" counts messages of others whose texts contain the number: those stay.
    """
    if dry_run:
        document = run(config, lambda store, _: operations.preview(store, number))
    else:
        document = run(
            config,
            lambda store, _: operations.purge(store, number, now, even_undelivered=undelivered),
        )
    if as_json:
        as_document(document)
    else:
        click.echo("would be erased:" if dry_run else "erased:")
        as_fields(document.items())
        if document["undelivered"] and not dry_run:
            click.echo(
                "the undelivered messages stay: deliver them first, or purge with --undelivered",
                err=True,
            )
    return FOUND_WRONG if document["undelivered"] and not dry_run else DONE
