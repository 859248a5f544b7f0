"""`smsbridge providers try`: parses many mails with the configured providers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from bridge.cli.default_providers import TRUST_NOTE, known_providers
from bridge.cli.opened import progress_bar
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_table, heading
from bridge.cli.printable import as_lines
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations.documents import Document
from bridge.operations.mail_files import find_files, total_size
from bridge.operations.trial import Trial
from bridge.reader import Reader


@click.command("try")
@click.argument("files", metavar="FILE…", type=click.Path(path_type=Path), nargs=-1, required=True)
@with_config
@with_json
def try_(files: tuple[Path, ...], config: Path | None, as_json: bool) -> int:
    """Parse many mails and show a table of the results.

    FILE is a mail, an mbox, a Maildir, or a folder with *.eml and *.mbox files. Nothing is stored,
    and evidence is not checked. A message that occurs twice is a duplicate. Exits 1 if a mail
    would go to quarantine. JSON: {"mails": [{"mail", "outcome", "provider",
    "message_id", "reason", "detail"}], "totals": {"message", "duplicate", "ignored",
    "quarantine"}}.
    """
    known, _, notes = known_providers(config)
    found = find_files(files)
    trial = Trial(Reader(known, None, now), now)
    with progress_bar(total_size(found), "reading") as progress:
        asyncio.run(trial.run(found, progress))
    totals = trial.totals
    if as_json:
        as_document({"mails": trial.rows, "totals": totals})
    else:
        rows = [
            [row["mail"], row["outcome"], row["provider"], _id_or_reason(row)] for row in trial.rows
        ]
        as_table(("mail", "outcome", "provider", "id or reason"), rows, "no mails")
        heading("totals")
        as_table(("outcome", "provider", "reason", "mails"), trial.table(), "no mails")
        for note in (*notes, TRUST_NOTE):
            as_lines(f"note: {note}", err=True)
    return FOUND_WRONG if totals["quarantine"] else DONE


def _id_or_reason(row: Document) -> str:
    return str(row["message_id"] or f"{row['reason']}: {row['detail']}")
