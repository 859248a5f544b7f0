"""What `smsbridge reconcile` needs of a mailbox: to read it without changing anything."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class OpenMailbox(Protocol):
    """One folder, opened for reading only. Raises BridgeError if the server fails or refuses.

    Reading a mail doesn't change its flags.
    """

    @property
    def uidvalidity(self) -> int:
        """The UIDVALIDITY of the folder."""
        ...

    async def list_uids(self) -> list[int]:
        """Return the UIDs of all mails in the folder."""
        ...

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Return a mail's bytes; None if it is gone. NotPossible if it is over `max_message`."""
        ...

    async def received_at(self, uid: int) -> datetime | None:
        """Return when the mail server received a mail; None if it is gone or doesn't say."""
        ...
