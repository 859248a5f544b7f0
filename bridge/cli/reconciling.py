"""Compares a mailbox with the ledger: which of its mails are accounted for, and which are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bridge.cli.options import now
from bridge.cli.taking_in import TakingIn
from bridge.config.imap import ImapSettings
from bridge.errors import BridgeError, ImapUnavailable, NotPossible
from bridge.model import Arrival, Ignored, MailboxPlace, Receipt, SourceKind
from bridge.sources.imap.mailbox import OpenMailbox
from bridge.store import Database, Ingest, MailboxRow, Parsed
from bridge.store.mailboxes import find_mailbox, known_uids
from bridge.store.seen import is_known


@dataclass(frozen=True, slots=True)
class Missing:
    """A mail that the ledger doesn't have.

    `waiting`: it lies above the cursor, so the daemon has not come to it yet; else it was lost
    sight of. `problem` says why it could not be looked at.
    """

    uid: int
    waiting: bool
    would_be: str | None = None  # message, quarantine or ignored
    message_id: str | None = None
    taken_in: str | None = None
    problem: str | None = None


@dataclass(slots=True)
class Found:
    """What the comparison found."""

    mails: int = 0
    known: int = 0  # in the ledger, from this mailbox or by another way
    left_out: int = 0  # were there before the first start, and `start` didn't want them
    missing: list[Missing] = field(default_factory=list)


class Comparison:
    """One mailbox against the ledger; with `fix`, what is missing is taken in as it is found."""

    def __init__(
        self,
        settings: ImapSettings,
        store: Database,
        line: TakingIn,
        *,
        fix: bool,
        everything: bool,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._fix = fix
        self._everything = everything
        self._progress = progress

    async def run(self, mailbox: OpenMailbox) -> Found:
        """Compare; only mails that the ledger doesn't know by their place are fetched."""
        found = Found()
        # In this order: what the daemon takes in meanwhile is known then, and never missing.
        uids = sorted(await mailbox.list_uids())
        row, places = self._ledger(mailbox.uidvalidity)
        if (row is None or row.cursor is None) and not self._everything:
            raise NotPossible(
                f"imap.{self._settings.name} was never read, so nobody knows which of its "
                f"{len(uids)} mails `start` leaves out: let the daemon read it first, or say --all"
            )
        found.mails = len(uids)
        for number, uid in enumerate(uids, 1):
            if uid in places:
                found.known += 1
            elif not self._everything and _left_out(row, mailbox.uidvalidity, uid):
                found.left_out += 1
            else:
                await self._look(mailbox, uid, row, found)
            self._progress(number, len(uids))
        return self._once_more(mailbox.uidvalidity, found)

    async def _look(
        self, mailbox: OpenMailbox, uid: int, row: MailboxRow | None, found: Found
    ) -> None:
        missing = Missing(uid, _waiting(row, mailbox.uidvalidity, uid))
        try:
            raw = await mailbox.fetch_raw(uid)
        except ImapUnavailable:
            raise  # without the mailbox the rest would look as if it were missing
        except BridgeError as error:
            found.missing.append(replace(missing, problem=str(error)))
            return
        if raw is None:
            found.mails -= 1  # gone since we listed it
            return
        place = MailboxPlace(self._settings.name, self._settings.folder, mailbox.uidvalidity, uid)
        arrival = Arrival(SourceKind.IMAP, self._settings.name, raw, now(), mailbox=place)
        item, _ = await self._line.read(arrival)
        with self._store.read() as connection:
            if is_known(connection, item):
                found.known += 1
                return
        found.missing.append(self._judge(missing, item))

    def _judge(self, missing: Missing, item: Ingest) -> Missing:
        result = item.result
        if isinstance(result, Parsed):
            missing = replace(missing, would_be="message", message_id=result.identity.message_id)
        else:
            what = "ignored" if isinstance(result, Ignored) else "quarantine"
            missing = replace(missing, would_be=what)
        if not self._fix:
            return missing
        (taken,) = self._line.commit([item])
        if isinstance(taken, Receipt):
            return replace(missing, taken_in=taken.outcome.value)
        return replace(missing, problem=str(taken))

    def _once_more(self, uidvalidity: int, found: Found) -> Found:
        """Drop what the daemon has taken in while we looked."""
        if found.missing and not self._fix:
            _, places = self._ledger(uidvalidity)
            still = [each for each in found.missing if each.uid not in places]
            found.known += len(found.missing) - len(still)
            found.missing = still
        return found

    def _ledger(self, uidvalidity: int) -> tuple[MailboxRow | None, set[int]]:
        name, folder = self._settings.name, self._settings.folder
        with self._store.read() as connection:
            row = find_mailbox(connection, name, folder)
            return row, known_uids(connection, name, folder, uidvalidity)


def _left_out(row: MailboxRow | None, uidvalidity: int, uid: int) -> bool:
    if row is None or row.cursor is None or row.horizon is None:
        return False
    return row.cursor.uidvalidity == uidvalidity and uid < row.horizon


def _waiting(row: MailboxRow | None, uidvalidity: int, uid: int) -> bool:
    cursor = None if row is None else row.cursor
    return cursor is None or cursor.uidvalidity != uidvalidity or uid > cursor.uid
