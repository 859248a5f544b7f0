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
    delivered stay with their raw mails, unless --undelivered. Exits 1 if any were left. Backups
    still have everything.

    JSON: {"messages", "undelivered", "arrivals", "quarantined", "waiting", "answers", "mentioned"};
    "waiting" counts the raw mails that stay until their messages, also those of others, are
    delivered, and "mentioned" messages of others whose texts contain the number: those stay.
    """
    if dry_run:
        document = run(config, lambda store, _: operations.preview(store, number))
    else:
        document = run(
            config,
            lambda store, _: operations.purge(store, number, now, even_undelivered=undelivered),
        )
    left = not dry_run and (document["undelivered"] or document["waiting"])
    if as_json:
        as_document(document)
    else:
        click.echo("would be erased:" if dry_run else "erased:")
        as_fields(document.items())
        if left:
            click.echo(
                "what is undelivered stays, with its raw mails: deliver it and purge again, or "
                "purge with --undelivered, which gives up this number's messages",
                err=True,
            )
    return FOUND_WRONG if left else DONE
