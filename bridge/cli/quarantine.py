"""`smsbridge quarantine`: lists, shows and reparses quarantined mail."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import click

from bridge import app
from bridge.cli.following import follow_list, refuse_with_follow, with_follow
from bridge.cli.opened import progress_bar, run
from bridge.cli.options import TIME, now, with_config, with_json, with_limit
from bridge.cli.output import as_document, as_fields, as_list, as_page, counted, heading
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.model import Reason
from bridge.operations import quarantine as operations
from bridge.operations.documents import Document
from bridge.operations.follow import follow_quarantine
from bridge.store import Store
from bridge.store.discard import QuarantineFilter

_COLUMNS = ("id", "received_at", "source_name", "peer", "provider", "reason", "detail")
_REASON = click.Choice([each.value for each in Reason])
_REASONS = ", ".join(_REASON.choices)


@click.group()
def quarantine() -> None:
    """List, show and reparse quarantined mail."""


@quarantine.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower id: the next page.")
@click.option(
    "--reason", type=_REASON, metavar="REASON", help=f"Only with this reason: {_REASONS}."
)
@with_follow
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    reason: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """List quarantined mail, newest first.

    Envelope addresses may be secret, so only `show` prints them. JSON: a list of {"id",
    "source", "source_name", "received_at", "outcome", "reason", "detail", "provider",
    "message_id", "trust", "reparsed_at", "purged_at", "discarded_because", "peer", "size"}; with
    --follow one of them a line.
    """
    refuse_with_follow(follow, before=before)
    if follow:
        follow_list(
            config,
            lambda store: follow_quarantine(store, limit=limit, reason=reason),
            _COLUMNS,
            as_json=as_json,
        )
        return
    documents = run(
        config,
        lambda store, _: operations.list_quarantine(
            store, limit=limit + 1, before=before, reason=reason
        ),
    )
    if as_json:
        as_document(documents[:limit])
        return
    as_page(_COLUMNS, documents, "nothing is in quarantine", limit=limit)


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
@click.option(
    "--reason", type=_REASON, metavar="REASON", help=f"All quarantined for this reason: {_REASONS}."
)
@click.option("--provider", help="All of this provider.")
@click.option("--peer", help="All that came from this address, by SMTP or post.")
@click.option("--before", type=TIME, help="All received before this time, as 2026-04-08 or longer.")
@click.option("--all", "everything", is_flag=True, help="All quarantined mail.")
@click.option("--because", required=True, metavar="TEXT", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Only count what would be discarded.")
@with_config
@with_json
def discard(
    arrival_ids: tuple[int, ...],
    reason: str | None,
    provider: str | None,
    peer: str | None,
    before: datetime | None,
    everything: bool,
    because: str,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Discard quarantined mail for good: the raw mail is deleted, the record says why.

    Name ids, or filters that must all match. A discarded mail that is read again from a mailbox or
    a file stays discarded. JSON: {"discarded"}, or with --dry-run {"mails", "bytes"}.
    """
    if not because.strip():
        raise click.UsageError("--because needs a reason")
    filters = (reason, provider, peer, before)
    if sum((bool(arrival_ids), any(filters), everything)) != 1:
        raise click.UsageError("name either ids, or filters (--reason, --before, …), or --all")
    which = QuarantineFilter(
        arrival_ids, Reason(reason) if reason else None, provider, peer, before
    )
    if dry_run:
        document = run(config, lambda store, _: operations.match(store, which))
        mails = counted(document["mails"], "mail", "mails")
        line = f"{mails}, {document['bytes']} bytes, to be discarded"
    else:
        document = run(config, lambda store, _: operations.discard(store, which, because, now))
        line = f"{counted(document['discarded'], 'mail', 'mails')} discarded"
    if as_json:
        as_document(document)
    else:
        click.echo(line)


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
        heading("totals")
        as_fields(sorted(Counter(str(each["outcome"]) for each in results).items()))
    remaining = any(each["outcome"] in ("quarantine", "refused") for each in results)
    return FOUND_WRONG if remaining else DONE
