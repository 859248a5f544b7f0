"""`smsbridge import`: mails from files, by the same line as from a source."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from bridge.app import endpoints_of, reader_of
from bridge.cli.mail_files import FileMail, find_files, read_mails, total_size
from bridge.cli.opened import opened
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.cli.taking_in import TakingIn
from bridge.errors import ConfigError, StoreError
from bridge.model import Arrival, Receipt, SourceKind, Trust

_AT_ONCE: Final = 100  # mails in one transaction: they share its sync
_BYTES_AT_ONCE: Final = 8 * 1024**2
_TOLD: Final = 20  # mails that are named; the counts are of all
_OUTCOMES: Final = ("message", "duplicate", "ignored", "quarantine")


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--trusted", is_flag=True, help="Believe these mails: you answer for where they come from."
)
@with_config
@with_json
def import_(paths: tuple[Path, ...], trusted: bool, config: Path | None, as_json: bool) -> int:
    """Take in mails from files: mbox, Maildir, .eml, and folders of them.

    What becomes a message is sent like any other. A mail that came in before, by whichever way,
    is a duplicate and sends nothing, so the same command may be run again, also after it was
    stopped. It may run beside the daemon.

    A file has no sender whom the evidence of the config could be about (networks, recipients), so
    without --trusted such mails go to quarantine. Exits 1 if any did, or could not be read. JSON:
    {"read", "message", "duplicate", "ignored", "quarantine", "repeated", "failed", "problems":
    [{"mail", "problem"}]}; "repeated" were in quarantine, or ignored, before.
    """
    file = require_config(config)
    vouched = Trust("operator", "imported with --trusted") if trusted else None
    try:
        reader, endpoints = reader_of(file.settings, vouched), endpoints_of(file.settings)
    except ConfigError as error:
        raise file.explain(error) from None
    files = find_files(paths)
    tally = _Tally()
    with (
        opened(file.settings.store) as store,
        asyncio.Runner() as runner,
        click.progressbar(
            length=total_size(files), label="importing", file=sys.stderr,
            hidden=not sys.stderr.isatty(),
        ) as bar,
    ):  # fmt: skip
        line = TakingIn(store, reader, endpoints, "smsbridge import")
        batch = _Batch(line, runner, tally)
        try:
            for path in files:
                for mail in read_mails(path):
                    batch.add(mail)
                    bar.update(mail.consumed)
            batch.write()
        except (KeyboardInterrupt, StoreError, asyncio.CancelledError):
            click.echo(
                f"\nstopped: {tally.counts.total()} mails are stored; the same command goes on, "
                "what it meets again are duplicates",
                err=True,
            )
            raise
    if as_json:
        as_document(tally.document())
    else:
        _print(tally, trusted=trusted)
    return FOUND_WRONG if tally.counts["quarantine"] or tally.failed else DONE


class _Tally:
    """What became of the mails."""

    def __init__(self) -> None:
        self.read = 0
        self.failed = 0
        self.repeated = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[dict[str, str]] = []

    def fail(self, mail: str, problem: str) -> None:
        self.failed += 1
        self._name(mail, problem)

    def take(self, mail: str, receipt: Receipt, detail: str) -> None:
        self.counts[receipt.outcome.value] += 1
        self.repeated += receipt.repeated
        if receipt.outcome.value == "quarantine":
            self._name(mail, detail)

    def _name(self, mail: str, problem: str) -> None:
        if len(self.problems) < _TOLD:
            self.problems.append({"mail": mail, "problem": problem})

    def document(self) -> dict[str, object]:
        counts = {name: self.counts[name] for name in _OUTCOMES}
        return {
            "read": self.read, **counts, "repeated": self.repeated, "failed": self.failed,
            "problems": self.problems,
        }  # fmt: skip


@dataclass(slots=True)
class _Waiting:
    name: str
    arrival: Arrival


class _Batch:
    """Collects mails and stores them together."""

    def __init__(self, line: TakingIn, runner: asyncio.Runner, tally: _Tally) -> None:
        self._line = line
        self._runner = runner
        self._tally = tally
        self._waiting: list[_Waiting] = []
        self._size = 0

    def add(self, mail: FileMail) -> None:
        self._tally.read += 1
        if mail.raw is None:
            self._tally.fail(mail.name, mail.problem or "cannot be read")
            return
        arrival = Arrival(SourceKind.FILE, str(mail.path), mail.raw, now())
        self._waiting.append(_Waiting(mail.name, arrival))
        self._size += len(mail.raw)
        if len(self._waiting) >= _AT_ONCE or self._size >= _BYTES_AT_ONCE:
            self.write()

    def write(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        taken = self._runner.run(self._line.take([each.arrival for each in waiting]))
        for each, (receipt, detail) in zip(waiting, taken, strict=True):
            if isinstance(receipt, Receipt):
                self._tally.take(each.name, receipt, detail)
            else:
                self._tally.fail(each.name, str(receipt))


def _print(tally: _Tally, *, trusted: bool) -> None:
    document = tally.document()
    as_fields((name, value) for name, value in document.items() if name != "problems")
    _name_problems(tally.problems, tally.counts["quarantine"] + tally.failed)
    if tally.counts["duplicate"] or tally.repeated:
        click.echo("note: what came in before is not sent again", err=True)
    if tally.counts["quarantine"] and not trusted:
        click.echo(
            "note: a file has no sender; if you know where these mails come from, run the same "
            "command with --trusted",
            err=True,
        )


def _name_problems(problems: Sequence[dict[str, str]], count: int) -> None:
    for each in problems:
        click.echo(f"{each['mail']}: {each['problem']}", err=True)
    if count > len(problems):
        click.echo(f"… and {count - len(problems)} more", err=True)
