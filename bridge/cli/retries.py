"""`smsbridge retries`: retries deliveries by filter, at a rate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import TIME, now, with_config, with_json
from bridge.cli.output import as_document, as_list, counted
from bridge.config.load import ConfigFile
from bridge.model import DeliveryState, SourceKind
from bridge.operations import retries as operations
from bridge.operations.acts import logged
from bridge.operations.documents import Document
from bridge.operations.replay import DEFAULT_RATE
from bridge.process import user_name
from bridge.store import Store
from bridge.store.acts import Act
from bridge.store.pages import DeliveryFilter

_STATES = click.Choice(["pending", "held", "dead"])
_SOURCES = click.Choice([kind.value for kind in SourceKind])


@click.group()
def retries() -> None:
    """Retry many deliveries by a filter, at a rate.

    `smsbridge deliveries retry` retries some at once.
    """


@retries.command()
@click.option("--endpoint", help="Only those for this endpoint.")
@click.option("--state", type=_STATES, help="Only those in this state.")
@click.option("--status", type=click.IntRange(100, 599), help="Only those last answered with this.")
@click.option("--provider", help="Only those with a message of this provider.")
@click.option("--source", type=_SOURCES, help="Only those with a message from this source.")
@click.option("--since", type=TIME, help="Only those made at this time or later.")
@click.option("--until", type=TIME, help="Only those made before this time.")
@click.option(
    "--rate", type=click.FloatRange(0.01, 1000), default=DEFAULT_RATE, show_default=True,
    help="Deliveries a second.",
)  # fmt: skip
@click.option("--because", metavar="TEXT", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Only count what would be retried.")
@with_config
@with_json
def start(
    endpoint: str | None,
    state: str | None,
    status: int | None,
    provider: str | None,
    source: str | None,
    since: datetime | None,
    until: datetime | None,
    rate: float,
    because: str | None,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Start a retry of pending, held and dead deliveries, by filters that must all match.

    The daemon retries them, each with a new schedule, and goes on after a restart. JSON: {"retry"},
    or with --dry-run {"deliveries"}.
    """
    which = DeliveryFilter(
        endpoint, DeliveryState(state) if state else None, status, provider,
        SourceKind(source) if source else None, since, until,
    )  # fmt: skip

    async def ordered(store: Store, _: ConfigFile) -> Document:
        if dry_run:
            return await operations.preview(store, which)
        who = user_name()
        act = Act(who, "command", "retries start", operations.shown_filter(which), because)
        return await logged(
            store,
            now,
            act,
            lambda: operations.start(store, now, which, rate=rate, who=who, why=because),
        )

    document = run(config, ordered)
    if as_json:
        as_document(document)
    elif dry_run:
        click.echo(f"{counted(document['deliveries'], 'delivery', 'deliveries')} to be retried")
    else:
        click.echo(
            f"retry {document['retry']}: a running daemon carries it out; "
            "`smsbridge retries list` shows how far it is"
        )


@retries.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List retries and their progress, the newest 200.

    "retried" counts deliveries, "looked_at" is the part of them that was looked at. JSON: a list of
    {"id", "filter", "state", "rate", "retried", "skipped", "looked_at", "created_at", "changed_at",
    "who", "why"}; "state" is running, done or cancelled.
    """
    documents = run(config, lambda store, _: operations.list_retries(store))
    if as_json:
        as_document(documents)
        return
    columns = ("id", "state", "retried", "skipped", "looked_at", "created_at", "who", "why")
    as_list(columns, documents, "no retries")


@retries.command()
@click.argument("retry_id", type=int)
@with_config
@with_json
def cancel(retry_id: int, config: Path | None, as_json: bool) -> None:
    """Cancel a running retry; what it has retried stays so. JSON: {"cancelled"}."""
    document = run(config, lambda store, _: operations.cancel(store, now, retry_id))
    if as_json:
        as_document(document)
    else:
        click.echo(f"retry {retry_id} is cancelled")
