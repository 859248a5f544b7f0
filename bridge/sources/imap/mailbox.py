"""What `smsbridge reconcile` needs of a mailbox: to look at it, and change nothing."""

from __future__ import annotations

from typing import Protocol


class OpenMailbox(Protocol):
    """One folder, opened for reading only. Raises BridgeError where the server doesn't play along.

    A mail's flags stay as they are: it is peeked at.
    """

    @property
    def uidvalidity(self) -> int:
        """What the UIDs are worth."""
        ...

    async def list_uids(self) -> list[int]:
        """Give the UIDs of all mails that are there."""
        ...

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Give a mail's bytes; None if it is gone. NotPossible if it is over `max_message`."""
        ...
