"""`smsbridge messages`: what came in and was read."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import reading
from bridge.cli.options import with_config, with_json, with_limit, with_reveal
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.rows import (
    arrival_document,
    delivery_document,
    event_data,
    message_document,
)
from bridge.store import queries


@click.group()
def messages() -> None:
    """Look at messages."""


@messages.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Go on from this arrival_id, which is left out.")
@click.option("--provider", help="Only messages of this provider.")
@with_reveal
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    provider: str | None,
    reveal: bool,
    as_json: bool,
) -> None:
    """List messages, the last to arrive first.

    Numbers are masked and texts left out, unless --reveal. JSON: a list of {"id", "arrival_id",
    "provider", "from", "to", "received_at", "bridged_at", "provider_message_id"} and, with
    --reveal, "body".
    """
    with reading(config) as connection:
        found = queries.list_messages(connection, limit=limit, before=before, provider=provider)
    documents = [message_document(row, reveal=reveal) for row in found]
    if as_json:
        as_document(documents)
        return
    as_list(
        ["id", "provider", "from", "to", "received_at", *(["body"] if reveal else [])],
        documents,
        "no messages",
    )


@messages.command()
@click.argument("message_id")
@with_config
@with_json
def show(message_id: str, config: Path | None, as_json: bool) -> None:
    """Show one message whole, its text and numbers included, with its arrivals and deliveries.

    JSON: {"data": the webhook's data, "arrivals": […], "deliveries": […]}.
    """
    with reading(config) as connection:
        found = queries.show_message(connection, message_id)
    data = event_data(found.event.body)
    arrivals = [arrival_document(row, reveal=True) for row in found.arrivals]
    deliveries = [delivery_document(row) for row in found.deliveries]
    if as_json:
        as_document({"data": data, "arrivals": arrivals, "deliveries": deliveries})
        return
    as_data(data)
    heading("arrivals")
    as_list(
        ("id", "source", "source_name", "received_at", "outcome", "peer", "size"), arrivals, "none"
    )
    heading("deliveries")
    as_list(("id", "endpoint", "state", "attempts", "next_at", "reason"), deliveries, "none")


def as_data(data: dict[str, object]) -> None:
    """Print the webhook's data as lines, what is inside a table as `table.key`."""
    pairs: list[tuple[str, object]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{inner}", each) for inner, each in value.items()]
        else:
            pairs.append((name, value))
    as_fields(pairs)
