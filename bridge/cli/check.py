"""`smsbridge check`: is the config right, and what would run."""

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
from bridge.operations.plan import describe, warnings


@click.command()
@click.option(
    "--mailboxes", "look", is_flag=True,
    help="Also get into each mailbox and say what is there; nothing in it is changed.",
)  # fmt: skip
@with_config
@with_json
def check(look: bool, config: Path | None, as_json: bool) -> int:
    """Check the config and say what would run.

    All that needs no network is built as `run` would build it: secrets, certificates, providers.
    Exits 1 if something is wrong; warnings alone are 0. JSON: {"ok", "problems"} and, if the
    config is right, {"config", "store", "smtp", "imap", "http", "providers", "evidence",
    "endpoints", "warnings"}; with --mailboxes also {"mailboxes": [{"name", "problem", "mails",
    "first_start", "idle", "move", "uidplus", "missing_folders"}]}.
    """
    try:
        file = require_config(config)
    except ConfigErrors as error:
        path = find_config(config)
        if path is None or not path.is_file():
            raise  # nothing was checked
        return _refuse(error.lines, as_json)
    found = app.problems(file.settings)
    problems = [line for error in found for line in file.locate(error).lines]
    if problems:
        return _refuse(problems, as_json)
    mailboxes = loop.run(_look_into(file.settings.imap)) if look else []
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


async def _look_into(mailboxes: Sequence[ImapSettings]) -> list[dict[str, Any]]:
    """Look into all mailboxes at once, each within its own timeouts."""
    return list(await asyncio.gather(*map(_survey, mailboxes)))


async def _survey(settings: ImapSettings) -> dict[str, Any]:
    called = f"imap.{settings.name}: "
    try:
        found = await app.survey_mailbox(settings)
    except BridgeError as error:
        # Some sentences name the mailbox already.
        return {"name": settings.name, "problem": called + str(error).removeprefix(called)}
    problem = None
    if found.missing_folders:
        names = ", ".join(map(repr, found.missing_folders))
        problem = f"{called}there is no folder {names}: make it, or name another one"
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
    told = warnings(file)
    if told:
        heading("warnings")
    for warning in told:
        click.echo(f"- {warning}")
    if mailboxes:
        heading("mailboxes")
        seen = [each for each in mailboxes if "mails" in each]
        as_list(("name", "mails", "first_start", "idle", "move", "uidplus"), seen, "none")
    verdict = "The config is right." + (" Mind the warnings." if told else "")
    click.echo("\n" + ("\n".join(wrong) if wrong else verdict), err=bool(wrong))
