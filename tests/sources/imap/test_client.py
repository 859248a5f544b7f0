"""Each thing that goes wrong with aioimaplib alone goes right here, on a server that plays it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from bridge.errors import ImapError, ImapLoginRefused, ImapRefused, ImapTooBig, ImapUnavailable
from bridge.sources.imap.client import ImapClient
from tests.patience import PATIENCE
from tests.servers.scripted_imap import (
    FULL,
    SECRET,
    USER,
    ScriptedImap,
    Session,
    scripted_imap,
)

LIMIT = 100_000
SHORT = 0.3  # seconds; the deadline where one is to be missed, on the unhurried loop

Connect = Callable[..., Coroutine[None, None, ImapClient]]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.fixture
async def connect(server: ScriptedImap) -> AsyncIterator[Connect]:
    """Make clients, logged in and with the folder open."""
    clients: list[ImapClient] = []

    async def begin(deadline: float = PATIENCE, *, enter: bool = True) -> ImapClient:
        client = await ImapClient.connect(
            "127.0.0.1", server.port, None, deadline, max_literal=LIMIT
        )
        clients.append(client)
        if enter:
            await client.login(USER, SECRET)
            await client.select("INBOX", readonly=False)
            await client.search("ALL")  # the EXISTS of SELECT counts as a push
        return client

    yield begin
    for client in clients:
        client.close()


async def never(session: Session, tag: str, words: str) -> None:
    """Answer nothing, for ever."""


async def hang_up(session: Session, tag: str, words: str) -> None:
    session.writer.transport.abort()


async def noop(client: ImapClient) -> None:
    """Send a command that changes nothing."""
    assert (await client._run("NOOP")).ok


COMMANDS = {
    "CAPABILITY": lambda client: client._run("CAPABILITY"),
    "SELECT": lambda client: client.select("INBOX", readonly=False),
    "NOOP": noop,
    "UID SEARCH": lambda client: client.search("ALL"),
    "UID FETCH": lambda client: client.fetch_raw(1),
    "UID STORE": lambda client: client.store_seen([1]),
    "UID COPY": lambda client: client.copy([1], "INBOX"),
    "UID MOVE": lambda client: client.move([1], "INBOX"),
    "UID EXPUNGE": lambda client: client.delete([1]),
    "IDLE": lambda client: client.idle(60),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_lost_connection_ends_every_command(
    server: ScriptedImap, connect: Connect, name: str
) -> None:
    """No command waits for an answer that can no longer come."""
    client = await connect()
    server.add(b"mail")
    server.instead[name] = hang_up
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ImapUnavailable, match="closed the connection"):
            await COMMANDS[name](client)
    assert client._protocol.lost is not None


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.unhurried
async def test_every_command_has_a_deadline(
    server: ScriptedImap, connect: Connect, name: str
) -> None:
    """A server that is silent is given up, and its connection with it."""
    client = await connect(SHORT)
    server.add(b"mail")
    server.instead[name] = never
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ImapUnavailable, match=r"within 0\.3 s"):
            await COMMANDS[name](client)
    assert client._protocol.lost is not None
    with pytest.raises(ImapUnavailable):
        await noop(client)


@pytest.mark.unhurried
async def test_a_silent_port_has_a_deadline(server: ScriptedImap, connect: Connect) -> None:
    """A server that does not even greet is given up."""
    server.instead["greeting"] = never
    with pytest.raises(ImapUnavailable, match="no greeting within"):
        await connect(SHORT, enter=False)


@pytest.mark.parametrize(
    ("greeting", "told"),
    [("* BYE too many", "refuses connections"), ("220 smtp", "not an IMAP server")],
)
async def test_a_greeting_that_is_none(
    server: ScriptedImap, connect: Connect, greeting: str, told: str
) -> None:
    """BYE and other protocols are told apart from a login that is refused."""

    async def greet(session: Session, tag: str, words: str) -> None:
        session.say(greeting)

    server.instead["greeting"] = greet
    with pytest.raises(ImapUnavailable, match=told):
        await connect(enter=False)


@pytest.mark.parametrize("way", ["password", "token"])
async def test_a_server_that_lets_us_in_unasked(
    server: ScriptedImap, connect: Connect, way: str
) -> None:
    """After PREAUTH there is no login: the folder is opened at once."""

    async def greet(session: Session, tag: str, words: str) -> None:
        session.say("* PREAUTH ready")

    server.instead["greeting"] = greet
    client = await connect(enter=False)
    if way == "password":
        await client.login(USER, SECRET)
    else:
        await client.authenticate_xoauth2(USER, SECRET)
    await client.select("INBOX", readonly=False)
    assert [words.split()[0] for words in server.heard if words] == ["CAPABILITY", "SELECT"]


@pytest.mark.parametrize("host", ["imap..example", "x" * 64 + ".example"])
async def test_a_host_that_is_no_name(host: str) -> None:
    """It is a sentence for the operator, and no bug."""
    with pytest.raises(ImapRefused, match="the host name is not valid"):
        await ImapClient.connect(host, 993, None, PATIENCE, max_literal=100)


async def test_nobody_there() -> None:
    """A refused connection is told as such."""
    with pytest.raises(ImapUnavailable, match="cannot connect: Connection refused"):
        await ImapClient.connect("127.0.0.1", 1, None, PATIENCE, max_literal=1)


@pytest.mark.unhurried
async def test_a_late_reply_answers_nobody(server: ScriptedImap, connect: Connect) -> None:
    """After a missed deadline the connection is gone, so its late OK is not the next one's."""
    client = await connect(SHORT)

    async def late(session: Session, tag: str, words: str) -> str:
        await asyncio.sleep(SHORT * 1.5)
        return "OK late"

    server.instead["NOOP"] = late
    with pytest.raises(ImapUnavailable):
        await noop(client)
    await server.until(lambda: not server.sessions)
    with pytest.raises(ImapUnavailable):
        await client.search("ALL")
    assert sum(words.startswith("UID SEARCH") for words in server.heard) == 1


