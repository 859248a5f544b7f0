"""A mail as it came, with what the providers in use find in it, marked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bridge.errors import NotPossible
from bridge.operations.documents import Document
from bridge.operations.explain import explain_mail
from bridge.operations.marked_text import MarkedLine, marked_lines
from bridge.operations.quarantine import raw_arrival
from bridge.providers import Provider
from bridge.store import Store

_LINES: Final = 200
_LONGEST: Final = 1000  # characters of a line
_UNREAD_BYTES: Final = 64 * 1024  # shown of what is no mail
_busy: Final = asyncio.Semaphore(1)  # the workers are the sources', too


@dataclass(frozen=True, slots=True)
class Study:
    """What is shown of a mail: `note` says why there is nothing, `raw` that it can be fetched."""

    facts: Sequence[tuple[str, str]] = ()
    lines: Sequence[MarkedLine] = field(default=(), repr=False)
    more: int = 0
    raw: bool = False
    note: str = ""
    explained: Document | None = field(default=None, repr=False)


MASKED: Final = Study()


async def study(store: Store, known: Sequence[Provider], arrival_id: int) -> Study:
    """Return what is shown of an arrival; decoded by a worker, one at a time."""
    async with _busy:
        try:
            raw = await raw_arrival(store, arrival_id)
        except NotPossible as error:
            return Study(note=f"{error}")
        return await asyncio.to_thread(partial(_studied, known, raw))


def _studied(known: Sequence[Provider], raw: bytes) -> Study:
    explained = explain_mail(known, raw)
    document = explained.document
    text = explained.text
    facts: list[tuple[str, str]] = []
    if text is not None:
        mail, charset = document["mail"], document["charset"]
        declared = charset["declared"]
        facts = [
            ("From", mail["from"] or ""),
            ("Subject", mail["subject"]),
            ("Message-ID", mail["message_id"] or ""),
            ("Read from", "HTML" if document["from_html"] else "plain text"),
            (
                "Charset",
                f"{charset['used']} ({f'declared as {declared}' if declared else 'none declared'})",
            ),
            ("Known by", document["matched"] or "no provider"),
            ("Not found", ", ".join(document["missing"])),
        ]
    if not (text or "").strip():  # no mail, or one of nothing but headers: then these
        text = raw[:_UNREAD_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    lines, more = marked_lines(text or "", explained.spans, _LINES, _LONGEST)
    return Study(
        [(name, value) for name, value in facts if value], lines, more, raw=True, explained=document
    )
