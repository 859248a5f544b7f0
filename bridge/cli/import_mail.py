"""`smsbridge import`: mails from files, by the same line as from a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bridge import app
from bridge.cli.opened import progress_bar, run
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile
from bridge.errors import StoreUnavailable
from bridge.model import Trust
from bridge.operations.import_files import Tally, import_files
from bridge.operations.mail_files import find_files, total_size
from bridge.store import Store


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--trusted", is_flag=True, help="Believe these mails: you answer for where they come from."
)
@with_config
@with_json
def import_mail(paths: tuple[Path, ...], trusted: bool, config: Path | None, as_json: bool) -> int:
    """Take in mails from files: mbox, Maildir, .eml, and folders of them.

    What becomes a message is sent like any other. A mail that came in before, by any way, is a
    duplicate and sends nothing, so the same command may be run again, also after it was stopped.
    It may run beside the daemon.

    The evidence of the config counts as far as a file carries it: dkim signatures do; networks
    and recipients don't, since nobody handed the file over; authserv_id doesn't, since anyone can
    write that header into a file. Mails without evidence go to quarantine, unless --trusted says
    that you answer for all of them. Exits 1 if any did, or could not be read. JSON: {"read",
    "message", "duplicate", "ignored", "quarantine", "repeated", "failed", "problems": [{"mail",
    "problem"}]}; "repeated" were in quarantine, or ignored, before.
    """
    vouched = Trust("operator", "imported with --trusted") if trusted else None
    files = find_files(paths)
    tally = Tally()

    async def take(store: Store, file: ConfigFile) -> None:
        intake = app.intake_of(file.settings, store, vouched)
        with progress_bar(total_size(files), "importing") as progress:
            await import_files(files, intake, tally, now, progress)

    try:
        run(config, take)
    except (KeyboardInterrupt, StoreUnavailable):
        click.echo(
            f"\nstopped: {tally.stored} mails are stored; the same command goes on, and stored "
            "mails are duplicates then",
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
    _name_problems(tally.problems, tally.counts["quarantine"] + tally.failed)
    if tally.counts["duplicate"] or tally.repeated:
        click.echo("note: what came in before is not sent again", err=True)
    if tally.counts["quarantine"] and not trusted:
        click.echo(
            "note: nobody handed these files over, so only dkim counts as their evidence; if you "
            "know where they come from, run the same command with --trusted",
            err=True,
        )


def _name_problems(problems: Sequence[dict[str, str]], count: int) -> None:
    for each in problems:
        click.echo(f"{each['mail']}: {each['problem']}", err=True)
    if count > len(problems):
        click.echo(f"… and {count - len(problems)} more", err=True)
