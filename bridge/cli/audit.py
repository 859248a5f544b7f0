"""`smsbridge audit`: verifies that no message is unaccounted for."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run, total_progress
from bridge.cli.options import now, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_table, heading
from bridge.cli.printable import as_lines
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations.audit import audit_ledger


@click.command()
@click.option(
    "--mark",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that remembers how far the audit is: interrupted, it goes on from there.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Also let SQLite check every page and index, which reads the whole file at once.",
)
@with_config
@with_json
def audit(mark: Path | None, deep: bool, config: Path | None, as_json: bool) -> int:
    """Verify that no message is unaccounted for, and none altered or missing.

    Exits 1 if a check fails. Can run beside the daemon: it reads part by part, at the lowest
    priority.
    JSON: {"ok", "checks": [{"name", "ok", "detail"}], "totals": {…}, "notes"}.
    """
    with total_progress("auditing") as progress:
        report = run(config, lambda store, _: audit_ledger(store, now, progress, mark, deep=deep))
    if as_json:
        as_document(report)
    else:
        rows = [
            (each["name"], "ok" if each["ok"] else "WRONG", each["detail"])
            for each in report["checks"]
        ]
        as_table(("check", "result", "detail"), rows, "no checks")
        heading("totals")
        as_fields(report["totals"].items())
        for note in report["notes"]:
            as_lines(f"note: {note}")
    return DONE if report["ok"] else FOUND_WRONG
