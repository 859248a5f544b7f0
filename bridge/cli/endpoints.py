"""`smsbridge endpoints`: lists, holds and resumes endpoints."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_list
from bridge.config.load import ConfigFile
from bridge.operations import endpoints as operations
from bridge.operations.documents import Document


@click.group()
def endpoints() -> None:
    """List, hold and resume endpoints."""


@endpoints.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List endpoints with their undelivered counts, including those no longer in the config.

    States: active; paused, by `hold`; refused, by a 410; failing: too many attempts failed, so one
    at a time is made. JSON: a list of {"name", "configured", "state", "since", "held", "pending",
    "behind", "held_deliveries", "dead", "oldest_due"}; "held" is the reason of a pause or refusal,
    or null, "behind" how many of the pending wait behind another one of their conversation.
    """
    documents = run(config, lambda store, file: operations.list_endpoints(store, _configured(file)))
    if as_json:
        as_document(documents)
        return
    as_list(
        ("name", "configured", "state", "since", "pending", "behind", "held_deliveries", "dead",
         "oldest_due", "held"),
        documents, "no endpoints",
    )  # fmt: skip


@endpoints.command()
@click.argument("name")
@click.option("--reason", default="held by the operator", show_default=True, help="Shown in lists.")
@with_config
@with_json
def hold(name: str, reason: str, config: Path | None, as_json: bool) -> None:
    """Hold an endpoint: its deliveries, new ones included, wait until `resume`.

    JSON: {"held"}: the number of pending deliveries that are now held.
    """
    _print(
        run(
            config, lambda store, file: operations.hold(store, name, reason, _configured(file), now)
        ),
        as_json=as_json,
    )


@endpoints.command()
@click.argument("name")
@with_config
@with_json
def resume(name: str, config: Path | None, as_json: bool) -> None:
    """Release an endpoint's held deliveries, also those held by a 410, with a new schedule.

    JSON: {"resumed"}: the number of deliveries released.
    """
    _print(
        run(config, lambda store, file: operations.resume(store, name, _configured(file), now)),
        as_json=as_json,
    )


def _configured(file: ConfigFile) -> list[str]:
    return [each.name for each in file.settings.endpoints]


def _print(document: Document, *, as_json: bool) -> None:
    if as_json:
        as_document(document)
        return
    for what, count in document.items():
        click.echo(f"{count} deliveries {what}")
