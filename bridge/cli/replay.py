"""`smsbridge replay`: delivers messages once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge import app
from bridge.cli.opened import run
from bridge.cli.options import TIME, now, with_config, with_json
from bridge.cli.output import as_document, as_list, counted
from bridge.config.load import ConfigFile
from bridge.model import DeliveryState
from bridge.operations import replay as operations
from bridge.operations.documents import Document
from bridge.store import Store
from bridge.store.replays import Selection
from bridge.store.search import MessageFilter

_STATES = click.Choice([state.value for state in DeliveryState])


@click.group()
def replay() -> None:
    """Deliver messages once more.

    For deliveries that are pending, held or dead, use `smsbridge deliveries retry`.
    """


@replay.command()
@click.argument("message_ids", nargs=-1)
@click.option("--to", "endpoint", required=True, metavar="ENDPOINT", help="Where to deliver them.")
@click.option("--since", type=TIME, help="Only those that arrived at this time or later.")
@click.option("--until", type=TIME, help="Only those that arrived before this time.")
@click.option("--provider", help="Only from this provider.")
@click.option("--number", help="Only from or to this number, or one that ends so.")
@click.option("--text", help="Only those whose text contains this.")
@click.option("--endpoint", "had", help="Only with a delivery to this endpoint.")
@click.option("--state", type=_STATES, help="Only with a delivery in this state.")
@click.option("--unwanted", is_flag=True, help="Only those that no endpoint wanted.")
@click.option(
    "--rate", type=click.FloatRange(0.01, 1000), default=operations.DEFAULT_RATE,
    show_default=True, help="Deliveries a second.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only count what would be delivered.")
@with_config
@with_json
def start(
    message_ids: tuple[str, ...],
    endpoint: str,
    had: str | None,
    state: str | None,
    rate: float,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Start a replay: new deliveries of messages, by id or by filters that must all match.

    The daemon makes them, and goes on after a restart. The webhook-id is the same as the first
    time: a receiver that remembers ids ignores a message it has. Messages that were purged, that
    the endpoint's filters reject, or that it has yet to get are skipped. JSON: {"replay"}, or with
    --dry-run {"messages", "skipped"}.
    """
    which = MessageFilter(endpoint=had, state=DeliveryState(state) if state else None, **filters)
    selection = Selection(message_ids, which)

    async def order(store: Store, file: ConfigFile) -> Document:
        target = operations.endpoint_named(endpoint, app.endpoints_of(file.settings))
        if dry_run:
            return await operations.preview(store, target, selection)
        return await operations.start(store, target, selection, now, rate)

    document = run(config, order)
    if as_json:
        as_document(document)
    elif dry_run:
        click.echo(
            f"{counted(document['messages'], 'message', 'messages')} to be delivered to "
            f"{endpoint}, {document['skipped']} skipped"
        )
    else:
        click.echo(
            f"replay {document['replay']}: a running daemon makes its deliveries to {endpoint}; "
            "`smsbridge replay list` shows how far it is"
        )


@replay.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List replays and their progress, newest first.

    "written" counts deliveries, "looked_at" is the part of the messages that was looked at. JSON:
    a list of {"id", "endpoint", "state", "rate", "written", "skipped", "looked_at", "created_at",
    "changed_at"}; "state" is running, done or cancelled.
    """
    documents = run(config, lambda store, _: operations.list_replays(store))
    if as_json:
        as_document(documents)
        return
    as_list(
        ("id", "endpoint", "state", "written", "skipped", "looked_at", "created_at"),
        documents,
        "no replays",
    )


@replay.command()
@click.argument("replay_id", type=int)
@with_config
@with_json
def cancel(replay_id: int, config: Path | None, as_json: bool) -> None:
    """Cancel a running replay; the deliveries that it has made stay. JSON: {"cancelled"}."""
    document = run(config, lambda store, _: operations.cancel(store, replay_id, now))
    if as_json:
        as_document(document)
    else:
        click.echo(f"replay {replay_id} is cancelled")
