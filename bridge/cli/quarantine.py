"""`smsbridge quarantine`: lists, shows and reparses quarantined mail."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bridge import app
from bridge.cli.opened import progress_bar, run
from bridge.cli.options import with_config, with_json, with_limit
from bridge.cli.output import as_document, as_fields, as_list
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.model import Reason
from bridge.operations import quarantine as operations
from bridge.operations.documents import Document
from bridge.store import Store


@click.group()
def quarantine() -> None:
    """List, show and reparse quarantined mail."""


@quarantine.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower id: the next page.")
@click.option(
    "--reason", type=click.Choice([each.value for each in Reason]), help="Only with this reason."
)
@with_json
def list_(
    config: Path | None, limit: int, before: int | None, reason: str | None, as_json: bool
) -> None:
    """List quarantined mail, newest first.

    Envelope addresses may be secret, so only `show` prints them. JSON: a list of {"id",
    "source", "source_name", "received_at", "outcome", "reason", "detail", "provider",
    "message_id", "trust", "reparsed_at", "peer", "size"}.
    """
    documents = run(
        config,
        lambda store, _: operations.list_quarantine(
            store, limit=limit, before=before, reason=reason
        ),
    )
    if as_json:
        as_document(documents)
        return
    as_list(
        ("id", "received_at", "source_name", "peer", "reason", "provider", "detail"),
        documents,
        "nothing is in quarantine",
    )


@quarantine.command()
@click.argument("arrival_id", type=int)
@click.option("--raw", is_flag=True, help="Write only the raw bytes.")
@with_config
@with_json
def show(arrival_id: int, raw: bool, config: Path | None, as_json: bool) -> None:
    """Show one arrival in any state, with its envelope addresses.

    `smsbridge quarantine show ID --raw > mail.eml` saves the original mail. JSON: as in the
    list, and "envelope_from", "recipients".
    """
    if raw:
        sys.stdout.buffer.write(
            run(config, lambda store, _: operations.raw_arrival(store, arrival_id))
        )
        return
    document = run(config, lambda store, _: operations.show_arrival(store, arrival_id))
    if as_json:
        as_document(document)
    else:
        as_fields(document.items())


@quarantine.command()
@click.argument("arrival_ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All quarantined mail, oldest first.")
@with_config
@with_json
def reparse(
    arrival_ids: tuple[int, ...], everything: bool, config: Path | None, as_json: bool
) -> int:
    """Parse quarantined mail again, after a fix to the config or an upgrade of smsbridge.

    A mail that can now be parsed becomes the message it would have been, with the same id, and is
    delivered. Exits 1 if anything stays in quarantine. JSON: a list of {"arrival_id", "outcome",
    "message_id", "reason", "detail"}.
    """
    if bool(arrival_ids) == everything:
        raise click.UsageError("name either ids, or --all")

    async def reparse_all(store: Store, file: ConfigFile) -> list[Document]:
        intake = app.intake_of(file.settings, store)
        ids = await operations.quarantined(store) if everything else arrival_ids
        with progress_bar(len(ids), "reparsing") as progress:
            return await operations.reparse(store, intake, ids, progress)

    results = run(config, reparse_all)
    if as_json:
        as_document(results)
    else:
        as_list(
            ("arrival_id", "outcome", "message_id", "reason", "detail"),
            results,
            "nothing is in quarantine",
        )
    remaining = any(each["outcome"] in ("quarantine", "refused") for each in results)
    return FOUND_WRONG if remaining else DONE