async def test_a_cancelled_command_breaks_the_connection(
    server: ScriptedImap, connect: Connect
) -> None:
    """Its reply, too, could be taken for another's."""
    client = await connect()
    server.instead["NOOP"] = never
    asking = asyncio.create_task(noop(client))
    await server.until_heard("NOOP")
    asking.cancel()
    await asyncio.wait([asking])
    assert client._protocol.lost is not None


@pytest.mark.parametrize("reply", ["zz9 OK what", "OK", "!"])
async def test_a_reply_to_nothing_breaks_the_connection(
    server: ScriptedImap, connect: Connect, reply: str
) -> None:
    """Whatever it means, nothing that follows can be believed."""
    client = await connect()

    async def other(session: Session, tag: str, words: str) -> str:
        session.say(reply)
        return "OK done"

    server.instead["NOOP"] = other
    with pytest.raises(ImapUnavailable, match="no command waits for"):
        await noop(client)


# Pushes


async def test_idle_hears_a_push(server: ScriptedImap, connect: Connect) -> None:
    """A push ends the IDLE, and the connection is fit for more."""
    client = await connect()
    idling = asyncio.create_task(client.idle(60))
    await server.until_heard("idling")
    await server.push(b"mail")
    assert await idling
    assert await client.search("ALL") == [1]
    assert not client.pushed


@pytest.mark.unhurried
async def test_idle_ends_without_a_push(connect: Connect) -> None:
    """The time is over, nothing came, and the connection is fit for more."""
    client = await connect()
    assert await client.search("ALL") == []
    assert not await client.idle(0.05)
    await noop(client)


async def test_idle_is_woken(server: ScriptedImap, connect: Connect) -> None:
    """Somebody who wants to stop need not wait for mail."""
    client = await connect()
    idling = asyncio.create_task(client.idle(60))
    await server.until_heard("idling")
    client.wake()
    assert await idling
    await noop(client)


