"""The mailbox is never lost sight of, and nothing is done to a mail before it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date

import pytest

from bridge import metrics
from bridge.errors import ConfigError, NotPossible, StoreError, StoreFull, StoreUnavailable
from bridge.model import Arrival, Cursor, SourceKind
from bridge.sources.imap.alarms import Alarm
from bridge.sources.imap.open import look_into
from bridge.sources.imap.source import ImapSource
from tests.conftest import Line
from tests.servers.scripted_imap import FULL, USER, ScriptedImap, Session, scripted_imap
from tests.sources.imap.parts import NAME, Ledger, end, make_source, settings
from tests.sources.peer import NOON

Begin = Callable[..., ImapSource]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def begin(server: ScriptedImap, ledger: Ledger) -> AsyncIterator[Begin]:
    """Run sources; at the end nothing may be left of them."""
    running: list[tuple[ImapSource, asyncio.Task[None]]] = []

    def start(**more: object) -> ImapSource:
        source = make_source(ledger, server.port, **more)  # type: ignore[arg-type]
        running.append((source, asyncio.create_task(source.run())))
        return source

    yield start
    for each in running:
        await end(*each)


@pytest.fixture
def told(lines: list[Line]) -> Callable[[str], list[Line]]:
    return lambda event: [line for line in lines if line["event"] == event]


def alarms(alarm: Alarm) -> float:
    """Read the counter that alerts look at."""
    return metrics.IMAP_ALARMS.labels(NAME, alarm)._value.get()


def flags(server: ScriptedImap) -> dict[bytes, set[str]]:
    return {mail.raw: mail.flags for mail in server.mails.values()}


async def trouble(source: ImapSource) -> str:
    """Wait until the source says what is wrong."""
    async with asyncio.timeout(5):
        while source.state.problem is None:
            await asyncio.sleep(0)
    return source.state.problem


async def test_a_pushed_mail_is_taken(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """It is accepted with its place, then marked seen, then the cursor is there."""
    source = begin()
    await server.until_heard("idling")
    await server.push(b"sms")
    await ledger.until_at(1)
    (arrival,) = ledger.arrivals
    assert (arrival.source, arrival.source_name, arrival.raw) == (SourceKind.IMAP, NAME, b"sms")
    assert arrival.received_at == NOON
    assert arrival.origin is not None
    assert (arrival.origin.uidvalidity, arrival.origin.uid) == (7, 1)
    assert server.mails[1].flags == {"\\Seen"}
    await server.until_heard("idling", 2)
    assert source.state.connected
    assert source.state.last_push == NOON
    assert source.state.last_sync == NOON
    assert source.state.lag == 1.0  # INTERNALDATE is 14:30:52 +0200
    assert source.state.problem is None
    assert source.report() == {
        "state": "connected",
        "last_sync": "2026-04-08T12:30:53+00:00",
        "last_push": "2026-04-08T12:30:53+00:00",
        "lag_seconds": 1.0,
        "open": 0,
    }


async def test_nothing_is_done_before_the_commit(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """As long as the store has not said so, the mail is as it was."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def gate(arrival: Arrival) -> None:
        entered.set()
        await opened.wait()

    ledger.before = gate
    server.add(b"sms")
    begin()
    await entered.wait()
    assert server.mails[1].flags == set()
    assert not any(words.startswith("UID STORE") for words in server.heard)
    opened.set()
    await ledger.until_at(1)
    assert server.mails[1].flags == {"\\Seen"}


@pytest.mark.parametrize(
    ("action", "left", "copied"),
    [
        ("leave", {b"sms": set()}, {}),
        ("seen", {b"sms": {"\\Seen"}}, {}),
        ("delete", {}, {}),
        ("move:Done", {}, {"Done": [b"sms"]}),
        ("copy:Done", {b"sms": {"\\Seen"}}, {"Done": [b"sms"]}),
    ],
)
async def test_actions(
    server: ScriptedImap, ledger: Ledger, begin: Begin, action: str,
    left: dict[bytes, set[str]], copied: dict[str, list[bytes]],
) -> None:  # fmt: skip
    """A stored mail goes where the config says."""
    server.folders.add("Done")
    server.add(b"sms")
    begin(on_message=action)
    await ledger.until_at(1)
    assert flags(server) == left
    assert server.copied == copied


