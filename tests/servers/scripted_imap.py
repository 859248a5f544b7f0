"""A small IMAP server in the test's own loop, for what a real one does once in a blue moon.

It keeps one folder of mails and speaks as much IMAP as smsbridge does. A test changes `mails`,
`capabilities` and the like, or puts a coroutine into `instead` that answers a command by itself.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.patience import PATIENCE

FULL = ("IMAP4rev1", "SASL-IR", "AUTH=PLAIN", "AUTH=XOAUTH2", "IDLE", "MOVE", "UIDPLUS")
USER = "sms@example.com"
SECRET = "secret"  # the password, and the token

# Gets the session, the tag and the words; what it returns is said: "OK done", or None for nothing.
Answer = Callable[["Session", str, str], Awaitable[str | None]]


@dataclass
class Mail:
    """A mail in the folder; `size` and `body` may lie."""

    raw: bytes
    flags: set[str] = field(default_factory=set)
    size: int | None = None
    nil: bool = False


class ScriptedImap:
    """The server; all of its sessions share its mails."""

    def __init__(self) -> None:
        self.before_login: Iterable[str] = FULL
        self.capabilities: Iterable[str] = FULL
        self.tells_after_login = True  # the capabilities, in the OK of LOGIN
        self.uidvalidity = 7
        self.uidnext = 1
        self.readonly = False
        self.folders: set[str] = {"INBOX"}
        self.copied: dict[str, list[bytes]] = {}
        self.mails: dict[int, Mail] = {}
        self.instead: dict[str, Answer] = {}
        self.heard: list[str] = []  # each command's words, without the tag
        self.sessions: set[Session] = set()
        self.port = 0
        self._changed = asyncio.Condition()

    def add(self, raw: bytes, *flags: str, **more: object) -> int:
        """Put a mail into the folder and tell nobody."""
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.mails[uid] = Mail(raw, set(flags), **more)  # type: ignore[arg-type]
        return uid

    async def push(self, raw: bytes) -> int:
        """Put a mail into the folder and tell those who IDLE."""
        uid = self.add(raw)
        for session in self.sessions:
            if session.idling:
                session.say(f"* {len(self.mails)} EXISTS")
        return uid

    def recreate(self, uidvalidity: int) -> None:
        """Make the folder anew: the mails get other UIDs."""
        raws = [(mail.raw, *mail.flags) for mail in self.mails.values()]
        self.uidvalidity, self.uidnext, self.mails = uidvalidity, 1, {}
        for raw, *flags in raws:
            self.add(raw, *flags)

    def hang_up(self) -> None:
        """Cut every connection."""
        for session in tuple(self.sessions):
            session.writer.transport.abort()

    async def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds; looked at after each command."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    async def until_heard(self, begins: str, times: int = 1) -> None:
        """Wait for commands that begin like this."""
        await self.until(lambda: sum(each.startswith(begins) for each in self.heard) >= times)

    async def note(self, words: str) -> None:
        """Keep what was heard."""
        async with self._changed:
            self.heard.append(words)
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, reader, writer)
        self.sessions.add(session)
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.sessions.discard(session)
            writer.transport.abort()


@asynccontextmanager
async def scripted_imap(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedImap]:
    """Serve on a free port until the end of the block."""
    scripted = ScriptedImap()
    server = await asyncio.start_server(scripted._serve, "127.0.0.1", 0, ssl=tls)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        while scripted.sessions:
            scripted.hang_up()
            await asyncio.sleep(0)


class Session:
    """One connection."""

    def __init__(
        self, server: ScriptedImap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.idling = False

    def say(self, *lines: str | bytes) -> None:
        """Send lines, all in one segment."""
        said = (each.encode() if isinstance(each, str) else each for each in lines)
        self.writer.write(b"".join(line + b"\r\n" for line in said))

    async def line(self) -> str:
        """Read a line."""
        return (await self.reader.readuntil(b"\r\n"))[:-2].decode()

    async def run(self) -> None:
        """Obey until LOGOUT."""
        if (greet := self.server.instead.get("greeting")) is not None:
            await greet(self, "", "")
        else:
            self.say(f"* OK [CAPABILITY {' '.join(self.server.before_login)}] ready")
        while True:
            tag, _, words = (await self.line()).partition(" ")
            name = " ".join(words.split(" ")[: 2 if words.startswith("UID ") else 1])
            rest = words[len(name) + 1 :]
            answer = self.server.instead.get(name)
            await self.server.note(words)
            if answer is not None:
                said = await answer(self, tag, rest)
            else:
                own = getattr(self, "do_" + name.replace(" ", "_").lower(), None)
                said = await own(rest) if own is not None else "BAD unknown"
            if said is not None:
                self.say(f"{tag} {said}")
            await self.server.note("")
            if name == "LOGOUT":
                return

    async def do_capability(self, words: str) -> str:
        self.say(f"* CAPABILITY {' '.join(self.server.capabilities)}")
        return "OK done"

    async def do_login(self, words: str) -> str:
        return self._let_in(words == f'"{USER}" "{SECRET}"')

    async def do_authenticate(self, words: str) -> str:
        mechanism, _, said = words.partition(" ")
        if not said:
            self.say("+ ")
            said = await self.line()
        known = {
            "PLAIN": f"\0{USER}\0{SECRET}",
            "XOAUTH2": f"user={USER}\1auth=Bearer {SECRET}\1\1",
        }
        good = base64.b64decode(said).decode() == known[mechanism]
        if not good and mechanism == "XOAUTH2":
            self.say("+ " + base64.b64encode(b'{"status":"401"}').decode())
            assert await self.line() == ""
        return self._let_in(good)

    def _let_in(self, good: bool) -> str:
        if not good:
            return f"NO [AUTHENTICATIONFAILED] no {USER} with this password"
        told = f"[CAPABILITY {' '.join(self.server.capabilities)}] "
        return f"OK {told if self.server.tells_after_login else ''}in"

    async def do_select(self, words: str, readonly: bool = False) -> str:
        server = self.server
        if words.strip('"') not in server.folders:
            return "NO [NONEXISTENT] no such folder"
        self.say(
            "* FLAGS (\\Seen \\Deleted)",
            f"* {len(server.mails)} EXISTS",
            "* 0 RECENT",
            f"* OK [UIDVALIDITY {server.uidvalidity}] valid",
            f"* OK [UIDNEXT {server.uidnext}] next",
        )
        return f"OK [{'READ-ONLY' if readonly or server.readonly else 'READ-WRITE'}] selected"

    async def do_examine(self, words: str) -> str:
        return await self.do_select(words, readonly=True)

    async def do_noop(self, words: str) -> str:
        return "OK done"

    async def do_uid_search(self, words: str) -> str:
        uids = sorted(self.server.mails)
        if found := re.match(r"UID (\d+):(\d+|\*)(?: |\Z)", words):
            last = max(uids, default=0)
            ends = sorted((int(found[1]), last if found[2] == "*" else int(found[2])))
            uids = [uid for uid in uids if ends[0] <= uid <= ends[1]]  # n:* has the last in it
        elif words.startswith("UID "):
            uids = [uid for _, uid, _ in self._named(words.removeprefix("UID "))]
        if "UNSEEN" in words and "OR " not in words:
            uids = [uid for uid in uids if "\\Seen" not in self.server.mails[uid].flags]
        self.say(f"* SEARCH{''.join(f' {uid}' for uid in uids)}")
        return "OK done"

    async def do_uid_fetch(self, words: str) -> str:
        for number, uid, mail in self._named(words):
            parts: list[bytes] = [f"* {number} FETCH (UID {uid}".encode()]
            if "RFC822.SIZE" in words:
                size = len(mail.raw) if mail.size is None else mail.size
                parts.append(
                    f" RFC822.SIZE {size} FLAGS ({' '.join(sorted(mail.flags))}) "
                    'INTERNALDATE " 8-Apr-2026 14:30:52 +0200"'.encode()
                )
            if "BODY.PEEK[]" in words:
                literal = f"{{{len(mail.raw)}}}\r\n".encode() + mail.raw
                parts.append(b" BODY[] " + (b"NIL" if mail.nil else literal))
            self.say(b"".join(parts) + b")")
            await self.writer.drain()
        return "OK done"

    async def do_uid_store(self, words: str) -> str:
        if self.server.readonly:
            return "NO [NOPERM] read-only"
        flags = words[words.index("(") + 1 : words.index(")")].split()
        for _, _, mail in self._named(words):
            mail.flags.update(flags)
        return "OK done"

    async def do_uid_copy(self, words: str) -> str:
        folder = words.partition(" ")[2].strip('"')
        if folder not in self.server.folders:
            return "NO [TRYCREATE] no such folder"
        for _, _, mail in self._named(words):
            self.server.copied.setdefault(folder, []).append(mail.raw)
        return "OK done"

    async def do_uid_move(self, words: str) -> str:
        if "MOVE" not in self.server.capabilities:
            return "BAD unknown"
        said = await self.do_uid_copy(words)
        if said.startswith("OK"):
            self._remove([uid for _, uid, _ in self._named(words)])
        return said

    async def do_uid_expunge(self, words: str) -> str:
        named = self._named(words)
        self._remove([uid for _, uid, mail in named if "\\Deleted" in mail.flags])
        return "OK done"

    async def do_idle(self, words: str) -> str:
        if "IDLE" not in self.server.capabilities:
            return "BAD unknown"
        self.idling = True
        self.say("+ idling")
        await self.server.note("idling")
        try:
            assert await self.line() == "DONE"
        finally:
            self.idling = False
        return "OK done"

    async def do_logout(self, words: str) -> str:
        self.say("* BYE")
        return "OK done"

    def _named(self, words: str) -> list[tuple[int, int, Mail]]:
        wanted: set[int] = set()
        for part in words.partition(" ")[0].split(","):
            first, _, last = part.partition(":")
            wanted.update(range(int(first), int(last or first) + 1))
        numbered = enumerate(self.server.mails.items(), start=1)
        return [(number, uid, mail) for number, (uid, mail) in numbered if uid in wanted]

    def _remove(self, uids: list[int]) -> None:
        for uid in uids:
            number = list(self.server.mails).index(uid) + 1
            del self.server.mails[uid]
            self.say(f"* {number} EXPUNGE")