async def test_exists_in_the_segment_of_the_idle_ok(server: ScriptedImap, connect: Connect) -> None:
    """A push that comes in one piece with the "+" is heard."""
    client = await connect()

    async def idle(session: Session, tag: str, words: str) -> str:
        session.say("+ idling", "* 1 EXISTS")
        assert await session.line() == "DONE"
        return "OK done"

    server.instead["IDLE"] = idle
    async with asyncio.timeout(PATIENCE):
        assert await client.idle(60)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_exists_during_a_search(server: ScriptedImap, connect: Connect, where: str) -> None:
    """A push in the middle of a SEARCH makes the next IDLE return at once."""
    client = await connect()

    async def search(session: Session, tag: str, words: str) -> str:
        lines = ["* SEARCH", "* 1 EXISTS"]
        session.say(*(lines if where == "after" else reversed(lines)))
        return "OK done"

    server.instead["UID SEARCH"] = search
    assert await client.search("ALL") == []
    async with asyncio.timeout(PATIENCE):
        assert await client.idle(60)


async def test_a_plus_that_nobody_waits_for(server: ScriptedImap, connect: Connect) -> None:
    """A stray continuation in a SEARCH hides none of what was found."""

    async def search(session: Session, tag: str, words: str) -> str:
        session.say("+ still searching")
        return await session.do_uid_search(words)

    server.add(b"sms")
    client = await connect()
    server.instead["UID SEARCH"] = search
    assert await client.search("ALL") == [1]


async def test_exists_between_commands(server: ScriptedImap, connect: Connect) -> None:
    """A push while nobody asked anything is heard as well."""
    client = await connect()
    (session,) = server.sessions
    session.say("* 1 EXISTS")
    await noop(client)
    assert client.pushed


@pytest.mark.parametrize("cut", [True, False])
async def test_bye_in_idle(server: ScriptedImap, connect: Connect, cut: bool) -> None:
    """BYE ends the IDLE at once, whether the server hangs up or not."""
    client = await connect()
    idling = asyncio.create_task(client.idle(60))
    await server.until_heard("idling")
    (session,) = server.sessions
    session.say("* BYE shutting down")
    if cut:
        session.writer.close()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ImapUnavailable, match="BYE"):
            await idling


@pytest.mark.unhurried
async def test_a_black_hole_after_idle(server: ScriptedImap, connect: Connect) -> None:
    """A connection that died without a word is found out when IDLE is renewed."""
    client = await connect(SHORT)

    async def deaf(session: Session, tag: str, words: str) -> None:
        session.say("+ idling")
        await session.line()

    server.instead["IDLE"] = deaf
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ImapUnavailable, match="no end of IDLE"):
            await client.idle(0.05)
    assert client._protocol.lost is not None


@pytest.mark.parametrize("said", ["NO not now", "BAD what", "OK done"])
async def test_idle_that_is_none(server: ScriptedImap, connect: Connect, said: str) -> None:
    """A server that ends IDLE by itself says no; the connection stays good."""
    client = await connect()

    async def no(session: Session, tag: str, words: str) -> str:
        return said

    server.instead["IDLE"] = no
    with pytest.raises(ImapRefused, match="IDLE"):
        await client.idle(60)
    await noop(client)


# Reading


async def test_many_lines_in_one_reply(server: ScriptedImap, connect: Connect) -> None:
    """A reply of 20,000 lines is no recursion error."""
    client = await connect()
    for _ in range(20_000):
        server.add(b"mail")
    assert len(await client.fetch_meta(range(1, 20_001))) == 20_000


async def test_fetch(server: ScriptedImap, connect: Connect) -> None:
    """Bodies come byte for byte, an empty one too, and stay unseen."""
    client = await connect()
    bodies = [b"a: b\r\n\r\n\x00\xff (((\r\n) A1 OK done\r\n", b"", b"x"]
    uids = [server.add(body) for body in bodies]
    assert await client.fetch_many(uids, 0) == dict(zip(uids, bodies, strict=True))
    assert await client.fetch_raw(1) == bodies[0]
    assert await client.fetch_raw(99) is None
    metas = await client.fetch_meta([*uids, 99])
    assert [metas[uid].size for uid in uids] == [len(body) for body in bodies]
    assert server.mails[1].flags == set()
    assert metas[1].internaldate is not None
    assert metas[1].internaldate.isoformat() == "2026-04-08T12:30:52+00:00"


