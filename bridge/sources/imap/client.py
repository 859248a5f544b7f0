"""An IMAP client for one mailbox: typed, every command under a deadline, errors of our own.

The mends of aioimaplib that concern single commands are here, those of its protocol in
`imap_protocol`. After ImapUnavailable a client is good for nothing but `close`.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Final

from aioimaplib import aioimaplib

from bridge.errors import ImapError, ImapLoginRefused, ImapRefused, ImapUnavailable
from bridge.net.connecting import connected, why_not
from bridge.sources.imap.liveness import Pulse
from bridge.sources.imap.protocol import MendedProtocol, Reply
from bridge.sources.imap.replies import (
    Mailbox,
    Meta,
    checked,
    read_mailbox,
    read_meta,
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

_SLOWEST: Final = 16 * 1024  # bytes a second below which a download is given up
_IN_REV2: Final = {"IDLE", "MOVE", "SASL-IR", "UIDPLUS"}
_GOODBYE: Final = 2.0


class ImapClient:
    """One connection to a mail server; `connect` makes it.

    Raises ImapRefused where the server says no, ImapUnavailable for all that may be over later.
    """

    def __init__(self, protocol: MendedProtocol, deadline: float, pulse: Pulse) -> None:
        self._protocol = protocol
        self._deadline = deadline
        self._pulse = pulse
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        deadline: float,
        *,
        max_literal: int,
        pulse: Pulse | None = None,
    ) -> ImapClient:
        """Connect and hear the greeting; `max_literal` bounds what one mail may bring.

        Each command beats `pulse`, and says for how long it may wait.
        """
        loop = asyncio.get_running_loop()
        protocol = MendedProtocol(loop, max_literal)
        client = cls(protocol, deadline, pulse or Pulse())
        client._pulse.beat(deadline)
        try:
            async with asyncio.timeout(deadline):
                await loop.create_connection(
                    lambda: protocol,
                    sock=await connected(host, port),
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
                await protocol.greeted.wait()
        except TimeoutError:
            client.close()
            raise ImapUnavailable(f"no greeting within {deadline:g} s") from None
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
            raise ImapRefused(f"the mail server's certificate is not trusted: {reason}") from None
        except (OSError, ssl.SSLError) as error:
            raise ImapUnavailable(f"cannot connect: {why_not(error)}") from None
        except UnicodeError:
            raise ImapRefused("cannot connect: the host's name is none") from None
        except asyncio.CancelledError:
            client.close()
            raise
        if protocol.lost is not None:
            raise type(protocol.lost)(str(protocol.lost))
        return client

    @property
    def lost(self) -> bool:
        """Whether the connection is of no more use."""
        return self._protocol.lost is not None

    @property
    def pushed(self) -> bool:
        """Whether the server spoke of new mail since the last search began."""
        return self._protocol.pushed.is_set()

    def has(self, capability: str) -> bool:
        """Whether the server can do this; IMAP4rev2 has in it what we use."""
        known = self._protocol.capabilities
        return capability in known or (capability in _IN_REV2 and "IMAP4REV2" in known)

    def wake(self) -> None:
        """Make a running `idle` return, as if mail had come."""
        self._protocol.pushed.set()

    # Getting in

    async def login(self, username: str, password: str) -> None:
        """Log in with a password."""
        await self._know_capabilities()
        if self._protocol.state == aioimaplib.AUTH:
            return  # PREAUTH: there is no login any more, and the server would refuse one
        plain = username.isascii() and password.isascii()
        if self.has("AUTH=PLAIN") and (not plain or self.has("LOGINDISABLED")):
            # LOGIN cannot carry a password beyond ASCII.
            said = f"\0{username}\0{password}".encode()
            reply = await self._authenticate("PLAIN", said)
        else:
            # aioimaplib does not quote the user's name.
            names = (quoted(username), quoted(password))
            reply = await self._run("LOGIN", *names)
        await self._let_in(reply, username, password)

    async def authenticate_xoauth2(self, username: str, token: str) -> None:
        """Log in with an OAuth access token."""
        await self._know_capabilities()
        if self._protocol.state == aioimaplib.AUTH:
            return
        said = f"user={username}\1auth=Bearer {token}\1\1".encode()
        await self._let_in(await self._authenticate("XOAUTH2", said), username, token)

    async def _authenticate(self, mechanism: str, said: bytes) -> Reply:
        coded = base64.b64encode(said)
        if self.has("SASL-IR"):
            # The server answers a bad token with a challenge that tells why, and says NO only
            # after an empty line: without it both sides wait for ever.
            command = self._command("AUTHENTICATE", mechanism, coded.decode())
            answers = [b""]
        else:
            command = self._command("AUTHENTICATE", mechanism)
            answers = [coded, b""]
        return await self._ask(partial(self._protocol.execute, command, answers=answers))

    async def _let_in(self, reply: Reply, *secrets: str) -> None:
        if not reply.ok:
            error = refusal("the login", reply, secrets)
            raise ImapLoginRefused(str(error)) if isinstance(error, ImapRefused) else error
        self._protocol.state = aioimaplib.AUTH
        if reply.code != "CAPABILITY":
            # MOVE, UIDPLUS and IDLE are often told only to those who are in.
            self._protocol.capabilities = set()
            await self._know_capabilities()

    async def _know_capabilities(self) -> None:
        if not self._protocol.capabilities:
            await self._must("CAPABILITY")

    # The folder

    async def select(self, folder: str, *, readonly: bool) -> Mailbox:
        """Open a folder."""
        # aioimaplib does not quote the folder's name, nor does it know names beyond ASCII.
        reply = await self._run("EXAMINE" if readonly else "SELECT", folder_name(folder))
        if not reply.ok:
            raise refusal(f"opening the folder {folder!r}", reply)
        self._protocol.state = aioimaplib.SELECTED
        return read_mailbox(reply, readonly=readonly)

    async def has_folder(self, folder: str) -> bool:
        """Whether there is a folder of this name that we may know of; none is opened."""
        reply = await self._run("STATUS", folder_name(folder), "(UIDNEXT)")
        if reply.status == "NO":
            return False
        checked(f"looking for the folder {folder!r}", reply)
        return True

    async def search(self, criteria: str) -> list[int]:
        """Find UIDs, in ascending order. Pushes that came before it are answered by it."""
        self._protocol.pushed.clear()
        # Yahoo and Outlook refuse the charset that aioimaplib sends by default.
        search = partial(self._protocol.search, criteria, charset=None, by_uid=True)
        return read_search(checked("the search", await self._ask(search)).untagged)

    # Mails

    async def fetch_meta(self, uids: Sequence[int]) -> dict[int, Meta]:
        """Ask for size, date and flags; a mail that is not there (any more) is left out."""
        wanted = "(UID RFC822.SIZE INTERNALDATE FLAGS)"
        found: dict[int, Meta] = {}
        for each in await self._fetch(uids, wanted, self._deadline):
            if (meta := read_meta(each)) is not None:
                found[each.uid] = meta
        return found

    async def fetch_raw(self, uid: int, expected: int = 0) -> bytes | None:
        """Read a whole mail and leave it unseen; None if the server has none to give.

        Raises ImapTooBig, and the connection is cut, if it is over the limit after all.
        """
        return (await self.fetch_many((uid,), expected)).get(uid)

    async def fetch_many(self, uids: Sequence[int], expected: int) -> dict[int, bytes]:
        """Read whole mails of `expected` bytes in all; those that are not given are left out."""
        found: dict[int, bytes] = {}
        deadline = self._deadline + expected / _SLOWEST
        for each in await self._fetch(uids, "(UID BODY.PEEK[])", deadline):
            body = each.items.get(b"BODY[]")
            if isinstance(body, bytes):  # NIL: the server could not read its own mail
                found[each.uid] = body
        return found

    async def _fetch(self, uids: Sequence[int], wanted: str, deadline: float) -> list[Fetched]:
        asked = set(uids)
        fetch = partial(self._protocol.fetch, uid_set(uids), wanted, by_uid=True)
        reply = await self._ask(fetch, deadline)
        read = (read_fetch(response) for response in reply.untagged)
        # A FETCH that nobody asked for comes in between at any time.
        found = [each for each in read if each is not None and each.uid in asked]
        # After a NO in the middle it is not known which of the others could have been read.
        if not found or (len(asked) > 1 and reply.code != "EXPUNGEISSUED"):
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
        r"""Move mails into a folder; False if they are copied, and here only marked `\Deleted`."""
        if not self.has("MOVE"):
            await self.copy(uids, folder)
            return await self.delete(uids)
        move = partial(self._command, "MOVE", uid_set(uids), folder_name(folder), prefix="UID")
        reply = await self._ask(lambda: self._protocol.execute(move()))
        checked(f"moving to the folder {folder!r}", reply)
        return True

    async def delete(self, uids: Sequence[int]) -> bool:
        r"""Delete mails; False if the server can only mark them `\Deleted`.

        Without UIDPLUS there is just a bare EXPUNGE, which would also take away what others have
        marked: then the mark stays, and their mail client does the rest.
        """
        await self.store_flag(uids, "\\Deleted")
        if not self.has("UIDPLUS"):
            return False
        expunge = partial(self._protocol.expunge, uid_set(uids), by_uid=True)
        checked("removing mails", await self._ask(expunge))
        return True

    # Waiting

    async def idle(self, seconds: float) -> bool:
        """Wait for a push; False after `seconds` without one."""
        if self.pushed:
            return True
        async with self._one_at_a_time:
            self._pulse.beat(seconds + 2 * self._deadline)
            return await self._idle(seconds)

    async def _idle(self, seconds: float) -> bool:
        protocol = self._protocol
        reply = protocol.begin(self._command("IDLE"))
        clean = False
        try:
            if not await _first(protocol.continued, reply, self._deadline):
                raise ImapUnavailable(f"no answer to IDLE within {self._deadline:g} s")
            if not reply.done():
                # An EXISTS in the same segment as the "+" has set the event already.
                await _first(protocol.pushed, reply, seconds)
            by_itself = reply.done()
            if not by_itself:
                protocol.say(b"DONE")
                if not await _first(None, reply, self._deadline):
                    raise ImapUnavailable(f"no end of IDLE within {self._deadline:g} s")
            checked("IDLE", reply.result())
            clean = True
        except ImapRefused:
            clean = True  # the connection is as good as before
            raise
        finally:
            if not clean:
                protocol.fail(ImapUnavailable("IDLE was given up"))
            protocol.finish()
        if by_itself:
            # To begin again at once would be a loop that never rests.
            raise ImapRefused("the mail server ended IDLE by itself")
        return self.pushed

    async def noop(self) -> None:
        """Let the server bring its view of the folder up to date."""
        await self._must("NOOP")

    async def logout(self) -> None:
        """Part, politely if that goes quickly."""
        try:
            self._protocol.state = aioimaplib.LOGOUT
            async with asyncio.timeout(min(_GOODBYE, self._deadline)):
                await self._run("LOGOUT")
        except (ImapError, TimeoutError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Cut the connection."""
        self._protocol.fail(ImapUnavailable("the connection is closed"))

    # Commands

    def _command(self, name: str, *words: str, prefix: str = "") -> aioimaplib.Command:
        try:
            return aioimaplib.Command(
                name, self._protocol.new_tag(), *words, prefix=prefix, loop=self._protocol.loop
            )
        except ValueError:
            raise ImapRefused("a line break cannot be said in IMAP") from None

    async def _run(self, name: str, *words: str) -> Reply:
        command = self._command(name, *words)
        return await self._ask(lambda: self._protocol.execute(command))

    async def _must(self, name: str) -> Reply:
        return checked(name, await self._run(name))

    async def _ask(
        self, command: Callable[[], Coroutine[None, None, Reply]], deadline: float | None = None
    ) -> Reply:
        """Run a command under its deadline; one that is missed breaks the connection."""
        seconds = self._deadline if deadline is None else deadline
        async with self._one_at_a_time:
            self._pulse.beat(seconds)
            try:
                async with asyncio.timeout(seconds):
                    return await command()
            except TimeoutError:
                raise ImapUnavailable(f"no answer within {seconds:g} s") from None


async def _first(event: asyncio.Event | None, reply: asyncio.Future[Reply], seconds: float) -> bool:
    """Wait for either; False if neither came in time."""
    heard = None if event is None else asyncio.ensure_future(event.wait())
    waiting: set[asyncio.Future[object]] = {reply}  # type: ignore[arg-type]
    if heard is not None:
        waiting.add(heard)  # type: ignore[arg-type]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if heard is not None:
            heard.cancel()
    return bool(done)
