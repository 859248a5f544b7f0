"""What connections have in common is nobody's own."""

from __future__ import annotations

from tests.sources.conftest import Connect, Start
from tests.sources.peer import Taken

# Set once for all; and values that can't change.
COMMON = {"loop", "_loop", "_shared", "event_handler", "_handle_hooks", "_smtp_methods"}
COMMON |= {"_auth_methods", "_auth_callback"}
UNCHANGING = (str, bytes, int, float, bool, tuple, frozenset, type(None))


async def test_connections_share_nothing_that_changes(start: Start, connect: Connect) -> None:
    """What one peer does can't be another's: no buffer, envelope or list is in both."""
    source = await start()
    for peer in [await connect(source) for _ in range(2)]:
        await peer.greet()
        await peer.begin_mail()
    one, other = (vars(session) for session in source._shared.sessions)
    shared = {
        name
        for name, value in one.items()
        if value is other[name] and not isinstance(value, UNCHANGING)
    }
    assert {name for name in shared - COMMON if not name.endswith("phase")} == set()
    assert one["_smtp_methods"] == one["_auth_methods"] == {}


async def test_two_mails_at_once_stay_apart(taken: Taken, start: Start, connect: Connect) -> None:
    """Senders whose commands interleave each get their own mail stored."""
    source = await start()
    peers = [await connect(source) for _ in range(2)]
    for peer in peers:
        await peer.greet()
    for number, peer in enumerate(peers):
        await peer.send(b"MAIL FROM:<%d@x>\r\nRCPT TO:<to%d@x>\r\n" % (number, number))
    for peer in peers:
        assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "250"]
        await peer.send(b"DATA\r\n")
    for number, peer in enumerate(peers):
        assert (await peer.reply()).startswith("354")
        await peer.send(b"Subject: %d\r\n\r\n%d\r\n.\r\n" % (number, number))
        assert (await peer.reply()).startswith("250")
    assert [each.origin.sender for each in taken.arrivals] == ["0@x", "1@x"]  # type: ignore[union-attr]
    assert [each.recipients for each in taken.arrivals] == [("to0@x",), ("to1@x",)]
