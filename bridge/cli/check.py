"""`smsbridge check`: validates the config and shows what would run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bridge import app
from bridge.cli.options import require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.imap import ImapSettings
from bridge.config.load import ConfigFile, find_config
from bridge.errors import BridgeError, ConfigErrors
from bridge.net import loop
from bridge.operations.plan import describe, store_problems, warnings


@click.command()
@click.option(
    "--mailboxes", "look", is_flag=True,
    help="Also log in to each mailbox and show its state; read-only.",
)  # fmt: skip
@with_config
@with_json
def check(look: bool, config: Path | None, as_json: bool) -> int:
    """Check the config and show what would run.

    Everything that needs no network is built as `run` builds it: secrets, certificates, providers.
    Exits 1 if there are problems; warnings alone exit 0. JSON: {"ok", "problems"} and, if the
    config is valid, {"config", "store", "smtp", "imap", "http", "providers", "evidence",
    "endpoints", "warnings"}; with --mailboxes also {"mailboxes": [{"name", "problem", "mails",
    "first_start", "idle", "move", "uidplus", "missing_folders"}]}.
    """
    try:
        file = require_config(config)
    except ConfigErrors as error:
        path = find_config(config)
        if path is None or not path.is_file():
            raise  # there is nothing to check
        return _refuse(error.lines, as_json)
    found = app.problems(file.settings)
    # Of a URL that can't be parsed, the first list says so.
    if not any(each.key == "store.url" for each in found):
        found += store_problems(file.settings)
    problems = [line for error in found for line in file.locate(error).lines]
    if problems:
        return _refuse(problems, as_json)
    mailboxes = loop.run(_survey_all(file.settings.imap)) if look else []
    wrong = [f"{file.path}: {each['problem']}" for each in mailboxes if each["problem"]]
    if as_json:
        plan = describe(file.settings)
        as_document(
            {
                "ok": not wrong,
                "problems": wrong,
                "config": str(file.path),
                **plan,
                "warnings": warnings(file),
                **({"mailboxes": mailboxes} if look else {}),
            }
        )
    else:
        _print(file, mailboxes, wrong)
    return FOUND_WRONG if wrong else DONE


async def _survey_all(mailboxes: Sequence[ImapSettings]) -> list[dict[str, Any]]:
    """Survey all mailboxes concurrently, each within its own timeouts."""
    return list(await asyncio.gather(*map(_survey, mailboxes)))


async def _survey(settings: ImapSettings) -> dict[str, Any]:
    prefix = f"imap.{settings.name}: "
    try:
        found = await app.survey_mailbox(settings)
    except BridgeError as error:
        # Some messages name the mailbox already.
        return {"name": settings.name, "problem": prefix + str(error).removeprefix(prefix)}
    problem = None
    if found.missing_folders:
        names = ", ".join(map(repr, found.missing_folders))
        problem = f"{prefix}there is no folder {names}: create it, or name another one"
    return {"name": settings.name, "problem": problem, **asdict(found)}


def _refuse(problems: Sequence[str], as_json: bool) -> int:
    if as_json:
        as_document({"ok": False, "problems": list(problems)})
    else:
        click.echo("\n".join(problems), err=True)
    return FOUND_WRONG


def _print(file: ConfigFile, mailboxes: Sequence[Mapping[str, Any]], wrong: Sequence[str]) -> None:
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
    if plan["evidence"]:
        heading("evidence")
        as_list(("kind", "proves", "providers"), plan["evidence"], "none")
    heading("endpoints")
    as_list(
        ("name", "url", "secrets", "scheme", "providers", "to", "concurrency", "timeout"),
        plan["endpoints"],
        "none",
    )
    found = warnings(file)
    if found:
        heading("warnings")
    for warning in found:
        click.echo(f"- {warning}")
    if mailboxes:
        heading("mailboxes")
        seen = [each for each in mailboxes if "mails" in each]
        as_list(("name", "mails", "first_start", "idle", "move", "uidplus"), seen, "none")
    verdict = "The config is valid." + (" See the warnings." if found else "")
    click.echo("\n" + ("\n".join(wrong) if wrong else verdict), err=bool(wrong))