async def test_each_outcome_has_its_action(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Messages, quarantine and ignored mail part."""
    server.folders |= {"Done", "Look"}
    for raw in (b"sms", b"odd", b"voicemail", b"sms"):
        server.add(raw)
    begin(on_message="move:Done", on_quarantine="copy:Look", on_ignored="delete")
    await ledger.until_at(4)
    assert server.copied == {"Done": [b"sms", b"sms"], "Look": [b"odd"]}
    assert flags(server) == {b"odd": {"\\Seen"}}


async def test_a_folder_that_only_can_be_read(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """Mails are taken in and left, the cursor alone remembers them."""
    server.readonly = True
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert len(told("imap.readonly")) == 1


async def test_a_folder_that_becomes_read_only(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """From then on mails are left as they are, without a try; and marked again once it may be."""
    source = begin(poll=0.05)
    await server.until_heard("idling")
    server.readonly = True
    await server.until(lambda: source._sync._folder.locked is True)
    await server.push(b"locked")
    await ledger.until_at(1)
    assert not any(words.startswith("UID STORE") for words in server.heard)
    assert source.state.problem is None
    server.readonly = False
    await server.until(lambda: source._sync._folder.locked is False)
    await server.push(b"free")
    await ledger.until_at(2)
    assert flags(server) == {b"locked": set(), b"free": {"\\Seen"}}
    assert len(told("imap.readonly")) == 1
    assert told("imap.action_refused") == []


async def test_a_folder_that_becomes_read_only_between_the_commit_and_the_action(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """The refusal is told, and at the next look nothing is left to be done: the cursor goes on."""

    async def lock(arrival: Arrival) -> None:
        server.readonly = True

    ledger.before = lock
    server.add(b"sms")
    source = begin(poll=0.05)
    await ledger.until_at(1)
    await server.until(lambda: source.state.problem is None and source.state.open == 0)
    assert ledger.raws == [b"sms"]
    assert flags(server) == {b"sms": set()}
    assert sum(words.startswith("UID STORE") for words in server.heard) == 1
    assert len(told("imap.action_refused")) == 1
    assert len(told("imap.readonly")) == 1


async def test_leaving_everything_opens_read_only(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """Where nothing is to be changed, nothing can be; and that is nothing to warn of."""
    server.add(b"sms")
    begin(on_message="leave", on_quarantine="leave", on_ignored="leave")
    await ledger.until_at(1)
    assert any(words.startswith("EXAMINE") for words in server.heard)
    assert flags(server) == {b"sms": set()}
    assert told("imap.readonly") == []


# Where to begin


@pytest.mark.parametrize(
    ("start", "taken"),
    [
        ("all", [b"old", b"read", b"fresh"]),
        ("unseen", [b"old", b"fresh"]),
        ("new", [b"fresh"]),
        (date(2026, 4, 1), [b"old", b"read", b"fresh"]),
    ],
)
async def test_the_first_start(
    server: ScriptedImap, ledger: Ledger, begin: Begin, start: object, taken: list[bytes]
) -> None:
    """Old mail is taken as `start` says, what comes from then on always."""
    server.add(b"old")
    server.add(b"read", "\\Seen")
    begin(start=start)
    await server.until_heard("idling")
    await server.push(b"fresh")
    await ledger.until_at(3)
    assert sorted(ledger.raws) == sorted(taken)
    if isinstance(start, date):
        assert "UID SEARCH UID 1:2 SINCE 1-Apr-2026" in server.heard


async def test_what_is_read_by_another_client_before_we_take_it(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail that was unseen at the first start is taken, although it is seen by now."""

    async def away(arrival: Arrival) -> None:
        server.mails[1].flags.add("\\Seen")
        ledger.before = None
        raise StoreUnavailable("locked")

    ledger.before = away
    server.add(b"old")
    begin(start="unseen")
    await ledger.until_at(1)
    assert ledger.raws == [b"old"]


async def test_a_first_start_that_does_not_come_to_its_end(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """A restart goes on with it: what came since is taken, seen or not, and old mail as before."""
    server.add(b"seen of old", "\\Seen")
    server.add(b"broken", nil=True)
    server.add(b"old")
    source = begin(start="unseen")
    await server.until_heard("idling")
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"new", "\\Seen")
    server.mails[2].nil = False
    begin(start="unseen")
    await ledger.until_at(4)
    assert sorted(ledger.raws) == [b"broken", b"new", b"old"]


async def test_a_first_start_that_the_store_could_not_note(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """It is noted before any mail is read, however often the store is away."""
    ledger.refusals = 1
    server.add(b"broken", nil=True)
    source = begin(start="unseen")
    await server.until_heard("idling")
    assert ledger.at == Cursor(7, 0)
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"new", "\\Seen")
    begin(start="unseen")
    await ledger.until_taken(b"new")


async def test_new_mail_only_is_remembered_at_once(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """What comes between the first start and the second is new, although nothing came before."""
    server.add(b"old")
    source = begin(start="new")
    await ledger.until_at(1)
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"fresh")
    begin(start="new")
    await ledger.until_at(2)
    assert ledger.raws == [b"fresh"]


async def test_a_restart_goes_on_at_the_cursor(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Seen or not: above the cursor everything is wanted, below it nothing."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 2)
    for raw in (b"a", b"b"):
        server.add(raw)
    server.add(b"c", "\\Seen")
    begin(start="unseen")
    await ledger.until_at(3)
    assert ledger.raws == [b"c"]


async def test_what_was_committed_and_not_acted_on_is_done_after_a_crash(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """The cursor waits for the action: the mail is seen again, a duplicate, and marked."""

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()
        server.instead["LOGIN"] = die

    server.instead["UID STORE"] = die
    server.add(b"sms")
    begin()
    await ledger.until_taken(b"sms")
    await server.until_heard("LOGIN", 2)
    assert ledger.at is None or ledger.at.uid < 1
    # The second life knows nothing but the ledger.
    server.instead.clear()
    begin()
    await ledger.until_at(1)
    assert server.mails[1].flags == {"\\Seen"}


async def test_a_lost_connection_does_not_read_twice(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """What this process committed it knows: after the reconnect only the action is left."""

    async def die(session: Session, tag: str, words: str) -> None:
        del server.instead["UID STORE"]
        session.writer.transport.abort()

    server.instead["UID STORE"] = die
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert server.mails[1].flags == {"\\Seen"}


@pytest.mark.parametrize("start", ["all", "unseen", "new"])
async def test_uidvalidity_changes(
    server: ScriptedImap, ledger: Ledger, begin: Begin, start: str,
    told: Callable[[str], list[Line]],
) -> None:  # fmt: skip
    """Every mail is looked at again, what came meanwhile is found, and the log says so."""
    begin(start=start)
    await server.until_heard("idling")
    await server.push(b"one")
    await ledger.until_at(1)
    await server.until_heard("idling", 2)
    server.add(b"two")
    server.recreate(uidvalidity=8)
    server.hang_up()
    await ledger.until_at(2, uidvalidity=8)
    assert set(ledger.raws) == {b"one", b"two"}
    (line,) = told("imap.uidvalidity_changed")
    assert (line["was"], line["now"]) == (7, 8)


async def test_what_others_read_meanwhile(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail that came while we were away and was read elsewhere is not lost with its old number."""
    ledger.cursors[NAME, "INBOX"] = Cursor(6, 50)
    server.add(b"sms", "\\Seen")
    begin(start="unseen")
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert "UID SEARCH UID 1:1 OR UNSEEN SINCE 1-Apr-2026" in server.heard


async def test_the_log_names_a_reconcile_that_looks_at_what_a_rescan_left_out(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """What lies below the horizon, reconcile counts as left out: only with --all it looks."""
    ledger.cursors[NAME, "INBOX"] = Cursor(6, 50)
    server.add(b"x" * 100_001)
    server.add(b"x" * 100_001)
    begin(start="unseen")
    await ledger.until_at(2)
    assert ledger.horizons[NAME, "INBOX"] == 3
    (line,) = told("imap.uidvalidity_changed")
    assert "reconcile --all" in str(line["detail"])
    await server.until_heard("idling")
    await server.push(b"x" * 100_001)
    await ledger.until_at(3)
    commands = [str(line["detail"]).partition(" run ")[2] for line in told("imap.too_big")]
    assert commands == [
        "reconcile --all --fix to take it in",
        "reconcile --all --fix to take it in",
        "reconcile --fix to take it in",
    ]


async def test_a_restored_mailbox_counts_anew(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """UIDs that are given a second time under the same UIDVALIDITY hide nothing."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 50)
    server.add(b"sms")
    begin()
    await ledger.until_taken(b"sms")
    assert len(told("imap.uidvalidity_changed")) == 1


async def test_a_restored_mailbox_that_is_full_again(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """The cursor of before counts no more, also after a restart with more mail than that."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 50)
    server.add(b"1")
    source = begin()
    await ledger.until_at(1)
    source.stop()
    await server.until(lambda: not server.sessions)
    for number in range(2, 61):
        server.add(b"%d" % number)
    begin()
    await ledger.until_at(60)
    assert sorted(map(int, ledger.raws)) == list(range(1, 61))


async def test_the_folder_goes_and_comes_back(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """While it is away that is an alarm; when it is back, everything in it is taken."""
    source = begin(refused_pause=0.05)
    await server.until_heard("idling")
    server.folders.clear()
    server.hang_up()
    await server.until_heard("SELECT", 3)
    assert source.state.problem is not None
    assert "INBOX" in source.state.problem
    assert len(told("imap.refused")) == 1  # told once, tried often
    server.uidvalidity = 9
    server.add(b"sms")
    server.folders.add("INBOX")
    await ledger.until_at(1, uidvalidity=9)
    await server.until_heard("idling", 2)
    assert source.state.problem is None


# What fails


async def test_a_failing_commit_in_the_middle(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """The others are stored and marked, the failed one is untouched, and the cursor below it."""

    async def poison(arrival: Arrival) -> None:
        if arrival.raw == b"c":
            raise StoreError("this cannot be written")

    ledger.before = poison
    for raw in (b"a", b"b", b"c", b"d", b"e"):
        server.add(raw)
    source = begin()
    await ledger.until_at(2)
    await server.until_heard("idling")
    assert sorted(ledger.raws) == [b"a", b"b", b"d", b"e"]
    assert {raw for raw, some in flags(server).items() if not some} == {b"c"}
    assert source.state.open == 1
    # It is tried again, alone, and when it succeeds the cursor passes all of them.
    ledger.before = None
    await server.push(b"f")
    await ledger.until_at(6)
    assert sorted(ledger.raws) == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [line["uid"] for line in told("imap.not_taken")] == [3]


async def test_the_cursor_is_true_in_any_order(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Commits end in the worst order, and no stored cursor ever passes a mail without commit."""
    seen: list[tuple[int, set[int]]] = []

    async def slow_first(arrival: Arrival) -> None:
        assert arrival.origin is not None
        await asyncio.sleep(0.001 * (30 - arrival.origin.uid % 30))
        stored = {each.origin.uid for each in ledger.arrivals}
        seen.append((ledger.at.uid if ledger.at else 0, stored))

    ledger.before = slow_first
    for number in range(250):
        server.add(b"%d" % number)
    begin()
    await ledger.until_at(250)
    assert any(cursor for cursor, _ in seen)
    for cursor, stored in seen:
        assert set(range(1, cursor + 1)) <= stored


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), StoreFull("full")])
async def test_the_store_is_away(
    server: ScriptedImap, ledger: Ledger, begin: Begin, error: StoreError
) -> None:
    """The mailbox stays untouched, and when the store is back everything is taken."""
    tries = 0

    async def away(arrival: Arrival) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise error

    ledger.before = away
    server.add(b"sms")
    source = begin()
    await server.until(lambda: tries == 2)
    assert server.mails[1].flags == set()
    assert source.state.problem == str(error)
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]


async def test_a_bug_loses_nothing(
    server: ScriptedImap, ledger: Ledger, begin: Begin, lines: list[Line]
) -> None:
    """An exception that nobody foresaw leaves the mail where it is and the others unharmed."""

    async def bug(arrival: Arrival) -> None:
        if arrival.raw == b"a":
            raise ValueError("secret words")

    ledger.before = bug
    for raw in (b"a", b"b"):
        server.add(raw)
    begin()
    await server.until_heard("idling")
    assert ledger.raws == [b"b"]
    assert server.mails[1].flags == set()
    assert "secret words" not in str([line for line in lines if "stack" not in line])
    lines.clear()


async def test_too_big(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """It is not read, not touched, told once, and holds nobody up."""
    before = alarms(Alarm.TOO_BIG)
    server.add(b"x" * 100_001)
    server.add(b"sms")
    begin()
    await ledger.until_at(2)
    assert ledger.raws == [b"sms"]
    assert server.mails[1].flags == set()
    assert not any(words.startswith(("UID FETCH 1 (UID BODY", "UID FETCH 1:")) and "BODY" in words
                   for words in server.heard)  # fmt: skip
    assert len(told("imap.too_big")) == 1
    assert alarms(Alarm.TOO_BIG) == before + 1


async def test_too_big_in_secret(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """A size that was a lie costs a connection or two, and then holds nobody up either."""
    server.add(b"a")
    server.add(b"x" * 20_100_000, size=10)
    server.add(b"b")
    begin()
    await ledger.until_at(3)
    assert sorted(ledger.raws) == [b"a", b"b"]
    assert server.mails[2].flags == set()
    assert [line["uid"] for line in told("imap.too_big")] == [2]


async def test_a_body_that_the_server_cannot_read(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """NIL is no mail: the others are taken, this one is tried again until it can be read."""
    server.add(b"a", nil=True)
    server.add(b"b")
    begin()
    await server.until_heard("idling")
    assert ledger.raws == [b"b"]
    server.mails[1].nil = False
    await server.push(b"c")
    await ledger.until_at(3)
    assert sorted(ledger.raws) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("asked", ["RFC822.SIZE", "BODY.PEEK[]"])
@pytest.mark.parametrize("said", ["NO it is broken", "NO [SERVERBUG] it is broken", None])
async def test_a_mail_over_which_the_server_stumbles(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]],
    asked: str, said: str | None,
) -> None:  # fmt: skip
    """It says NO in the middle of a window, or hangs up: every other mail is taken all the same."""

    async def stumble(session: Session, tag: str, words: str) -> str | None:
        if asked not in words:
            return await session.do_uid_fetch(words)
        for _, uid, mail in session._named(words):
            if mail.raw == b"broken" and said is None:
                session.writer.transport.abort()
            if mail.raw == b"broken":
                return said
            await session.do_uid_fetch(f"{uid} ({asked})")
        return "OK done"

    server.instead["UID FETCH"] = stumble
    good = [b"a", b"b", b"c", b"d"]
    for raw in (b"a", b"b", b"broken", b"c", b"d"):
        server.add(raw)
    source = begin(poll=0.05)
    async with asyncio.timeout(30):
        await ledger.until(lambda: set(good) <= set(ledger.raws), 30)
        await server.until_heard("idling", 3)
    assert sorted(ledger.raws) == good
    assert source.state.problem == "1 mails cannot be taken in yet; the log says which"
    assert {line["uid"] for line in told("imap.not_taken")} == {3}
    assert ledger.at == Cursor(7, 2)
    logins = sum(words.startswith("LOGIN") for words in server.heard)
    await server.until_heard("idling", sum(words == "idling" for words in server.heard) + 3)
    assert sum(words.startswith("LOGIN") for words in server.heard) == logins


async def test_a_mail_that_goes_while_it_is_read(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Somebody deletes it between search and fetch: nothing waits for it."""

    async def vanish(session: Session, tag: str, words: str) -> str:
        server.mails.pop(1, None)
        return await session.do_uid_fetch(words)

    server.instead["UID FETCH"] = vanish
    server.add(b"a")
    server.add(b"b")
    begin(poll=0.05)
    await ledger.until_at(2)
    assert ledger.raws == [b"b"]


async def test_an_action_that_is_refused(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """Mail is taken in all the same, the alarm says why it stays, and later it is moved."""
    server.add(b"a")
    source = begin(on_message="move:Done", poll=0.05)
    await ledger.until_taken(b"a")
    await server.until_heard("UID MOVE", 2)
    assert source.state.problem is not None
    assert "'Done'" in source.state.problem
    await server.push(b"b")
    await ledger.until_taken(b"b")
    server.folders.add("Done")
    await ledger.until_at(2)
    assert server.copied == {"Done": [b"a", b"b"]}
    assert ledger.raws == [b"a", b"b"]
    assert told("imap.action_refused")


async def test_a_refused_move_of_old_mail_is_tried_again(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Marked by ourselves it is unseen no more: it is moved all the same when that goes again."""
    server.add(b"a")
    begin(start="unseen", on_message="move:Done", poll=0.05)
    await ledger.until_taken(b"a")
    await server.until_heard("idling")
    assert flags(server) == {b"a": {"\\Seen"}}
    server.folders.add("Done")
    await ledger.until_at(1)
    assert server.copied == {"Done": [b"a"]}


async def test_a_refused_action_is_tried_once_a_sync(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """A backlog does not knock at a closed door with each window."""
    for number in range(250):
        server.add(b"%d" % number)
    begin(on_message="move:Done")
    await server.until_heard("idling")
    assert len(ledger.raws) == 250
    assert sum(words.startswith("UID MOVE") for words in server.heard) == 1


# The server


async def test_the_server_restarts(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """What came while the connection was cut is found after the reconnect."""
    begin()
    await server.until_heard("idling")
    server.hang_up()
    server.add(b"sms")
    await ledger.until_at(1)


async def test_a_server_that_hangs_up_at_each_idle(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """It syncs well each time, and yet the pauses grow: no loop of logins, and mail is taken."""

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()

    server.instead["IDLE"] = die
    source = begin()
    await server.until_heard("LOGIN", 3)
    assert source._backoff._state.attempt_number == 2
    server.add(b"sms")
    await ledger.until_at(1)


async def test_a_black_hole(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """A connection that died without a word is found out and left, and nothing is missed."""

    async def deaf(session: Session, tag: str, words: str) -> None:
        del server.instead["IDLE"]
        session.say("+ idling")
        await session.reader.read()  # whatever it is, to the end

    server.instead["IDLE"] = deaf
    begin(poll=0.1, timeout=0.3)
    await server.until_heard("IDLE")
    server.add(b"sms")
    await ledger.until_at(1)


@pytest.mark.parametrize("action", ["delete", "move:Done"])
async def test_without_move_and_uidplus(
    server: ScriptedImap, ledger: Ledger, begin: Begin, action: str,
    told: Callable[[str], list[Line]],
) -> None:  # fmt: skip
    """Mails are only marked, the log says so once, and they are not done with again and again."""
    server.capabilities = [each for each in FULL if each not in ("MOVE", "UIDPLUS")]
    server.folders.add("Done")
    begin(on_message=action)
    for number in (1, 2):
        await server.until_heard("idling", number)
        await server.push(b"%d" % number)
        await ledger.until_at(number)
    assert all("\\Deleted" in some for some in flags(server).values())
    assert server.copied.get("Done", []) == ([] if action == "delete" else [b"1", b"2"])
    assert len(told("imap.only_marked")) == 1


async def test_a_lost_push_is_found_by_polling(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail of which the server never spoke is found at the next poll."""
    begin(poll=0.1)
    await server.until_heard("idling")
    server.add(b"sms")
    await ledger.until_at(1)


async def test_exists_while_searching(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """A mail that comes in the middle of the search is taken at once, not at the next poll."""

    async def search(session: Session, tag: str, words: str) -> str:
        del server.instead["UID SEARCH"]
        said = await session.do_uid_search(words)
        server.add(b"sms")
        session.say("* 1 EXISTS")
        return said

    server.instead["UID SEARCH"] = search
    begin()
    await ledger.until_at(1)


@pytest.mark.parametrize("missing", ["IDLE", "refuses"])
async def test_without_idle(
    server: ScriptedImap, ledger: Ledger, begin: Begin, missing: str
) -> None:
    """A server that cannot push is asked again and again."""

    async def no(session: Session, tag: str, words: str) -> str:
        return "NO not now"

    if missing == "IDLE":
        server.capabilities = [each for each in FULL if each != "IDLE"]
    else:
        server.instead["IDLE"] = no
    begin(poll=0.05)
    await server.until_heard("SELECT", 3)
    server.add(b"sms")
    await ledger.until_at(1)
    assert sum(words == "IDLE" for words in server.heard) == (missing == "refuses")


async def test_a_server_that_always_pushes(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """EXISTS at every IDLE does not make a loop without rest."""

    async def idle(session: Session, tag: str, words: str) -> str:
        session.say("+ idling", "* 0 EXISTS")
        assert await session.line() == "DONE"
        return "OK done"

    server.instead["IDLE"] = idle
    begin(poll=60)
    await server.until_heard("IDLE", 5)
    before = len(server.heard)
    await asyncio.sleep(0.3)
    assert len(server.heard) - before < 60


async def test_no_uidnext(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """Where the server hides its next UID, a search finds the last one."""

    async def select(session: Session, tag: str, words: str) -> str:
        session.say("* 1 EXISTS", "* OK [UIDVALIDITY 7]")
        return "OK [READ-WRITE] selected"

    server.instead["SELECT"] = select
    server.add(b"old")
    begin(start="new")
    await ledger.until_at(1)
    assert ledger.raws == []


async def test_no_uidnext_and_the_last_mail_goes(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """A folder without its last mail is not one whose UIDs were given anew."""

    async def select(session: Session, tag: str, words: str) -> str:
        session.say("* 1 EXISTS", "* OK [UIDVALIDITY 7]")
        return "OK [READ-WRITE] selected"

    server.instead["SELECT"] = select
    server.add(b"odd")
    server.add(b"sms")
    begin(on_message="delete", on_quarantine="leave", poll=0.05)
    await server.until_heard("SELECT", 3)
    assert ledger.raws == [b"odd", b"sms"]
    assert told("imap.uidvalidity_changed") == []


async def test_a_refused_login_is_an_alarm_and_no_loop(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """One line, one more try soon, then long pauses; the daemon starts and stops all the same."""
    before = alarms(Alarm.REFUSED)
    source = begin(password="wrong", refused_pause=5)
    await source.listening.wait()
    await trouble(source)
    (line,) = told("imap.refused")
    assert line["level"] == "error"
    assert 0.4 <= line["pause"] <= 0.6
    assert "wrong" not in str(line)
    assert USER not in str(line)
    await asyncio.sleep(1.2)
    assert sum(words.startswith("LOGIN") for words in server.heard) == 2
    assert len(told("imap.refused")) == 1
    assert alarms(Alarm.REFUSED) == before + 2  # told once, counted each time


async def test_the_default_pauses_of_a_refused_login(
    server: ScriptedImap, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """Half a minute the first time, then five minutes: no server locks out who asks so seldom."""
    source = begin(password="wrong")
    await trouble(source)
    (line,) = told("imap.refused")
    assert 27 <= line["pause"] <= 33
    assert source._refusals == 1


async def test_a_refusal_that_is_no_login_is_tried_again_soon(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """A server that says no to a search for a moment costs a moment, not five minutes."""
    refused = 0

    async def no(session: Session, tag: str, words: str) -> str:
        nonlocal refused
        refused += 1
        if refused == 2:
            del server.instead["UID SEARCH"]
        return "NO a hiccup"

    server.instead["UID SEARCH"] = no
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert refused == 2


async def test_tokens(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """Each connection gets a fresh token, and a refused one is an alarm that passes."""
    given = ["stale", "secret", "secret"]
    rejected: list[str] = []

    class Tokens:
        async def token(self) -> str:
            return given.pop(0)

        def reject(self, token: str) -> None:
            rejected.append(token)

    source = begin(tokens=Tokens(), refused_pause=0.05)
    await server.until_heard("idling")
    assert source.state.problem is None
    server.hang_up()
    server.add(b"sms")
    await ledger.until_at(1)
    assert given == []
    assert rejected == ["stale"]


async def test_a_token_that_became_old_costs_no_pause(
    server: ScriptedImap, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """After a refused token a fresh one is tried at once; refused again, it is as any login."""

    class Tokens:
        asked = 0

        async def token(self) -> str:
            self.asked += 1
            return "stale"

        def reject(self, token: str) -> None:
            pass

    tokens = Tokens()
    source = begin(tokens=tokens, refused_pause=3000)
    await server.until(lambda: tokens.asked == 2)
    async with asyncio.timeout(5):
        while source._refusals < 2:
            await asyncio.sleep(0.01)
    assert told("imap.refused")[0]["pause"] < 5
    assert source._pause_of_refusal() > 2000


async def test_a_server_that_is_away(ledger: Ledger, told: Callable[[str], list[Line]]) -> None:
    """The source counts as started, tries with growing pauses, and stops at once."""
    source = make_source(ledger, 1)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    assert (await trouble(source)).startswith("cannot connect")
    source.stop()
    async with asyncio.timeout(2):
        await run
    assert len(told("imap.unavailable")) == 1


async def test_looking_changes_nothing(server: ScriptedImap) -> None:
    """The UIDs and the bytes are told, what is too big is refused, and no flag is set."""
    server.add(b"sms")
    server.add(b"x" * 100_001)
    async with look_into(settings(server.port)) as look:
        assert look.uidvalidity == 7
        assert await look.list_uids() == [1, 2]
        assert await look.fetch_raw(1) == b"sms"
        assert await look.fetch_raw(9) is None
        with pytest.raises(NotPossible, match="100001 bytes"):
            await look.fetch_raw(2)
    assert all(not some for some in flags(server).values())
    assert any(words.startswith("EXAMINE") for words in server.heard)


# Stopping


async def test_a_cancelled_source_has_ended(server: ScriptedImap, ledger: Ledger) -> None:
    """Once `run` is over nothing is done to the mailbox any more: another bridge may have it."""
    source = make_source(ledger, server.port)
    run = asyncio.create_task(source.run())
    await server.until_heard("idling")
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    assert source._working is not None
    assert source._working.done()
    assert source._client is None


async def test_stop_lets_commits_end(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """What was begun is stored, marked and remembered; then LOGOUT."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def gate(arrival: Arrival) -> None:
        entered.set()
        await opened.wait()

    ledger.before = gate
    server.add(b"sms")
    source = begin()
    await entered.wait()
    source.stop()
    opened.set()
    await ledger.until_at(1)
    await server.until_heard("LOGOUT")
    assert server.mails[1].flags == {"\\Seen"}


async def test_stop_does_not_wait_for_a_silent_server(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Where nothing is under way, a server that does not answer holds no shutdown up."""

    async def never(session: Session, tag: str, words: str) -> None:
        pass

    server.instead["LOGIN"] = never
    source = begin(timeout=60)
    await server.until_heard("LOGIN")
    async with asyncio.timeout(3):
        await source.drain(20)


async def test_drain_does_not_wait_for_ever(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Callable[[str], list[Line]]
) -> None:
    """A commit that does not end is left to the next start."""
    entered = asyncio.Event()

    async def stuck(arrival: Arrival) -> None:
        entered.set()
        await asyncio.Event().wait()

    ledger.before = stuck
    server.add(b"sms")
    source = begin()
    await entered.wait()
    async with asyncio.timeout(2):
        await source.drain(0.05)
    assert server.mails[1].flags == set()
    assert len(told("imap.drain_cut")) == 1


def test_a_ca_that_cannot_be_used() -> None:
    """The error names the mailbox and the key, before anything is connected to."""
    with pytest.raises(ConfigError) as raised:
        make_source(Ledger(), 1, tls=True, tls_ca="/nowhere/ca.pem")
    assert raised.value.key == "imap.inbox.tls_ca"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short: 0.1 s is most of what these tests would take."""
    monkeypatch.setattr("bridge.sources.imap.source._LONGEST_PAUSE", 0.1)
