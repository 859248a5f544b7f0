"""What the source needs of the store."""

from __future__ import annotations

from typing import Protocol

from bridge.model import Cursor


class Cursors(Protocol):
    """The position in each folder, as the store keeps it. Raises StoreError."""

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Return the last committed cursor; None if the folder was never read."""

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        """Return the UID from which every mail is wanted; None if all are, or if unknown."""

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        """Commit the cursor; it never moves backwards under the same UIDVALIDITY.

        From `horizon` on every mail is wanted.
        """


class Places(Cursors, Protocol):
    """The positions, and who of several bridges reads a folder."""

    async def lead(self, mailbox: str, folder: str) -> bool:
        """Take or renew the lease of a folder; return whether we hold it."""
