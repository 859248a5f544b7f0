"""`smsbridge deliveries`: what was sent, what waits, and trying again."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import reading, writing
from bridge.cli.options import now, with_config, with_json, with_limit
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.rows import attempt_document, delivery_document, event_data
from bridge.model import DeliveryState
from bridge.store import queries, retry_deliveries

_STATES = click.Choice([state.value for state in DeliveryState])
_RETRYABLE = click.Choice(["pending", "held", "dead"])


@click.group()
def deliveries() -> None:
    """Look at deliveries and try them again."""


@deliveries.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Go on from this id, which is left out.")
@click.option("--endpoint", help="Only those to this endpoint.")
@click.option("--state", type=_STATES, help="Only those in this state.")
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    endpoint: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """List deliveries, newest first.

    JSON: a list of {"id", "message_id", "endpoint", "state", "reason", "attempts", "next_at",
    "under_way", "created_at", "changed_at"}.
    """
    with reading(config) as connection:
        found = queries.list_deliveries(
            connection,
            limit=limit,
            before=before,
            endpoint=endpoint,
            state=DeliveryState(state) if state else None,
        )
    documents = [delivery_document(row) for row in found]
    if as_json:
        as_document(documents)
        return
    as_list(
        ("id", "message_id", "endpoint", "state", "attempts", "next_at", "reason"),
        documents,
        "no deliveries",
    )


@deliveries.command()
@click.argument("delivery_id", type=int)
@with_config
@with_json
def show(delivery_id: int, config: Path | None, as_json: bool) -> None:
    """Show one delivery with all its attempts and the beginning of each answer.

    JSON: {"delivery": {…}, "data": the webhook's data, "attempts": [{"number", "started_at",
    "seconds", "result", "status", "error", "detail", "lease_lost", "answer"}]}.
    """
    with reading(config) as connection:
        found = queries.show_delivery(connection, delivery_id)
    delivery = delivery_document(found.delivery)
    attempts = [attempt_document(row) for row in found.attempts]
    if as_json:
        data = event_data(found.event.body)
        as_document({"delivery": delivery, "data": data, "attempts": attempts})
        return
    as_fields(delivery.items())
    heading("attempts")
    as_list(
        ("number", "started_at", "seconds", "result", "status", "error", "detail", "answer"),
        attempts,
        "none yet",
    )


@deliveries.command()
@click.argument("delivery_ids", type=int, nargs=-1)
@click.option("--endpoint", help="All of this endpoint (with --state: in this state).")
@click.option("--state", type=_RETRYABLE, help="All in this state.")
@with_config
@with_json
def retry(
    delivery_ids: tuple[int, ...],
    endpoint: str | None,
    state: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Try deliveries again, now, by a new schedule: waiting, held and dead ones.

    Name ids, or --endpoint, or --state. Delivered and filtered ones stay as they are, and one
    that is under way is left to that. The daemon takes them up by itself. JSON: {"retried"}.
    """
    if bool(delivery_ids) == bool(endpoint or state):
        raise click.UsageError("name either ids, or --endpoint and/or --state")
    with writing(config) as connection:
        for each in delivery_ids:
            queries.show_delivery(connection, each)  # a wrong id is told, and nothing is changed
        retried = retry_deliveries(
            connection,
            now=now(),
            ids=delivery_ids,
            endpoint=endpoint,
            state=DeliveryState(state) if state else None,
        )
    if as_json:
        as_document({"retried": retried})
    else:
        click.echo(f"{retried} to be tried again")
