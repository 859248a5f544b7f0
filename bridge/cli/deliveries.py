"""`smsbridge deliveries`: lists, shows and retries deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bridge.cli.following import follow_list, refuse_with_follow, with_follow
from bridge.cli.opened import run
from bridge.cli.options import now, with_config, with_json, with_limit
from bridge.cli.output import as_document, as_fields, as_page, counted, heading
from bridge.cli.rates import rates_of
from bridge.config.load import ConfigFile
from bridge.model import DeliveryState
from bridge.operations import deliveries as operations
from bridge.operations.documents import Document
from bridge.operations.follow import follow_deliveries
from bridge.operations.sentences import why
from bridge.store import Store

_COLUMNS = ("id", "message_id", "endpoint", "state", "attempts", "next_at", "reason")
_SPARE = ("attempts",)
_STATES = click.Choice([state.value for state in DeliveryState])
_RETRYABLE = click.Choice(["pending", "held", "dead"])


@click.group()
def deliveries() -> None:
    """List, show and retry deliveries."""


@deliveries.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower id: the next page.")
@click.option("--endpoint", help="Only for this endpoint.")
@click.option("--state", type=_STATES, help="Only in this state.")
@with_follow
@with_json
def list_(
    config: Path | None,
    limit: int,
    before: int | None,
    endpoint: str | None,
    state: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """List deliveries, newest first.

    --follow prints each once more after every attempt; a hold or a retry by hand is no attempt.
    JSON: a list of {"id", "message_id", "endpoint", "state", "reason", "attempts", "next_at",
    "under_way", "created_at", "changed_at", "last_error", "sequence", "replay", "behind",
    "waits_for_rate"}; "last_error" is why the last attempt failed, or null, "sequence" its number
    at its endpoint, "replay" the replay that ordered it, or null, "behind" the delivery of its
    conversation that it waits for, or null, "waits_for_rate" the rate of its endpoint if it is due
    and waits for that, or null. With --follow one of them a line.
    """
    refuse_with_follow(follow, before=before)
    wanted = DeliveryState(state) if state else None
    if follow:
        follow_list(
            config,
            lambda store: follow_deliveries(store, limit=limit, endpoint=endpoint, state=wanted),
            _COLUMNS,
            as_json=as_json,
            shown=_shown,
            spare=_SPARE,
        )
        return

    async def look(store: Store, file: ConfigFile) -> tuple[Sequence[Document], str]:
        found = await operations.list_deliveries(
            store,
            now,
            limit=limit + 1,
            before=before,
            endpoint=endpoint,
            state=wanted,
            rates=rates_of(file),
        )
        return found, _nothing(endpoint, file)

    documents, nothing = run(config, look)
    if as_json:
        as_document(documents[:limit])
        return
    as_page(
        _COLUMNS,
        [_shown(each) for each in documents],
        nothing,
        limit=limit,
        spare=_SPARE,
    )


def _shown(document: Document) -> Document:
    """Show why it has not arrived as the reason."""
    return {**document, "reason": why(document)}


def _nothing(endpoint: str | None, file: ConfigFile) -> str:
    """Return what an empty list says: a name that isn't there is likely to be mistyped."""
    names = [each.name for each in file.settings.endpoints]
    if endpoint is None or endpoint in names:
        return "no deliveries"
    return f"no deliveries; the config has no endpoint {endpoint!r}, but {', '.join(names)}"


@deliveries.command()
@click.argument("delivery_id", type=int)
@with_config
@with_json
def show(delivery_id: int, config: Path | None, as_json: bool) -> None:
    """Show one delivery with all its attempts and the beginning of each response.

    JSON: {"delivery": {…}, "data": the webhook's data, "attempts": [{"number", "started_at",
    "seconds", "result", "status", "error", "detail", "sent", "failover", "lease_lost",
    "answer"}]}.
    """
    document = run(
        config,
        lambda store, file: operations.show_delivery(store, now, delivery_id, rates_of(file)),
    )
    if as_json:
        as_document(document)
        return
    as_fields(document["delivery"].items())
    if not document["attempts"]:
        click.echo("attempts: none yet", err=True)
    for attempt in document["attempts"]:
        heading(f"attempt {attempt['number']}")
        as_fields((name, value) for name, value in attempt.items() if name != "number")


@deliveries.command()
@click.argument("delivery_ids", type=int, nargs=-1)
@click.option("--endpoint", help="All for this endpoint (with --state: in that state).")
@click.option("--state", type=_RETRYABLE, help="All in this state.")
@click.option("--dry-run", is_flag=True, help="Only count what would be retried.")
@with_config
@with_json
def retry(
    delivery_ids: tuple[int, ...],
    endpoint: str | None,
    state: str | None,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Retry pending, held and dead deliveries now, with a new schedule.

    Name ids, or --endpoint and/or --state. Delivered and filtered deliveries are left alone;
    in-flight deliveries are skipped. A running daemon picks the rest up. JSON: {"retried"}, or with
    --dry-run {"deliveries"}.
    """
    if bool(delivery_ids) == bool(endpoint or state):
        raise click.UsageError("name either ids, or --endpoint and/or --state")
    wanted = DeliveryState(state) if state else None
    act = operations.match_retry if dry_run else operations.retry
    document = run(
        config,
        lambda store, _: act(store, now, ids=delivery_ids, endpoint=endpoint, state=wanted),
    )
    if as_json:
        as_document(document)
        return
    (count,) = document.values()
    found = counted(count, "delivery", "deliveries")
    click.echo(f"{found} would be retried" if dry_run else f"{found} to be retried")
