"""The IMAP commands for one mailbox: login, folder, mails; typed, with errors of our own.

The workarounds for single commands of aioimaplib are here, those for its protocol in `protocol`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import Final

from aioimaplib import aioimaplib

from bridge.errors import ImapLoginRefused, ImapRefused
from bridge.sources.imap.connection import ImapConnection
from bridge.sources.imap.protocol import Reply
from bridge.sources.imap.replies import (
    Mailbox,
    Meta,
    checked,
    read_mailbox,
    read_meta,
    read_my_rights,
    refusal,
)
from bridge.sources.imap.wire import (
    Fetched,
    folder_name,
    quoted,
    read_fetch,
    read_search,
    uid_set,
)

_SLOWEST: Final = 16 * 1024  # bytes a second; a slower download is abandoned


class ImapClient(ImapConnection):
    """A connection to a mail server with the commands that we use.

    Raises ImapRefused where the server says no, ImapUnavailable for what may pass by itself.
    """

    # Login

    async def login(self, username: str, password: str) -> None:
        """Log in with a password."""
        await self._fetch_capabilities()
        if self._protocol.state == aioimaplib.AUTH:
            return  # PREAUTH: we are logged in already, and the server would refuse a login
        plain = username.isascii() and password.isascii()
        if self.has("AUTH=PLAIN") and (not plain or self.has("LOGINDISABLED")):
            # LOGIN cannot carry a password that is not ASCII.
            response = f"\0{username}\0{password}".encode()
            reply = await self._authenticate("PLAIN", response)
        else:
            # aioimaplib does not quote the username.
            reply = await self._run("LOGIN", quoted(username), quoted(password))
        await self._finish_login(reply, username, password)

    async def authenticate_xoauth2(self, username: str, token: str) -> None:
        """Log in with an OAuth access token."""
        await self._fetch_capabilities()
        if self._protocol.state == aioimaplib.AUTH:
            return
        response = f"user={username}\1auth=Bearer {token}\1\1".encode()
        await self._finish_login(await self._authenticate("XOAUTH2", response), username, token)

    async def _authenticate(self, mechanism: str, response: bytes) -> Reply:
        encoded = base64.b64encode(response)
        if self.has("SASL-IR"):
            # The server answers a bad token with a challenge that says why, and sends NO only
            # after an empty line: without it both sides would wait for ever.
            command = self._command("AUTHENTICATE", mechanism, encoded.decode())
            answers = [b""]
        else:
            command = self._command("AUTHENTICATE", mechanism)
            answers = [encoded, b""]
        return await self._ask(partial(self._protocol.execute, command, answers=answers))

    async def _finish_login(self, reply: Reply, *secrets: str) -> None:
        if not reply.ok:
            error = refusal("the login", reply, secrets)
            raise ImapLoginRefused(str(error)) if isinstance(error, ImapRefused) else error
        self._protocol.state = aioimaplib.AUTH
        if reply.code != "CAPABILITY":
            # MOVE, UIDPLUS and IDLE are often announced only after the login.
            self._protocol.capabilities = set()
            await self._fetch_capabilities()

    async def _fetch_capabilities(self) -> None:
        if not self._protocol.capabilities:
            checked("CAPABILITY", await self._run("CAPABILITY"))

    # The folder

    async def select(self, folder: str, *, readonly: bool) -> Mailbox:
        """Open a folder."""
        # aioimaplib neither quotes nor encodes the folder's name.
        reply = await self._run("EXAMINE" if readonly else "SELECT", folder_name(folder))
        if not reply.ok:
            raise refusal(f"opening the folder {folder!r}", reply)
        self._protocol.state = aioimaplib.SELECTED
        return read_mailbox(reply, readonly=readonly)

    async def has_folder(self, folder: str) -> bool:
        """Whether a folder of this name exists and is visible to us; it isn't opened."""
        reply = await self._run("STATUS", folder_name(folder), "(UIDNEXT)")
        if reply.status == "NO":
            return False
        checked(f"looking for the folder {folder!r}", reply)
        return True

    async def my_rights(self, folder: str) -> frozenset[str]:
        """Return our rights in a folder, as the letters of RFC 4314; the server must have ACL."""
        reply = await self._run("MYRIGHTS", folder_name(folder))
        return read_my_rights(checked(f"asking for the rights in the folder {folder!r}", reply))

    async def search(self, criteria: str) -> list[int]:
        """Return the UIDs found, in ascending order. It answers all pushes that came before it."""
        self._protocol.pushed.clear()
        # Yahoo and Outlook refuse the charset that aioimaplib sends by default.
        search = partial(self._protocol.search, criteria, charset=None, by_uid=True)
        return read_search(checked("the search", await self._ask(search)).untagged)

    # Mails

    async def fetch_meta(self, uids: Sequence[int]) -> dict[int, Meta]:
        """Return size and date of each mail; those that no longer exist are omitted."""
        wanted = "(UID RFC822.SIZE INTERNALDATE)"
        found: dict[int, Meta] = {}
        for each in await self._fetch(uids, wanted, self._deadline):
            if (meta := read_meta(each)) is not None:
                found[each.uid] = meta
        return found

    async def fetch_raw(self, uid: int, expected: int = 0) -> bytes | None:
        """Return a whole mail and leave it unseen; None if the server returns none.

        Raises ImapTooBig, and the connection is closed, if it is over the limit after all.
        """
        return (await self.fetch_many((uid,), expected)).get(uid)

    async def fetch_many(self, uids: Sequence[int], expected: int) -> dict[int, bytes]:
        """Return whole mails of `expected` bytes in total; those not returned are omitted."""
        found: dict[int, bytes] = {}
        deadline = self._deadline + expected / _SLOWEST
        for each in await self._fetch(uids, "(UID BODY.PEEK[])", deadline):
            body = each.items.get(b"BODY[]")
            if isinstance(body, bytes):  # NIL: the server cannot read its own mail
                found[each.uid] = body
        return found

    async def _fetch(self, uids: Sequence[int], wanted: str, deadline: float) -> list[Fetched]:
        requested = set(uids)
        fetch = partial(self._protocol.fetch, uid_set(uids), wanted, by_uid=True)
        reply = await self._ask(fetch, deadline)
        fetched = (read_fetch(response) for response in reply.untagged)
        # An unsolicited FETCH can arrive at any time.
        found = [each for each in fetched if each is not None and each.uid in requested]
        # After a NO in the middle it is unknown which of the others could have been read.
        if not found or (len(requested) > 1 and reply.code != "EXPUNGEISSUED"):
            checked("reading mails", reply)
        return found

    async def store_flag(self, uids: Sequence[int], flag: str) -> None:
        r"""Set a flag (`\Seen`, `\Deleted`) on mails."""
        store = partial(
            self._protocol.store, uid_set(uids), "+FLAGS.SILENT", f"({flag})", by_uid=True
        )
        checked(f"setting {flag}", await self._ask(store))

    async def store_seen(self, uids: Sequence[int]) -> None:
        """Mark mails as read."""
        await self.store_flag(uids, "\\Seen")

    async def copy(self, uids: Sequence[int], folder: str) -> None:
        """Copy mails into a folder."""
        copy = partial(self._protocol.copy, uid_set(uids), folder_name(folder), by_uid=True)
        checked(f"copying to the folder {folder!r}", await self._ask(copy))

    async def move(self, uids: Sequence[int], folder: str) -> bool:
        r"""Move mails into a folder; False if they were copied, and here only marked `\Deleted`."""
        if not self.has("MOVE"):
            await self.copy(uids, folder)
            return await self.delete(uids)
        move = partial(self._command, "MOVE", uid_set(uids), folder_name(folder), prefix="UID")
        reply = await self._ask(lambda: self._protocol.execute(move()))
        checked(f"moving to the folder {folder!r}", reply)
        return True

    async def delete(self, uids: Sequence[int]) -> bool:
        r"""Delete mails; False if the server can only mark them `\Deleted`.

        Without UIDPLUS there is only a plain EXPUNGE, which would also remove what others have
        marked: then the mails stay marked, and another mail client may expunge them.
        """
        await self.store_flag(uids, "\\Deleted")
        if not self.has("UIDPLUS"):
            return False
        expunge = partial(self._protocol.expunge, uid_set(uids), by_uid=True)
        checked("removing mails", await self._ask(expunge))
        return True
