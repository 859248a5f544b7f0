"""`smsbridge endpoints`: lists, holds, resumes and tests endpoints."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_list, counted
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.operations import endpoints as operations
from bridge.operations.documents import Document


@click.group()
def endpoints() -> None:
    """List, hold, resume and test endpoints."""


@endpoints.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List endpoints with their undelivered counts, including those no longer in the config.

    States: active; paused, by `hold`; refused, by a 410; failing: too many attempts failed, so one
    at a time is made. JSON: a list of {"name", "configured", "state", "since", "failover_since",
    "held", "pending", "behind", "held_deliveries", "dead", "oldest_due"}; "held" is the reason of a
    pause or refusal, or null, "failover_since" since when its failover URL is in use, or null,
    "behind" how many of the pending wait behind another one of their conversation.
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


@endpoints.command("test")
@click.argument("name")
@with_config
@with_json
def test_(name: str, config: Path | None, as_json: bool) -> int:
    """Test the receiver behind endpoint NAME with right and wrong requests.

    All are pings (type "smsbridge.ping"): a valid one, the same again, one that arrives slowly, one
    that breaks off, and, where they are signed, one with another secret, one whose body was
    changed, and one that is an hour old. Exits 0 if each was answered as it should be, else 1.
    JSON: {"ok", "endpoint", "checks": [{"name", "ok", "taken", "expected", "status", "error",
    "detail", "seconds", "advice"}]}.
    """
    # Only here: the other commands need no HTTP, which takes a while to import.
    from bridge.cli.named_endpoint import endpoint_named
    from bridge.net import loop
    from bridge.net.tls import client_context
    from bridge.operations.endpoint_test import examine

    endpoint = endpoint_named(require_config(config), name)
    token = secrets.token_hex(10)
    document = loop.run(examine(endpoint, client_context(), token, now))
    if as_json:
        as_document(document)
    else:
        shown = [_shown(each) for each in document["checks"]]
        as_list(("name", "result", "seconds", "advice"), shown, "")
    return DONE if document["ok"] else FOUND_WRONG


def _shown(check: Document) -> Document:
    answer = check["detail"] or f"answered {check['status']}"
    return {**check, "result": f"{'good' if check['ok'] else 'WRONG'}: {answer}"}


def _configured(file: ConfigFile) -> list[str]:
    return [each.name for each in file.settings.endpoints]


def _print(document: Document, *, as_json: bool) -> None:
    if as_json:
        as_document(document)
        return
    for what, count in document.items():
        click.echo(f"{counted(count, 'delivery', 'deliveries')} {what}")