async def test_unasked_fetches_in_between(server: ScriptedImap, connect: Connect) -> None:
    """Flags of other mails, and of this one, do not hide the body that was asked for."""
    client = await connect()

    async def fetch(session: Session, tag: str, words: str) -> str:
        session.say(
            "* 9 FETCH (FLAGS (\\Seen))",
            "* 8 FETCH (UID 8 BODY[] {5}", "other)",
            "* 5 FETCH (UID 5 BODY[] {4}", "mine)",
            "* 5 FETCH (UID 5 FLAGS (\\Seen))",
        )  # fmt: skip
        return "OK done"

    server.instead["UID FETCH"] = fetch
    assert await client.fetch_raw(5) == b"mine"


async def test_nil_body(server: ScriptedImap, connect: Connect) -> None:
    """A mail that the server cannot read is no empty mail."""
    client = await connect()
    uid = server.add(b"mail", nil=True)
    assert await client.fetch_raw(uid) is None


async def test_a_literal_20_mb_over_the_limit(server: ScriptedImap, connect: Connect) -> None:
    """The connection is cut at the announcement, not at the end."""
    client = await connect()

    async def fetch(session: Session, tag: str, words: str) -> None:
        session.say(f"* 1 FETCH (UID 1 BODY[] {{{LIMIT + 20_000_000}}}", "and so on")

    server.instead["UID FETCH"] = fetch
    with pytest.raises(ImapTooBig):
        await client.fetch_raw(1)
    assert client._protocol.lost is not None


async def test_a_flood_of_lines_is_cut(
    server: ScriptedImap, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server sends beside what was asked for is bounded as well."""
    monkeypatch.setattr("bridge.sources.imap.protocol._MORE", 1000)
    client = await connect()

    async def flood(session: Session, tag: str, words: str) -> str:
        session.say(*["* 1 FETCH (FLAGS ())"] * 6000)
        return "OK done"

    server.instead["NOOP"] = flood
    with pytest.raises(ImapTooBig):
        await noop(client)


async def test_search_sends_no_charset(server: ScriptedImap, connect: Connect) -> None:
    """Yahoo and Outlook refuse one."""
    client = await connect()
    await client.search("UID 5:*")
    assert server.heard[-2] == "UID SEARCH UID 5:*"


# Getting in


async def test_capabilities_only_after_login(server: ScriptedImap, connect: Connect) -> None:
    """What is told only to those who are in is asked for once more."""
    server.before_login = ("IMAP4rev1",)
    server.tells_after_login = False
    client = await connect()
    assert client.has("MOVE")
    assert "CAPABILITY" in server.heard


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("good", [True, False])
async def test_xoauth2(server: ScriptedImap, connect: Connect, initial: bool, good: bool) -> None:
    """A token gets in or is refused; the challenge that tells why is answered, not waited for."""
    if not initial:
        server.before_login = [each for each in FULL if each != "SASL-IR"]
    client = await connect(enter=False)
    if good:
        await client.authenticate_xoauth2(USER, SECRET)
        await client.select("INBOX", readonly=True)
    else:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ImapRefused, match="AUTHENTICATIONFAILED") as refused:
                await client.authenticate_xoauth2(USER, "badtoken")
        assert "badtoken" not in str(refused.value)


async def test_a_refused_login_keeps_secrets(server: ScriptedImap, connect: Connect) -> None:
    """The sentence has the server's words, less name and password."""
    client = await connect(enter=False)
    with pytest.raises(ImapRefused) as refused:
        await client.login(USER, "wrong")
    assert str(refused.value) == (
        "the login was refused: NO [AUTHENTICATIONFAILED] no *** with this password"
    )


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("NO [UNAVAILABLE] later", ImapUnavailable),
        ("NO [LIMIT] too many", ImapUnavailable),
        ("NO [ALERT] web login required", ImapLoginRefused),
        ("BAD what", ImapLoginRefused),
    ],
)
async def test_kinds_of_no(
    server: ScriptedImap, connect: Connect, said: str, kind: type[ImapError]
) -> None:
    """What passes by itself is tried again soon, the rest is for an operator."""
    client = await connect(enter=False)

    async def refuse(session: Session, tag: str, words: str) -> str:
        return said

    server.instead["LOGIN"] = refuse
    with pytest.raises(kind) as raised:
        await client.login(USER, SECRET)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("password", "login"),
    [
        ('a "b" \\c', 'LOGIN "sms@example.com" "a \\"b\\" \\\\c"'),
        ("pässword", "AUTHENTICATE PLAIN"),
    ],
)
async def test_passwords_are_quoted(
    server: ScriptedImap, connect: Connect, password: str, login: str
) -> None:
    """Spaces, quotes and letters beyond ASCII get through."""
    client = await connect(enter=False)
    with pytest.raises(ImapRefused):
        await client.login(USER, password)
    assert any(words.startswith(login) for words in server.heard)


