"""`smsbridge quarantine`: arrivals that became no message, and parsing them again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from bridge.app import endpoints_of, reader_of
from bridge.cli.opened import opened, reading
from bridge.cli.options import now, require_config, with_config, with_json, with_limit
from bridge.cli.output import as_document, as_fields, as_list
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.cli.rows import Document, arrival_document
from bridge.config.load import ConfigFile
from bridge.errors import BridgeError, ConfigError
from bridge.ingest import Reading, to_store
from bridge.model import PlannedDelivery, Reason, Unreadable
from bridge.store import Database, Lease, ingest_many, queries

_ALL = 1_000_000_000


@click.group()
def quarantine() -> None:
    """Look at what became no message, and parse it again."""


@quarantine.command("list")
@with_config
@with_limit
@click.option("--before", type=int, help="Go on from this id, which is left out.")
@click.option("--reason", type=click.Choice([each.value for each in Reason]), help="Only these.")
@with_json
def list_(
    config: Path | None, limit: int, before: int | None, reason: str | None, as_json: bool
) -> None:
    """List the arrivals in quarantine, newest first.

    Their addresses, which may be secret, are shown by `show` only. JSON: a list of {"id",
    "source", "source_name", "received_at", "outcome", "reason", "detail", "provider",
    "message_id", "trust", "reparsed_at", "peer", "size"}.
    """
    with reading(config) as connection:
        found = queries.list_quarantine(connection, limit=limit, before=before, reason=reason)
    documents = [arrival_document(row, reveal=False) for row in found]
    if as_json:
        as_document(documents)
        return
    as_list(
        ("id", "received_at", "source_name", "peer", "reason", "provider", "detail"),
        documents,
        "nothing is in quarantine",
    )


@quarantine.command()
@click.argument("arrival_id", type=int)
@click.option("--raw", is_flag=True, help="Write the raw bytes and nothing else.")
@with_config
@with_json
def show(arrival_id: int, raw: bool, config: Path | None, as_json: bool) -> None:
    """Show one arrival, whatever it became, its addresses included.

    `smsbridge quarantine show ID --raw > mail.eml` gives the mail as it came. JSON: as in the
    list, and "envelope_from", "recipients".
    """
    with reading(config) as connection:
        found = queries.show_arrival(connection, arrival_id)
    if raw:
        sys.stdout.buffer.write(found.raw)
        return
    document = arrival_document(found.row, reveal=True)
    if as_json:
        as_document(document)
    else:
        as_fields(document.items())


@quarantine.command()
@click.argument("arrival_ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine, oldest first.")
@with_config
@with_json
def reparse(
    arrival_ids: tuple[int, ...], everything: bool, config: Path | None, as_json: bool
) -> int:
    """Parse arrivals again, after the config or smsbridge itself was mended.

    What is read now becomes the message that it would have been, with the same id, and is
    delivered. Exits 1 if something stays in quarantine. JSON: a list of {"arrival_id", "outcome",
    "message_id", "reason", "detail"}.
    """
    if bool(arrival_ids) == everything:
        raise click.UsageError("name either ids, or --all")
    file = require_config(config)
    again = _Again(file)
    with opened(file.settings.store) as store:
        if everything:
            with store.read() as connection:
                found = queries.list_quarantine(connection, limit=_ALL)
            arrival_ids = tuple(row.id for row in reversed(found))
        else:
            with store.read() as connection:
                for each in arrival_ids:
                    queries.show_arrival(connection, each)  # a wrong id changes nothing
        results = []
        with click.progressbar(
            arrival_ids, label="reparsing", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as ids:
            results += [again.parse(store, each) for each in ids]
    if as_json:
        as_document(results)
    else:
        as_list(
            ("arrival_id", "outcome", "message_id", "reason", "detail"),
            results,
            "nothing is in quarantine",
        )
    stayed = any(each["outcome"] in ("quarantine", "refused") for each in results)
    return FOUND_WRONG if stayed else DONE


class _Again:
    """Reads stored arrivals with the present config, and stores what they are now."""

    def __init__(self, file: ConfigFile) -> None:
        try:
            self._reader = reader_of(file.settings)
            self._endpoints = endpoints_of(file.settings)
        except ConfigError as error:
            raise file.explain(error) from None

    def parse(self, store: Database, arrival_id: int) -> Document:
        """Parse one arrival again, in a transaction of its own."""
        with store.read() as connection:
            arrival = queries.show_arrival(connection, arrival_id).arrival
        result = asyncio.run(self._reader.read(arrival))
        planned: list[tuple[PlannedDelivery, ...]] = []
        if isinstance(result, Reading):
            planned = [
                tuple(each.plan(reading.message) for each in self._endpoints)
                for reading in result.all
            ]
        moment = now()
        # Nothing is leased to us: the daemon takes up what is due.
        lease = Lease("smsbridge quarantine reparse", moment, moment)
        with store.begin() as connection:
            item = to_store(arrival, result, planned, arrival_id)
            (receipt,) = ingest_many(connection, [item], lease)
        told: Document = {"arrival_id": arrival_id, "outcome": "refused", "message_id": None}
        if isinstance(receipt, BridgeError):
            return {**told, "reason": None, "detail": str(receipt)}
        return {
            **told,
            "outcome": receipt.outcome.value,
            "message_id": receipt.message_id,
            "reason": result.reason.value if isinstance(result, Unreadable) else None,
            "detail": None if isinstance(result, Reading) else result.detail,
        }
