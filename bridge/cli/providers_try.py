"""`smsbridge providers try`: what whole mailboxes would become with the configured providers."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import click

from bridge.cli.mailfiles import MailFile, find, mails
from bridge.cli.options import now, with_config, with_json
from bridge.cli.outcome import TRUST_NOTE, known_providers, outcome_document
from bridge.cli.output import as_document, as_table, heading
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.cli.rows import Document
from bridge.ingest import Reader, Reading
from bridge.model import Arrival, SourceKind

_OUTCOMES = ("message", "duplicate", "ignored", "quarantine")


@click.command("try")
@click.argument("files", metavar="FILE…", type=click.Path(path_type=Path), nargs=-1, required=True)
@with_config
@with_json
def try_(files: tuple[Path, ...], config: Path | None, as_json: bool) -> int:
    """Read many mails and table what each would become.

    FILE is a mail, an mbox, a Maildir, or a folder with *.eml and *.mbox files. Nothing is stored,
    and trust is not asked for: a file has no sender. A message that comes twice is a duplicate.
    Exits 1 if a mail would go to quarantine. JSON: {"mails": [{"mail", "outcome", "provider",
    "message_id", "reason", "detail"}], "totals": {"message", "duplicate", "ignored",
    "quarantine"}}.
    """
    known, notes = known_providers(config)
    found = find(files)
    with (
        asyncio.Runner() as loop,
        click.progressbar(
            length=sum(found.values()),
            label="reading",
            file=sys.stderr,
            hidden=not sys.stderr.isatty(),
        ) as bar,
    ):
        trial = _Trial(Reader(known, None, now), loop)
        for file in found:
            for each in mails(file):
                trial.add(each)
                bar.update(each.size)
    totals = {outcome: trial.totals[outcome] for outcome in _OUTCOMES}
    if as_json:
        as_document({"mails": trial.rows, "totals": totals})
    else:
        rows = [[row["mail"], row["outcome"], row["provider"], _became(row)] for row in trial.rows]
        as_table(("mail", "outcome", "provider", "id or reason"), rows, "no mails")
        heading("totals")
        as_table(("outcome", "provider", "reason", "mails"), trial.table(), "no mails")
        for note in (*notes, TRUST_NOTE):
            click.echo(f"note: {note}", err=True)
    return FOUND_WRONG if totals["quarantine"] else DONE


def _became(row: Document) -> str:
    return str(row["message_id"] or f"{row['reason']}: {row['detail']}")


class _Trial:
    """Reads mails one by one and keeps a row of each."""

    def __init__(self, reader: Reader, loop: asyncio.Runner) -> None:
        self.rows: list[Document] = []
        self.totals: Counter[str] = Counter()
        self._reader = reader
        self._ids: set[str] = set()
        self._loop = loop

    def add(self, mail: MailFile) -> None:
        """Read one mail."""
        row: Document = {
            "mail": mail.name,
            "outcome": "quarantine",
            "provider": None,
            "message_id": None,
            "reason": "undecodable",
            "detail": "it is over 64 MiB",
        }
        if mail.raw is not None:
            arrival = Arrival(SourceKind.SMTP, "file", mail.raw, now())
            result = self._loop.run(self._reader.read(arrival))
            document = outcome_document(result)
            row |= {key: document.get(key) for key in ("outcome", "reason", "detail")}
            if isinstance(result, Reading):
                message_id = result.identity.message_id
                repeated = message_id in self._ids
                self._ids.add(message_id)
                row["outcome"] = "duplicate" if repeated else "message"
                row |= {"provider": result.message.provider, "message_id": message_id}
            else:
                row["provider"] = result.provider
        self.rows.append(row)
        self.totals[row["outcome"]] += 1

    def table(self) -> list[tuple[object, ...]]:
        """Count the mails of each outcome, provider and reason."""
        counts = Counter((row["outcome"], row["provider"], row["reason"]) for row in self.rows)
        return [(*key, count) for key, count in counts.most_common()]
