"""`smsbridge parse`: parses one mail without a store, and explains the result."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from bridge.cli.annotated_mail import print_explanation
from bridge.cli.default_providers import TRUST_NOTE, known_providers
from bridge.cli.messages import as_data
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields, heading
from bridge.cli.printable import as_lines
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.errors import NotPossible
from bridge.model import Arrival, MailFile
from bridge.operations.documents import result_document
from bridge.operations.explain import explain_mail
from bridge.operations.mail_files import read_one
from bridge.reader import Reader, Reading


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@with_config
@with_json
def parse(file: Path, config: Path | None, as_json: bool) -> int:
    """Parse a mail file and show the result, with an explanation.

    FILE - is standard input. A saved post of a provider is parsed too; it has no explanation.

    Shows the provider that matched, where each value was found, what is missing, the charset,
    repairs, and the webhook's data with full numbers and texts. Needs no store and stores nothing.
    Evidence is not checked, since a file has no sender. Without a config, only agile's mails are
    parsed, as Europe/Rome and IT. Exits 0 if the result is a message, else 1. JSON: {"outcome":
    "message", "data": the webhook's data}, with "more": […] if the mail contains several SMS, or
    {"outcome": "quarantine" | "ignored", "reason", "detail"}; in each "explain": {"provider",
    "matched", "found", "missing", "charset", "from_html", "warnings", "mail", "webhook"}.
    """
    known, posts, notes = known_providers(config)
    raw = read_mail(file)
    arrival = Arrival(MailFile(), str(file), raw, now())
    result = asyncio.run(Reader(known, None, now, posts=posts).read(arrival))
    document = result_document(result)
    explained = explain_mail(known, raw, result)
    if as_json:
        as_document({**document, "explain": explained.document})
    else:
        found = [document.pop("data"), *document.pop("more", ())] if "data" in document else []
        as_fields(document.items())
        print_explanation(explained)
        for number, data in enumerate(found, 1):
            heading("the webhook's data" if number == 1 else f"message {number} of the same mail")
            as_data(data)
        for note in (*notes, TRUST_NOTE):
            as_lines(f"note: {note}", err=True)
    return DONE if isinstance(result, Reading) else FOUND_WRONG


def read_mail(file: Path) -> bytes:
    """Read a mail from a file, or from standard input for `-`; raises NotPossible."""
    if str(file) == "-":
        return read_one(file, sys.stdin.buffer)
    try:
        with file.open("rb") as stream:
            return read_one(file, stream)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise NotPossible(f"{file}: {why}") from None
