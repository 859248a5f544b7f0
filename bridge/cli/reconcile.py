"""`smsbridge reconcile`: finds mails of a mailbox that are missing from the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from bridge import app
from bridge.cli.opened import run, total_progress
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.imap import ImapSettings
from bridge.config.load import ConfigFile
from bridge.config.settings import Settings
from bridge.config.values import nearest
from bridge.errors import NotPossible
from bridge.operations.reconcile import Comparison, reconcile_mailbox
from bridge.store import Store


@click.command()
@click.argument("name")
@click.option("--fix", is_flag=True, help="Import what is missing.")
@click.option(
    "--all", "everything", is_flag=True,
    help="Also what `start` left out, and what is older than [retention] records.",
)  # fmt: skip
@with_config
@with_json
def reconcile(name: str, fix: bool, everything: bool, config: Path | None, as_json: bool) -> int:
    """Compare a mailbox with the ledger.

    NAME is the name of an [[imap]] table. Every mail in its folder must be in the ledger, by its
    UID, message or raw bytes. The mailbox is not changed. Can run beside the daemon, which will
    read mails that are "waiting". "forgotten" mails are older than [retention] records, so nothing
    tells any more whether they were delivered. Exits 1 if anything is missing that --fix has not
    imported. JSON: {"mailbox", "mails", "known", "left_out", "forgotten", "missing": [{"uid",
    "waiting", "would_be", "message_id", "taken_in", "problem"}]}.
    """

    async def compare(store: Store, file: ConfigFile) -> Comparison:
        settings = _mailbox(file.settings, name)
        intake = app.intake_of(file.settings, store)
        with total_progress("comparing") as progress:
            async with app.open_mailbox(settings) as mailbox:
                return await reconcile_mailbox(
                    mailbox, settings, store, intake, now,
                    fix=fix, everything=everything, records=file.settings.retention.records,
                    progress=progress,
                )  # fmt: skip

    found = run(config, compare)
    _print(name, found, as_json=as_json)
    return DONE if all(each.taken_in for each in found.missing) else FOUND_WRONG


def _mailbox(settings: Settings, name: str) -> ImapSettings:
    names = [each.name for each in settings.imap]
    if name in names:
        return settings.imap[names.index(name)]
    near = nearest(name, names)
    known = f", did you mean {near!r}?" if near else f": known are {', '.join(names) or 'none'}"
    raise NotPossible(f"there is no [[imap]] called {name!r}{known}")


def _print(name: str, found: Comparison, *, as_json: bool) -> None:
    document = found.document()
    if as_json:
        as_document({"mailbox": name, **document})
        return
    missing = document.pop("missing")
    as_fields([("mailbox", name), *document.items(), ("missing", len(missing))])
    if missing:
        heading("missing")
        as_list(
            ("uid", "waiting", "would_be", "message_id", "taken_in", "problem"), missing, "none"
        )
