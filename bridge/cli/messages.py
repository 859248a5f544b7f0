"""`smsbridge messages`: lists and shows messages."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import with_config, with_json, with_limit, with_reveal
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.operations.messages import list_messages, show_message


@click.group()
def messages() -> None:
    """List and show messages."""


@messages.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower arrival_id: the next page.")
@click.option("--provider", help="Only from this provider.")
@click.option("--unwanted", is_flag=True, help="Only those that no endpoint wanted.")
@with_reveal
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    provider: str | None,
    unwanted: bool,
    reveal: bool,
    as_json: bool,
) -> None:
    """List messages, newest arrival first.

    Numbers are masked and texts omitted, unless --reveal is given. JSON: a list of {"id",
    "arrival_id", "provider", "from", "to", "received_at", "bridged_at", "provider_message_id"}
    and, with --reveal, "body".
    """
    documents = run(
        config,
        lambda store, _: list_messages(
            store,
            limit=limit,
            before=before,
            provider=provider,
            unwanted=unwanted,
            reveal=reveal,
        ),
    )
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
    """Show one message with its full text and numbers, its arrivals and its deliveries.

    JSON: {"data": the webhook's data, "arrivals": […], "deliveries": […]}.
    """
    document = run(config, lambda store, _: show_message(store, message_id))
    if as_json:
        as_document(document)
        return
    as_data(document["data"])
    heading("arrivals")
    as_list(
        ("id", "source", "source_name", "received_at", "outcome", "peer", "size"),
        document["arrivals"],
        "none",
    )
    heading("deliveries")
    as_list(
        ("id", "endpoint", "state", "attempts", "next_at", "reason"), document["deliveries"], "none"
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
