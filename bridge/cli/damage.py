"""`smsbridge damage`: what was found damaged, and that an operator has accepted it."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_table
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations import damage as operations


@click.group()
def damage() -> None:
    """Show what was found altered or missing, and accept it."""


@damage.command("list")
@click.option("--accepted", is_flag=True, help="Also what was accepted.")
@with_config
@with_json
def list_(accepted: bool, config: Path | None, as_json: bool) -> int:
    """List what was found: altered events, and mails that were acknowledged and are missing.

    Exits 1 if there is any that nobody has accepted. JSON: [{"id", "kind", "detail", "event_id",
    "first", "last", "found_at", "accepted_at", "because"}].
    """
    found = run(config, lambda store, _: operations.list_damage(store, accepted=accepted))
    if as_json:
        as_document(found)
    else:
        rows = [
            (each["id"], each["found_at"], each["detail"], each["because"] or "") for each in found
        ]
        as_table(("id", "found", "what", "accepted because"), rows, "nothing was found damaged")
    return FOUND_WRONG if any(each["accepted_at"] is None for each in found) else DONE


@damage.command()
@click.argument("damage_id", type=int, metavar="ID")
@click.option("--because", required=True, help="Why, for the record.")
@with_config
@with_json
def accept(damage_id: int, because: str, config: Path | None, as_json: bool) -> int:
    """Accept a damage: health and audit are quiet about it from then on.

    An altered event stays held all the same. JSON: {"accepted": id}.
    """
    document = run(config, lambda store, _: operations.accept(store, damage_id, because, now))
    if as_json:
        as_document(document)
    else:
        click.echo(f"accepted: {damage_id}")
    return DONE
