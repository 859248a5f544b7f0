"""`smsbridge endpoints`: how each stands, and holding one."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import opened
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_list, when
from bridge.config.load import ConfigFile
from bridge.config.values import nearest
from bridge.errors import NotFound
from bridge.model import DeliveryState
from bridge.store import hold_endpoint, resume_endpoint
from bridge.store.snapshot import Snapshot, take_snapshot


@click.group()
def endpoints() -> None:
    """Look at endpoints, hold and resume them."""


@endpoints.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List endpoints with what waits for them, also those that left the config.

    JSON: a list of {"name", "configured", "held", "pending", "held_deliveries", "dead",
    "oldest_due"}; "held" is the reason, or null.
    """
    file = require_config(config)
    with opened(file.settings.store) as store, store.read() as connection:
        snapshot = take_snapshot(connection)
    configured = [each.name for each in file.settings.endpoints]
    others = {name for name, _ in snapshot.deliveries} | set(snapshot.held_endpoints)
    names = [*configured, *sorted(others - set(configured))]
    documents = [_document(name, name in configured, snapshot) for name in names]
    if as_json:
        as_document(documents)
        return
    as_list(
        ("name", "configured", "pending", "held_deliveries", "dead", "oldest_due", "held"),
        documents,
        "no endpoints",
    )


@endpoints.command()
@click.argument("name")
@click.option("--reason", default="held by the operator", show_default=True, help="Said in lists.")
@with_config
@with_json
def hold(name: str, reason: str, config: Path | None, as_json: bool) -> None:
    """Hold an endpoint: its deliveries wait, and new ones too, until `resume`.

    JSON: {"held"}: how many deliveries that were waiting are held now.
    """
    file = require_config(config)
    with opened(file.settings.store) as store, store.begin() as connection:
        _require_known(name, file, take_snapshot(connection))
        held = hold_endpoint(connection, name, reason, now())
    _tell("held", held, as_json)


@endpoints.command()
@click.argument("name")
@with_config
@with_json
def resume(name: str, config: Path | None, as_json: bool) -> None:
    """Let an endpoint's held deliveries go again, each by a new schedule.

    JSON: {"resumed"}: how many deliveries were held.
    """
    file = require_config(config)
    with opened(file.settings.store) as store, store.begin() as connection:
        _require_known(name, file, take_snapshot(connection))
        resumed = resume_endpoint(connection, name, now())
    _tell("resumed", resumed, as_json)


def _document(name: str, configured: bool, snapshot: Snapshot) -> dict[str, object]:
    def count(state: DeliveryState) -> int:
        return snapshot.deliveries.get((name, state), 0)

    return {
        "name": name,
        "configured": configured,
        "held": snapshot.held_endpoints.get(name),
        "pending": count(DeliveryState.PENDING),
        "held_deliveries": count(DeliveryState.HELD),
        "dead": count(DeliveryState.DEAD),
        "oldest_due": when(snapshot.oldest_due.get(name)),
    }


def _require_known(name: str, file: ConfigFile, snapshot: Snapshot) -> None:
    """Refuse a name that neither config nor store knows: a typo must not look like success."""
    known = {each.name for each in file.settings.endpoints}
    known |= {endpoint for endpoint, _ in snapshot.deliveries} | set(snapshot.held_endpoints)
    if name not in known:
        near = nearest(name, sorted(known))
        raise NotFound(f"no endpoint {name!r}" + (f", did you mean {near!r}?" if near else ""))


def _tell(what: str, count: int, as_json: bool) -> None:
    if as_json:
        as_document({what: count})
    else:
        click.echo(f"{count} deliveries {what}")
