"""`smsbridge messages`: lists and shows messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.following import follow_list, refuse_with_follow, with_follow
from bridge.cli.opened import run
from bridge.cli.options import TIME, with_config, with_json, with_limit, with_reveal
from bridge.cli.output import as_document, as_fields, as_list, as_page, heading
from bridge.model import DeliveryState
from bridge.operations.follow import follow_messages
from bridge.operations.messages import list_messages, show_message
from bridge.operations.sentences import why
from bridge.store.search import MessageFilter

_SPARE = ("provider", "to")
_STATES = click.Choice([state.value for state in DeliveryState])


@click.group()
def messages() -> None:
    """List and show messages."""


@messages.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower arrival_id: the next page.")
@click.option("--provider", help="Only from this provider.")
@click.option("--unwanted", is_flag=True, help="Only those that no endpoint wanted.")
@click.option("--number", help="Only from or to this number, or one that ends so.")
@click.option("--text", help="Only those whose text contains this.")
@click.option("--state", type=_STATES, help="Only with a delivery in this state.")
@click.option("--endpoint", help="Only with a delivery to this endpoint (with --state: that one).")
@click.option("--since", type=TIME, help="Only those that arrived at this time or later.")
@click.option("--until", type=TIME, help="Only those that arrived before this time.")
@with_reveal
@with_follow
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    reveal: bool,
    follow: bool,
    as_json: bool,
    state: str | None,
    **filters: Any,
) -> None:
    """List messages, newest arrival first.

    Filters must all match. Numbers are masked and texts omitted, unless --reveal is given. A
    message's state is that of its deliveries: pending if one is, else held, dead, delivered or
    filtered. JSON: a list of {"id", "arrival_id", "provider", "from", "to", "received_at",
    "bridged_at", "provider_message_id", "arrived_at", "state"} and, with --reveal, "body"; with
    --follow one of them a line.
    """
    refuse_with_follow(follow, before=before, state=state)
    which = MessageFilter(state=DeliveryState(state) if state else None, **filters)
    columns = ["arrival_id", "id", "state", "arrived_at", "provider", "to", "from"]
    columns += ["body"] if reveal else []
    if follow:
        follow_list(
            config,
            lambda store: follow_messages(store, limit=limit, which=which, reveal=reveal),
            columns,
            as_json=as_json,
            spare=_SPARE,
        )
        return
    documents = run(
        config,
        lambda store, _: list_messages(
            store, limit=limit + 1, before=before, which=which, reveal=reveal
        ),
    )
    if as_json:
        as_document(documents[:limit])
        return
    as_page(columns, documents, "no messages", limit=limit, key="arrival_id", spare=_SPARE)


@messages.command()
@click.argument("message_id")
@with_config
@with_json
def show(message_id: str, config: Path | None, as_json: bool) -> None:
    """Show one message with its full text and numbers, its arrivals and its deliveries.

    MESSAGE_ID is its id, the beginning of it, the number of an arrival, or the id of a 250 ("Stored
    as …"). JSON:
    {"data": the webhook's data, "arrivals": […], "deliveries": […]}.
    """
    document = run(config, lambda store, _: show_message(store, message_id))
    if as_json:
        as_document(document)
        return
    as_data(document["data"])
    heading("arrivals")
    as_list(
        ("id", "source", "received_at", "outcome", "peer", "size", "source_name"),
        document["arrivals"],
        "none",
    )
    heading("deliveries")
    as_list(
        ("id", "endpoint", "state", "attempts", "next_at", "why"),
        [{**each, "why": why(each)} for each in document["deliveries"]],
        "none",
    )


def as_data(data: dict[str, object]) -> None:
    """Print the webhook's data as lines, nested keys as `table.key`."""
    pairs: list[tuple[str, object]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{inner}", each) for inner, each in value.items()]
        else:
            pairs.append((name, value))
    as_fields(pairs)
