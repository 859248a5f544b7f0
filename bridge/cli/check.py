"""`smsbridge check`: validates the config and shows what would run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bridge import app
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields, as_list, heading
from bridge.cli.parse import read_mail
from bridge.cli.printable import as_lines
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.imap import ImapSettings
from bridge.config.load import ConfigFile, find_config
from bridge.config.settings import Settings
from bridge.errors import BridgeError, ConfigErrors
from bridge.model import Arrival, MailFile, SourceKind, Trust
from bridge.net import loop
from bridge.operations.plan import describe, store_problems, warnings
from bridge.operations.routes import goes_nowhere, routes
from bridge.operations.sample_check import sample_problems


@click.command()
@click.option(
    "--mailboxes", "look", is_flag=True,
    help="Also log in to each mailbox and show its state; read-only.",
)  # fmt: skip
@click.option(
    "--message", "mail", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
    help="Instead show where this mail would go, and why not elsewhere; - is standard input.",
)  # fmt: skip
@click.option(
    "--source", type=click.Choice([each.value for each in SourceKind]), default="smtp",
    show_default=True, help="With --message: how it would come in, for filters by source.",
)  # fmt: skip
@with_config
@with_json
def check(look: bool, mail: Path | None, source: str, config: Path | None, as_json: bool) -> int:
    """Check the config and show what would run.

    Everything that needs no network is built as `run` builds it: secrets, certificates, providers.
    The sample mails that providers name are read, without a look at evidence. Exits 1 if there are
    problems; warnings alone exit 0. JSON: {"ok", "problems"} and, if the config is valid,
    {"config", "store", "smtp", "imap", "http", "providers", "evidence", "endpoints", "warnings"};
    with --mailboxes also {"mailboxes": [{"name", "problem", "mails", "first_start", "idle", "move",
    "uidplus", "missing_folders", "missing_rights"}]}.

    With --message no evidence is checked. Exits 1 also if the mail is no message, or no endpoint
    wants it. JSON: {"ok", "problems", "message": {"outcome": "message", "messages": [{"id",
    "provider", "endpoints": [{"name", "wanted", "reason"}]}]}}, or in "message" {"outcome":
    "quarantine" | "ignored", "reason", "detail"}.
    """
    try:
        file = require_config(config)
    except ConfigErrors as error:
        path = find_config(config)
        if path is None or not path.is_file():
            raise  # there is nothing to check
        return refuse(error.lines, as_json)
    if problems := problems_of(file):
        return refuse(problems, as_json)
    if mail is not None:
        return _route(file.settings, read_mail(mail), str(mail), SourceKind(source), as_json)
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


def problems_of(file: ConfigFile) -> list[str]:
    """Build and try everything that needs no network; return what is wrong, a line each."""
    found = app.problems(file.settings)
    # Of a URL that can't be parsed, the first list says so.
    if not any(each.key == "store.url" for each in found):
        found += store_problems(file.settings)
    if not found:
        reader = app.reader_of(file.settings, Trust("operator", "check"))
        found = asyncio.run(sample_problems(file.settings, reader, now))
    return [line for error in found for line in file.locate(error).lines]


def _route(settings: Settings, raw: bytes, name: str, source: SourceKind, as_json: bool) -> int:
    reader = app.reader_of(settings, Trust("operator", "check --message"))
    result = asyncio.run(reader.read(Arrival(MailFile(), name, raw, now())))
    document = routes(result, app.endpoints_of(settings), source)
    if as_json:
        as_document({"ok": True, "problems": [], "message": document})
    elif "messages" not in document:
        as_fields(document.items())
    for message in [] if as_json else document.get("messages", []):
        heading(f"message {message['id']} of {message['provider']}")
        as_list(("name", "wanted", "reason"), message["endpoints"], "there are no [[endpoints]]")
    return FOUND_WRONG if goes_nowhere(document) else DONE


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
    elif found.missing_rights:
        problem = (
            f"{prefix}the account may not {', nor '.join(found.missing_rights)}: give it these "
            "rights, or set on_message, on_quarantine and on_ignored to what it may do"
        )
    return {"name": settings.name, "problem": problem, **asdict(found)}


def refuse(problems: Sequence[str], as_json: bool) -> int:
    """Print what is wrong with the config; return the exit code."""
    if as_json:
        as_document({"ok": False, "problems": list(problems)})
    else:
        as_lines("\n".join(problems), err=True)
    return FOUND_WRONG


def _print(file: ConfigFile, mailboxes: Sequence[Mapping[str, Any]], wrong: Sequence[str]) -> None:
    plan = describe(file.settings)
    as_fields(
        [
            ("config", file.path),
            ("store", plan["store"]),
            *((f"smtp.{name}", value) for name, value in plan["smtp"].items()),
            *((f"posts.{name}", value) for name, value in plan["posts"].items()),
            ("http.listen", plan["http"]["listen"] or "off"),
            *((f"delivery.{name}", value) for name, value in plan["delivery"].items()),
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
        ("name", "preset", "time_zone", "region", "senders", "trust", "posts"),
        plan["providers"],
        "none",
    )
    if plan["evidence"]:
        heading("evidence")
        as_list(("kind", "proves", "providers"), plan["evidence"], "none")
    heading("endpoints")
    as_list(
        ("name", "url", "format", "secrets", "scheme", "login", "providers", "to", "concurrency",
         "timeout", "rate", "digest", "pull_tokens"),
        plan["endpoints"], "none",
    )  # fmt: skip
    found = warnings(file)
    if found:
        heading("warnings")
    for warning in found:
        as_lines(f"- {warning}")
    if mailboxes:
        heading("mailboxes")
        seen = [each for each in mailboxes if "mails" in each]
        as_list(("name", "mails", "first_start", "idle", "move", "uidplus"), seen, "none")
    verdict = "The config is valid." + (" See the warnings." if found else "")
    as_lines("\n" + ("\n".join(wrong) if wrong else verdict), err=bool(wrong))
