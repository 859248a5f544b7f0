"""The mailboxes in the ledger: how far each was read, when, and which bridge reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, bindparam, select, text, update

from bridge import logs
from bridge.errors import StoreError
from bridge.model import Cursor
from bridge.store.tables import arrivals, mailboxes
from bridge.store.types import Instant, SafeText

log = logs.logger("store")
T = TypeVar("T")

# How long a bridge may read a mailbox without saying so again. It is renewed three times as often;
# another bridge takes over when it has ended.
LEAD_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """One folder of one mailbox; `cursor` is None until it was read for the first time.

    `horizon`: mails with a UID below it were there before the first start, and were taken in only
    as `start` in the config says.
    """

    mailbox: str
    folder: str
    cursor: Cursor | None
    horizon: int | None
    synced_at: datetime | None
    leader: str | None
    led_until: datetime | None


_TYPED: Final = (bindparam("mailbox", type_=SafeText), bindparam("folder", type_=SafeText))
# The same words on SQLite and PostgreSQL. Only another UIDVALIDITY lets a cursor go back.
_ADVANCE: Final = text(
    """
    INSERT INTO mailboxes (mailbox, folder, uidvalidity, uid, horizon, synced_at)
    VALUES (:mailbox, :folder, :uidvalidity, :uid, :horizon, :synced_at)
    ON CONFLICT (mailbox, folder) DO UPDATE SET
      uid = CASE WHEN mailboxes.uidvalidity = excluded.uidvalidity AND mailboxes.uid > excluded.uid
            THEN mailboxes.uid ELSE excluded.uid END,
      horizon = CASE WHEN mailboxes.uidvalidity = excluded.uidvalidity
                THEN COALESCE(excluded.horizon, mailboxes.horizon) ELSE excluded.horizon END,
      uidvalidity = excluded.uidvalidity,
      synced_at = COALESCE(excluded.synced_at, mailboxes.synced_at)
    """
).bindparams(
    *_TYPED,
    bindparam("uidvalidity", type_=mailboxes.c.uidvalidity.type),
    bindparam("uid", type_=mailboxes.c.uid.type),
    bindparam("horizon", type_=mailboxes.c.horizon.type),
    bindparam("synced_at", type_=Instant),
)
_LEAD: Final = text(
    """
    INSERT INTO mailboxes (mailbox, folder, leader, led_until)
    VALUES (:mailbox, :folder, :leader, :until)
    ON CONFLICT (mailbox, folder) DO UPDATE SET
      leader = excluded.leader, led_until = excluded.led_until
      WHERE mailboxes.leader IS NULL OR mailboxes.leader = excluded.leader
      OR mailboxes.led_until <= :now
    """
).bindparams(
    *_TYPED,
    bindparam("leader", type_=SafeText),
    bindparam("until", type_=Instant),
    bindparam("now", type_=Instant),
)


def advance(
    connection: Connection,
    mailbox: str,
    folder: str,
    cursor: Cursor,
    *,
    horizon: int | None = None,
    synced_at: datetime | None = None,
) -> None:
    """Move a folder's cursor forward, or, under another UIDVALIDITY, to where it says.

    Needs a write transaction; the caller answers for all mails up to the cursor.
    """
    connection.execute(
        _ADVANCE,
        {
            "mailbox": mailbox,
            "folder": folder,
            "uidvalidity": cursor.uidvalidity,
            "uid": cursor.uid,
            "horizon": horizon,
            "synced_at": synced_at,
        },
    )


def lead(
    connection: Connection, mailbox: str, folder: str, owner: str, now: datetime, until: datetime
) -> bool:
    """Take or renew the lease of a folder; False if another bridge has it.

    Needs a write transaction.
    """
    given = {"mailbox": mailbox, "folder": folder, "leader": owner, "until": until, "now": now}
    return connection.execute(_LEAD, given).rowcount == 1


def step_down(connection: Connection, owner: str) -> None:
    """Give up every lease of `owner`, so that another bridge need not wait for their end."""
    connection.execute(
        update(mailboxes).where(mailboxes.c.leader == owner).values(leader=None, led_until=None)
    )


def find_mailbox(connection: Connection, mailbox: str, folder: str) -> MailboxRow | None:
    """Return a folder's row, or None if it was never read."""
    key = (mailboxes.c.mailbox == mailbox) & (mailboxes.c.folder == folder)
    row = connection.execute(select(mailboxes).where(key)).one_or_none()
    if row is None:
        return None
    known = row.uidvalidity is not None and row.uid is not None
    return MailboxRow(
        mailbox=row.mailbox,
        folder=row.folder,
        cursor=Cursor(row.uidvalidity, row.uid) if known else None,
        horizon=row.horizon,
        synced_at=row.synced_at,
        leader=row.leader,
        led_until=row.led_until,
    )


def known_uids(connection: Connection, mailbox: str, folder: str, uidvalidity: int) -> set[int]:
    """Return the UIDs whose mails are in the ledger, from an index alone."""
    columns = arrivals.c
    here = (columns.mailbox == mailbox, columns.folder == folder, columns.mailbox.is_not(None))
    query = select(columns.uid).where(*here, columns.uidvalidity == uidvalidity)
    return set(connection.execute(query).scalars())


class Doors(Protocol):
    """The store's two doors."""

    @property
    def shared(self) -> bool:
        """Whether other bridges may work on the same database."""
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a read transaction."""
        ...

    async def change(self, change: Callable[[Connection], T]) -> T:
        """Commit a change."""
        ...


class Mailboxes:
    """The mailboxes' part of the store, as the sources use it.

    `owner` names this process in the leases. Raises what the store's doors raise.
    """

    def __init__(self, store: Doors, owner: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._leads = False

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Return up to where a folder is accounted for; None if it was never read."""
        found = await self._find(mailbox, folder)
        return None if found is None else found.cursor

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        """Return the UID from which on every mail of a folder is wanted; None if unknown."""
        found = await self._find(mailbox, folder)
        return None if found is None else found.horizon

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        """Commit that a folder was looked through, and is accounted for up to the cursor.

        Also where nothing was taken in: a first start that takes only new mail records that before
        it waits for any. Under the same UIDVALIDITY a cursor never goes back. `horizon` is the UID
        from which on every mail is wanted; `start` chose among those below it.
        """
        now = self._clock()
        await self._store.change(
            partial(
                advance,
                mailbox=mailbox,
                folder=folder,
                cursor=cursor,
                horizon=horizon,
                synced_at=now,
            )
        )

    async def lead(self, mailbox: str, folder: str) -> bool:
        """Take or renew the lease of a folder; False while another bridge has it.

        It lasts LEAD_SECONDS and is renewed three times as often: when this is False, or has
        raised for that long, the reader of the mailbox stops. Always True on SQLite, where we are
        the only daemon.
        """
        if not self._store.shared:
            return True
        now = self._clock()
        until = now + timedelta(seconds=LEAD_SECONDS)
        self._leads = True
        return await self._store.change(
            lambda connection: lead(connection, mailbox, folder, self._owner, now, until)
        )

    async def step_down(self) -> None:
        """Give up every lease, so that another bridge need not wait for their end."""
        if not self._leads:
            return
        try:
            await self._store.change(partial(step_down, owner=self._owner))
        except StoreError as error:
            log.warning("store.leads_kept", detail=str(error))  # until they end by themselves

    async def _find(self, mailbox: str, folder: str) -> MailboxRow | None:
        return await self._store.read(partial(find_mailbox, mailbox=mailbox, folder=folder))
