"""A stored mail goes where the config says, and stays where the server refuses."""

from __future__ import annotations

import pytest

from bridge.model import Arrival
from tests.servers.scripted_imap import FULL, ScriptedImap
from tests.sources.imap.parts import Ledger, flags
from tests.sources.imap.source.conftest import Begin, Told


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
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """Mails are taken in and left, the cursor alone remembers them."""
    server.readonly = True
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert len(told("imap.readonly")) == 1


async def test_a_folder_that_becomes_read_only(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """From then on mails are left as they are, without a try; and marked again once it may be."""
    source = begin(poll=0.05)
    await server.until_heard("idling")
    server.readonly = True
    await server.until(lambda: source._sync._folder.locked is True)
    await server.push(b"locked")
    await ledger.until_at(1)
    assert not any(words.startswith("UID STORE") for words in server.heard)
    assert source.status.problem is None
    server.readonly = False
    await server.until(lambda: source._sync._folder.locked is False)
    await server.push(b"free")
    await ledger.until_at(2)
    assert flags(server) == {b"locked": set(), b"free": {"\\Seen"}}
    assert len(told("imap.readonly")) == 1
    assert told("imap.action_refused") == []


async def test_a_folder_that_becomes_read_only_between_the_commit_and_the_action(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """The refusal is told, and at the next look nothing is left to be done: the cursor goes on."""

    async def lock(arrival: Arrival) -> None:
        server.readonly = True

    ledger.before = lock
    server.add(b"sms")
    source = begin(poll=0.05)
    await ledger.until_at(1)
    await server.until(lambda: source.status.problem is None and source.status.open == 0)
    assert ledger.raws == [b"sms"]
    assert flags(server) == {b"sms": set()}
    assert sum(words.startswith("UID STORE") for words in server.heard) == 1
    assert len(told("imap.action_refused")) == 1
    assert len(told("imap.readonly")) == 1


async def test_leaving_everything_opens_read_only(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """Where nothing is to be changed, nothing can be; and that is nothing to warn of."""
    server.add(b"sms")
    begin(on_message="leave", on_quarantine="leave", on_ignored="leave")
    await ledger.until_at(1)
    assert any(words.startswith("EXAMINE") for words in server.heard)
    assert flags(server) == {b"sms": set()}
    assert told("imap.readonly") == []


@pytest.mark.parametrize("action", ["delete", "move:Done"])
async def test_without_move_and_uidplus(
    server: ScriptedImap, ledger: Ledger, begin: Begin, action: str,
    told: Told,
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


async def test_an_action_that_is_refused(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """Mail is taken in all the same, the alarm says why it stays, and later it is moved."""
    server.add(b"a")
    source = begin(on_message="move:Done", poll=0.05)
    await ledger.until_taken(b"a")
    await server.until_heard("UID MOVE", 2)
    assert source.status.problem is not None
    assert "'Done'" in source.status.problem
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