async def test_a_line_break_is_refused(connect: Connect) -> None:
    """A password cannot smuggle a command in."""
    client = await connect(enter=False)
    with pytest.raises(ImapRefused, match="line break"):
        await client.login(USER, "x\r\nA1 DELETE INBOX")


async def test_folder_names(server: ScriptedImap, connect: Connect) -> None:
    """A folder's name is quoted and coded, and a missing folder is told."""
    client = await connect()
    server.folders.add("Entw&APw-rfe 1")
    await client.select("Entwürfe 1", readonly=False)
    with pytest.raises(ImapRefused, match="opening the folder 'Nowhere'"):
        await client.select("Nowhere", readonly=False)


async def test_select_tells(server: ScriptedImap, connect: Connect) -> None:
    """UIDVALIDITY, UIDNEXT, the count and whether it can be written are read."""
    server.add(b"mail")
    client = await connect()
    mailbox = await client.select("INBOX", readonly=False)
    assert (mailbox.uidvalidity, mailbox.uidnext, mailbox.exists) == (7, 2, 1)
    assert not mailbox.readonly
    server.readonly = True
    assert (await client.select("INBOX", readonly=False)).readonly


# Changing


async def test_move(server: ScriptedImap, connect: Connect) -> None:
    """With MOVE one command does it."""
    server.folders.add("Done")
    client = await connect()
    uids = [server.add(b"one"), server.add(b"two"), server.add(b"three")]
    assert await client.move(uids[:2], "Done")
    assert list(server.mails) == [3]
    assert server.copied == {"Done": [b"one", b"two"]}


@pytest.mark.parametrize("uidplus", [True, False])
async def test_without_move(server: ScriptedImap, connect: Connect, uidplus: bool) -> None:
    """COPY, then away with ours alone; without UIDPLUS the mark has to do."""
    missing = ("MOVE",) if uidplus else ("MOVE", "UIDPLUS")
    server.capabilities = [each for each in FULL if each not in missing]
    server.folders.add("Done")
    server.add(b"other", "\\Deleted")  # somebody else's mark
    client = await connect()
    uid = server.add(b"ours")
    assert await client.move([uid], "Done") is uidplus
    assert server.copied == {"Done": [b"ours"]}
    assert list(server.mails) == ([1] if uidplus else [1, 2])
    assert "\\Deleted" in server.mails[1].flags
    assert "EXPUNGE" not in server.heard
    if not uidplus:
        assert "\\Deleted" in server.mails[uid].flags


async def test_to_a_folder_that_is_not_there(server: ScriptedImap, connect: Connect) -> None:
    """The refusal names the folder, and the mail stays."""
    client = await connect()
    uid = server.add(b"mail")
    with pytest.raises(ImapRefused, match="moving to the folder 'Nowhere'"):
        await client.move([uid], "Nowhere")
    assert uid in server.mails


async def test_imap4rev2_has_it_all(server: ScriptedImap, connect: Connect) -> None:
    """A server that names the new version need not name what is part of it."""
    server.capabilities = ("IMAP4rev2",)
    client = await connect()
    assert client.has("MOVE")
    assert client.has("UIDPLUS")
    assert not client.has("LOGINDISABLED")


@pytest.mark.unhurried
async def test_logout_is_polite_and_short(server: ScriptedImap, connect: Connect) -> None:
    """LOGOUT is said, its BYE is no trouble, and a silent server is not waited for."""
    client = await connect()
    await client.logout()
    assert "LOGOUT" in server.heard
    client = await connect(SHORT)
    server.instead["LOGOUT"] = never
    async with asyncio.timeout(PATIENCE):
        await client.logout()
    assert client._protocol.lost is not None
