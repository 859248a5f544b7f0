"""Reconciles a mailbox with the ledger: finds mails that are not accounted for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from bridge.config.imap import ImapSettings
from bridge.errors import BridgeError, ImapUnavailable, NotPossible, StoreUnavailable
from bridge.intake import Intake
from bridge.model import Arrival, Ignored, MailboxPlace
from bridge.operations.documents import Document
from bridge.reader import Reading, Result
from bridge.sources.imap.mailbox import OpenMailbox
from bridge.store import MailboxRow, Store
from bridge.store.dedupe import is_known
from bridge.store.mailboxes import find_mailbox, known_uids


@dataclass(frozen=True, slots=True)
class Missing:
    """A mail that isn't in the ledger.

    `waiting`: its UID is above the cursor, so the daemon has yet to read it; otherwise it was
    missed. `problem`: why it couldn't be read or stored.
    """

    uid: int
    waiting: bool
    would_be: str | None = None  # message, quarantine or ignored
    message_id: str | None = None
    taken_in: str | None = None
    problem: str | None = None


@dataclass(slots=True)
class Comparison:
    """The result of a reconciliation."""

    mails: int = 0
    known: int = 0  # in the ledger, from this mailbox or another source
    left_out: int = 0  # from before the initial sync, excluded by `start`
    forgotten: int = 0  # so old that `[retention] records` deletes what tells them
    missing: list[Missing] = field(default_factory=list)

    def document(self) -> Document:
        """Return {"mails", "known", "left_out", "forgotten", "missing": [{"uid", …}]}."""
        return {
            "mails": self.mails,
            "known": self.known,
            "left_out": self.left_out,
            "forgotten": self.forgotten,
            "missing": [asdict(each) for each in self.missing],
        }


async def reconcile_mailbox(
    mailbox: OpenMailbox,
    settings: ImapSettings,
    store: Store,
    intake: Intake,
    clock: Callable[[], datetime],
    *,
    fix: bool = False,
    everything: bool = False,
    records: float | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Comparison:
    """Compare every mail of a folder with the ledger; `fix` imports what is missing.

    Only mails whose UID isn't in the ledger are fetched. `everything` includes mails from before
    the initial sync that `start` left out, and those that are forgotten: read by the daemon, and
    older than `records`, the age in seconds at which retention deletes what tells them. `progress`
    is called with (done, total). Raises NotPossible for a mailbox that was never read (without
    `everything`), ImapUnavailable, StoreUnavailable or StoreFull.
    """
    oldest = None if everything or records is None else clock() - timedelta(seconds=records)
    return await _Run(mailbox, settings, store, intake, clock, oldest, fix=fix).compare(
        everything=everything, progress=progress
    )


class _Run:
    def __init__(
        self,
        mailbox: OpenMailbox,
        settings: ImapSettings,
        store: Store,
        intake: Intake,
        clock: Callable[[], datetime],
        oldest: datetime | None,
        *,
        fix: bool,
    ) -> None:
        self._mailbox = mailbox
        self._settings = settings
        self._store = store
        self._intake = intake
        self._clock = clock
        self._oldest = oldest
        self._fix = fix
        self._found = Comparison()

    async def compare(
        self, *, everything: bool, progress: Callable[[int, int], None]
    ) -> Comparison:
        found, uidvalidity = self._found, self._mailbox.uidvalidity
        # In this order: mails that the daemon stores meanwhile are in the ledger, never missing.
        uids = sorted(await self._mailbox.list_uids())
        row, places = await self._ledger(uidvalidity)
        if (row is None or row.cursor is None) and not everything:
            raise NotPossible(
                f"imap.{self._settings.name} was never read, so nobody knows which of its "
                f"{len(uids)} mails `start` leaves out: let the daemon read it first, or use --all"
            )
        found.mails = len(uids)
        for number, uid in enumerate(uids, 1):
            if uid in places:
                found.known += 1
            elif not everything and _left_out(row, uidvalidity, uid):
                found.left_out += 1
            else:
                await self._look(uid, waiting=_waiting(row, uidvalidity, uid))
            progress(number, len(uids))
        return await self._without_stored_meanwhile(uidvalidity)

    async def _look(self, uid: int, *, waiting: bool) -> None:
        missing = Missing(uid, waiting)
        try:
            raw = await self._mailbox.fetch_raw(uid)
        except ImapUnavailable:
            raise  # without the mailbox, all the rest would seem missing
        except BridgeError as error:
            self._found.missing.append(replace(missing, problem=str(error)))
            return
        if raw is None:
            self._found.mails -= 1  # expunged since we listed it
            return
        place = MailboxPlace(
            self._settings.name, self._settings.folder, self._mailbox.uidvalidity, uid
        )
        arrival = Arrival(place, self._settings.name, raw, self._clock())
        try:
            result = await self._intake.read(arrival)
        except BridgeError as error:
            self._found.missing.append(replace(missing, problem=str(error)))
            return
        read = result.messages if isinstance(result, Reading) else ()
        identities = [each.identity for each in read]
        if await self._store.read(partial(is_known, raw=raw, identities=identities)):
            self._found.known += 1
            return
        if not waiting and await self._forgotten(uid):
            self._found.forgotten += 1
            return
        missing = _judged(missing, result)
        self._found.missing.append(
            await self._take_in(arrival, result, missing) if self._fix else missing
        )

    async def _forgotten(self, uid: int) -> bool:
        if self._oldest is None:
            return False
        received_at = await self._mailbox.received_at(uid)
        return received_at is not None and received_at < self._oldest

    async def _take_in(self, arrival: Arrival, result: Result, missing: Missing) -> Missing:
        try:
            receipt = await self._intake.store(arrival, result)
        except StoreUnavailable:
            raise
        except BridgeError as error:
            return replace(missing, problem=str(error))
        return replace(missing, taken_in=receipt.outcome.value)

    async def _without_stored_meanwhile(self, uidvalidity: int) -> Comparison:
        """Drop mails that the daemon has stored in the meantime."""
        found = self._found
        if found.missing and not self._fix:
            _, places = await self._ledger(uidvalidity)
            still = [each for each in found.missing if each.uid not in places]
            found.known += len(found.missing) - len(still)
            found.missing = still
        return found

    async def _ledger(self, uidvalidity: int) -> tuple[MailboxRow | None, set[int]]:
        name, folder = self._settings.name, self._settings.folder

        def look(connection: Connection) -> tuple[MailboxRow | None, set[int]]:
            row = find_mailbox(connection, name, folder)
            return row, known_uids(connection, name, folder, uidvalidity)

        return await self._store.read(look)


def _judged(missing: Missing, result: Result) -> Missing:
    if isinstance(result, Reading):
        return replace(missing, would_be="message", message_id=result.messages[0].message.id)
    return replace(missing, would_be="ignored" if isinstance(result, Ignored) else "quarantine")


def _left_out(row: MailboxRow | None, uidvalidity: int, uid: int) -> bool:
    if row is None or row.cursor is None or row.horizon is None:
        return False
    return row.cursor.uidvalidity == uidvalidity and uid < row.horizon


def _waiting(row: MailboxRow | None, uidvalidity: int, uid: int) -> bool:
    cursor = None if row is None else row.cursor
    return cursor is None or cursor.uidvalidity != uidvalidity or uid > cursor.uid
