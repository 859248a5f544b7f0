"""`smsbridge check`: is the config right, and what would run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bridge.cli.options import require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.plan import build_problems, describe, warnings
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.load import ConfigFile, find_config
from bridge.errors import ConfigErrors


@click.command()
@with_config
@with_json
def check(config: Path | None, as_json: bool) -> int:
    """Check the config and say what would run.

    All that needs no network is built as `run` would build it: secrets, certificates, providers.
    Exits 1 if something is wrong;
    warnings alone are 0. JSON: {"ok", "problems"} and, if ok, {"config", "store", "smtp",
    "imap", "http", "providers", "endpoints", "warnings"}.
    """
    try:
        file = require_config(config)
    except ConfigErrors as error:
        path = find_config(config)
        if path is None or not path.is_file():
            raise  # nothing was checked
        return _refuse(error.lines, as_json)
    problems = build_problems(file)
    if problems:
        return _refuse(problems, as_json)
    if as_json:
        plan = describe(file.settings)
        as_document(
            {
                "ok": True,
                "problems": [],
                "config": str(file.path),
                **plan,
                "warnings": warnings(file),
            }
        )
    else:
        _print(file)
    return DONE


def _refuse(problems: Sequence[str], as_json: bool) -> int:
    if as_json:
        as_document({"ok": False, "problems": list(problems)})
    else:
        click.echo("\n".join(problems), err=True)
    return FOUND_WRONG


def _print(file: ConfigFile) -> None:
    plan = describe(file.settings)
    as_fields(
        [
            ("config", file.path),
            ("store", plan["store"]),
            *((f"smtp.{name}", value) for name, value in plan["smtp"].items()),
            ("http.listen", plan["http"]["listen"] or "off"),
        ]
    )
    if plan["imap"]:
        heading("imap")
        as_list(
            ("name", "server", "folder", "login", "first_start", "on_message", "on_quarantine",
             "on_ignored"),
            plan["imap"], "none",
        )  # fmt: skip
    heading("providers")
    as_list(
        ("name", "preset", "time_zone", "region", "senders", "trust"), plan["providers"], "none"
    )
    heading("endpoints")
    as_list(
        ("name", "url", "secrets", "providers", "to", "concurrency", "timeout"),
        plan["endpoints"],
        "none",
    )
    told = warnings(file)
    if told:
        heading("warnings")
    for warning in told:
        click.echo(f"- {warning}")
    click.echo("\nThe config is right." + (" Mind the warnings." if told else ""))
