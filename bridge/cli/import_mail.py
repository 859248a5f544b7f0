"""`smsbridge import`: imports mails from files, through the same pipeline as a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bridge import app
from bridge.cli.opened import progress_bar, run
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.printable import as_lines, printable
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.errors import StoreUnavailable
from bridge.model import Trust
from bridge.operations.import_files import Tally, import_files, stored_messages
from bridge.operations.mail_files import find_files, total_size
from bridge.store import Store

_UNJUDGED = Trust("operator", "only to recognise the mail")  # never stored


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--trusted",
    is_flag=True,
    help="Accept these mails without evidence: you vouch for their origin.",
)
@with_config
@with_json
def import_mail(paths: tuple[Path, ...], trusted: bool, config: Path | None, as_json: bool) -> int:
    """Import mails from files: mbox, Maildir, .eml, and folders of them.

    Messages are delivered like any other. A mail that was received before, by any source, is a
    duplicate and is not delivered again, so the command can be repeated, also after an
    interruption. It can run beside the daemon.

    Of the config's evidence only dkim applies to files: networks and recipients need an SMTP
    session, and anyone can write an authserv_id header into a file. Mails without evidence go to
    quarantine, unless --trusted is given. Exits 1 if any did, or could not be read. JSON: {"read",
    "message", "duplicate", "ignored", "quarantine", "repeated", "failed", "problems": [{"mail",
    "problem"}]}; "repeated" were quarantined or ignored before.
    """
    vouched = Trust("operator", "imported with --trusted") if trusted else None
    files = find_files(paths)
    tally = Tally()

    async def import_all(store: Store, file: ConfigFile) -> None:
        intake = app.intake_of(file.settings, store, vouched)
        find_stored = stored_messages(store, app.reader_of(file.settings, _UNJUDGED))
        with progress_bar(total_size(files), "importing") as progress:
            await import_files(files, intake, tally, now, progress, find_stored)

    try:
        run(config, import_all)
    except (KeyboardInterrupt, StoreUnavailable):
        click.echo(
            f"\nstopped: {tally.stored} mails are stored; run the same command again to continue, "
            "stored mails are then duplicates",
            err=True,
        )
        raise
    if as_json:
        as_document(tally.document())
    else:
        _print(tally, trusted=trusted)
    return FOUND_WRONG if tally.counts["quarantine"] or tally.failed else DONE


def _print(tally: Tally, *, trusted: bool) -> None:
    document = tally.document()
    as_fields((name, value) for name, value in document.items() if name != "problems")
    _print_problems(tally.problems, tally.counts["quarantine"] + tally.failed)
    if tally.counts["duplicate"] or tally.repeated:
        click.echo("note: mails that were received before are not delivered again", err=True)
    if tally.counts["quarantine"] and not trusted:
        click.echo(
            "note: of the evidence only dkim applies to files; if you know where they come from, "
            "run the same command with --trusted",
            err=True,
        )


def _print_problems(problems: Sequence[dict[str, str]], count: int) -> None:
    for each in problems:
        as_lines(printable(f"{each['mail']}: {each['problem']}"), err=True)
    if count > len(problems):
        click.echo(f"… and {count - len(problems)} more", err=True)
