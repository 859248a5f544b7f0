"""`smsbridge status`: is the daemon up, what waits, what failed last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.rates import rates_of
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.errors import StoreError
from bridge.operations.documents import Document
from bridge.operations.status import ask_daemon, overview, status_document
from bridge.store import Store
from bridge.store.overview import Overview


@click.command()
@with_config
@with_json
def status(config: Path | None, as_json: bool) -> int:
    """Show whether the daemon is up and what waits, since when, and what failed last.

    The daemon is asked at [http] listen. Exits 1 if there are problems. JSON: {"ok", "problems",
    "daemon": {"state": "up" | "down" | "unknown", "url", "detail", "heartbeat"}, "mailboxes":
    [{"name", "state", "last_sync", "lag_seconds", "open"}], "endpoints": [{"name", "configured",
    "state": "active" | "paused" | "refused" | "failing", "reason", "since", "pending", "held",
    "dead", "undelivered_since", "waits_for_rate"}], "quarantined", "last_message_at",
    "last_failure": {"delivery_id", "endpoint", "at", "result", "status", "error", "detail"} or
    null}.
    """
    document = asyncio.run(_status(require_config(config)))
    if as_json:
        as_document(document)
    else:
        _print(document)
    return DONE if document["ok"] else FOUND_WRONG


async def _status(file: ConfigFile) -> Document:
    settings = file.settings
    configured = [each.name for each in settings.endpoints]
    stored: Overview | StoreError
    daemon = await ask_daemon(settings.http.listen)
    try:
        store = await Store.beside(settings.store, owner="status", clock=now)
        try:
            stored = await overview(store, configured)
        finally:
            await store.close()
    except StoreError as error:
        stored = error
    mailboxes = [each.name for each in settings.imap]
    return status_document(daemon, stored, configured, mailboxes, now, rates_of(file))


def _print(document: Mapping[str, Any]) -> None:
    daemon, failure = document["daemon"], document["last_failure"]
    known_as = daemon["detail"] or daemon["url"]
    as_fields(
        [
            ("daemon", f"{daemon['state']} ({known_as})"),
            ("last message", document["last_message_at"]),
            ("in quarantine", document["quarantined"]),
            ("last failure", failure and _failure(failure)),
        ]
    )
    heading("endpoints")
    as_list(
        ("name", "state", "pending", "held", "dead", "undelivered_since"),
        document["endpoints"],
        "none",
    )
    if document["mailboxes"]:
        heading("mailboxes")
        as_list(("name", "state", "last_sync", "open"), document["mailboxes"], "none")
    heading("problems" if document["problems"] else "no problems")
    for problem in document["problems"]:
        click.echo(f"- {problem}")


def _failure(failure: Mapping[str, Any]) -> str:
    why = failure["detail"] or failure["error"] or f"answered {failure['status']}"
    return (
        f"{failure['at']}, delivery {failure['delivery_id']} to {failure['endpoint']}: {why} "
        f"({failure['result']})"
    )
