"""Why a mail became what it became: the provider that matched, and where each value stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from bridge import mail, providers
from bridge.cli.output import as_fields, as_table, heading, printable, when
from bridge.cli.rows import Document
from bridge.ingest import Reading
from bridge.model import Email, Event, Ignored, Unreadable
from bridge.providers.base import Explains, Explanation, Provider, Trace

_MAX_LINES: Final = 200  # of a mail that are shown
_MARK: Final = "black on bright_yellow"
_KEYS: Final = (
    "provider", "matched", "found", "missing", "charset", "from_html", "warnings", "mail",
    "webhook",
)  # fmt: skip


def explanation(
    known: Sequence[Provider], raw: bytes, result: Reading | Unreadable | Ignored
) -> Document:
    """Say how a mail was read, beside what it became; all that is None was not come to.

    {"provider", "matched", "found": [{"field", "where", "line", "value"}], "missing", "charset":
    {"used", "declared"}, "from_html", "warnings", "mail": {"from", "subject", "date",
    "message_id"}, "webhook": {"id", "type", "timestamp", "size"}}
    """
    email = mail.decode(raw)
    if isinstance(email, Unreadable):
        return dict.fromkeys(_KEYS) | {"found": [], "missing": [], "warnings": []}
    provider, told = _told(known, email)
    warnings = [*email.warnings, *(result.message.warnings if isinstance(result, Reading) else ())]
    return {
        "provider": None if provider is None else provider.name,
        "matched": None if told is None else told.matched,
        "found": [] if told is None else [_found(email, each) for each in told.found],
        "missing": [] if told is None else list(told.missing),
        "charset": {"used": email.charset, "declared": email.declared_charset},
        "from_html": email.from_html,
        "warnings": list(dict.fromkeys(warnings)),
        "mail": {
            "from": email.sender,
            "subject": email.subject,
            "date": when(email.date),
            "message_id": email.message_id,
        },
        "webhook": _webhook(result.event) if isinstance(result, Reading) else None,
    }


def _webhook(event: Event) -> Document:
    envelope = json.loads(event.body)
    return {
        "id": event.id,
        "type": envelope["type"],
        "timestamp": envelope["timestamp"],
        "size": len(event.body),
    }


def print_explanation(known: Sequence[Provider], raw: bytes, told: Document) -> None:
    """Print an explanation, and the mail's text with the found parts marked."""
    charset = told["charset"]
    if charset is not None:
        declared = charset["declared"]
        said = f"declared as {declared}" if declared else "none is declared"
        charset = f"{charset['used']} ({said})"
    as_fields([
        ("provider", told["provider"]),
        ("matched", told["matched"]),
        ("missing", told["missing"]),
        ("charset", charset),
        ("read from", told["mail"] and ("HTML" if told["from_html"] else "plain text")),
        ("warnings", told["warnings"]),
    ])  # fmt: skip
    if told["found"]:
        heading("found")
        rows = [
            [each[key] for key in ("field", "line", "where", "value")] for each in told["found"]
        ]
        as_table(("field", "line", "where", "value"), rows, "nothing")
    email = mail.decode(raw)
    if isinstance(email, Email):
        heading("the mail's text")
        _print_marked(email.text, _told(known, email)[1])


def _told(known: Sequence[Provider], email: Email) -> tuple[Provider | None, Explanation | None]:
    provider = providers.choose(known, email)
    if isinstance(provider, Unreadable):
        return None, None
    if isinstance(provider, Explains):
        return provider, provider.explain(email)
    return provider, Explanation("it took the mail for its own", (), ())


def _found(email: Email, trace: Trace) -> Document:
    placed = trace.start is not None
    return {
        "field": trace.field,
        "where": trace.where,
        "line": email.text.count("\n", 0, trace.start) + 1 if placed else None,
        "value": email.text[trace.start : trace.end] if placed else None,
    }


def _print_marked(text: str, told: Explanation | None) -> None:
    """Print the lines, each with the fields that stand on it; on a terminal these are marked."""
    spans = [
        (each.start, each.end, each.field)
        for each in (told.found if told else ())
        if each.start is not None and each.end is not None
    ]
    lines = text.removesuffix("\n").split("\n")
    names = []
    at = 0
    for line in lines:
        on_it = [field for start, end, field in spans if start <= at + len(line) and end >= at]
        names.append(", ".join(on_it))
        at += len(line) + 1
    margin = max(map(len, names[:_MAX_LINES]))
    console = Console() if sys.stdout.isatty() else None
    at = 0
    for number, (line, name) in enumerate(zip(lines, names, strict=True), 1):
        if number > _MAX_LINES:
            click.echo(f"… {len(lines) - _MAX_LINES} more lines")
            break
        shown = Text(f"{number:4} {name.ljust(margin)} | ", style="dim")
        for piece, marked in _pieces(line, at, spans):
            shown.append(printable(piece), style=f"not dim {_MARK if marked else ''}")
        if console is None:
            click.echo(shown.plain.rstrip())
        else:
            console.print(shown)
        at += len(line) + 1


def _pieces(line: str, at: int, spans: Sequence[tuple[int, int, str]]) -> list[tuple[str, bool]]:
    """Cut a line that begins at this offset into what was found and what was not."""
    cuts = {0, len(line)}
    for start, end, _ in spans:
        cuts |= {min(max(start - at, 0), len(line)), min(max(end - at, 0), len(line))}
    edges = sorted(cuts)
    return [
        (line[a:b], any(start <= at + a and at + b <= end for start, end, _ in spans))
        for a, b in pairwise(edges)
    ]
