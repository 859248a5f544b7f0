"""Parses many mail files with the configured providers; stores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from bridge.model import Arrival, MailFile, Reason
from bridge.operations.documents import Document, result_document
from bridge.operations.mail_files import FileMail, read_mails
from bridge.reader import Reader, Reading

OUTCOMES: Final = ("message", "duplicate", "ignored", "quarantine")


class Trial:
    """Parses mails one by one and keeps a row for each: the outcome, and why.

    Rows are {"mail", "outcome", "provider", "message_id", "reason", "detail"}.
    """

    def __init__(self, reader: Reader, clock: Callable[[], datetime]) -> None:
        self.rows: list[Document] = []
        self._reader = reader
        self._clock = clock
        self._ids: set[str] = set()

    @property
    def totals(self) -> Document:
        """The number of mails per outcome."""
        counts = Counter(row["outcome"] for row in self.rows)
        return {outcome: counts[outcome] for outcome in OUTCOMES}

    async def run(self, files: Sequence[Path], progress: Callable[[int], None]) -> None:
        """Parse every mail of the files; `progress` is called with the bytes read."""
        for path in files:
            for mail in read_mails(path):
                self.rows.append(await self._row(mail))
                progress(mail.consumed)

    async def _row(self, mail: FileMail) -> Document:
        row: Document = {
            "mail": mail.name,
            "outcome": "quarantine",
            "provider": None,
            "message_id": None,
            "reason": Reason.UNDECODABLE.value,
            "detail": mail.problem,
        }
        if mail.raw is None:
            return row
        arrival = Arrival(MailFile(), str(mail.path), mail.raw, self._clock())
        result = await self._reader.read(arrival)
        document = result_document(result)
        row |= {key: document.get(key) for key in ("outcome", "reason", "detail")}
        row["provider"] = result.provider
        if isinstance(result, Reading):
            message_id = result.messages[0].message.id
            row["outcome"] = "duplicate" if message_id in self._ids else "message"
            row["message_id"] = message_id
            self._ids.add(message_id)
        return row

    def table(self) -> list[tuple[object, ...]]:
        """Return (outcome, provider, reason, number of mails), most frequent first."""
        counts = Counter((row["outcome"], row["provider"], row["reason"]) for row in self.rows)
        return [(*key, count) for key, count in counts.most_common()]
