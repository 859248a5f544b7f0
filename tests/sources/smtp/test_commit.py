"""The promise: 250 means stored, and a fault of ours leaves the mail with its sender."""

from __future__ import annotations

import asyncio

import pytest

from bridge.config.settings import SmtpSettings
from bridge.errors import StoreFull, StoreUnavailable
from bridge.model import Arrival, ArrivalOutcome, Receipt
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Peer, Taken, make_source, stored


class Gate(Taken):
    """Accepts, but not before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, arrival: Arrival) -> Receipt:
        self.entered.set()
        await self.opened.wait()
        return await super().__call__(arrival)


@pytest.mark.unhurried
async def test_250_waits_for_the_store(start: Start, connect: Connect) -> None:
    """Before accept has returned, the sender hears nothing."""
    gate = Gate()
    source = await start(gate)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    await peer.send(MAIL + b".\r\nNOOP\r\n")
    await gate.entered.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await peer.reader.readline()
    gate.opened.set()
    assert await peer.reply() == stored()
    assert (await peer.reply()).startswith("250")


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_a_peer_that_hangs_up_does_not_stop_the_commit(
    start: Start, connect: Connect, how: str
) -> None:
    """The store gets to finish although nobody is left to be told."""
    gate = Gate()
    source = await start(gate)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    await peer.send(MAIL + b".\r\n")
    await gate.entered.wait()
    match how:
        case "close":
            peer.close()
        case "reset":
            peer.reset()
        case _:
            peer.writer.write_eof()
    if how == "reset":
        async with asyncio.timeout(PATIENCE):
            await source._shared.empty.wait()
        assert source._shared.budget.used > 0  # the mail is still in memory
    (commit,) = source._commits
    gate.opened.set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([commit])
    assert gate.contents == [MAIL]
    if how == "half":
        assert await peer.reply() == stored()


@pytest.mark.parametrize(
    ("error", "reply", "event"),
    [
        (StoreFull("secret words"), "452 4.3.1", "smtp.store_full"),
        (StoreUnavailable("secret words"), "451 4.3.0", "smtp.store_unavailable"),
        (OSError(5, "secret words"), "451 4.3.0", "smtp.bug"),
        (ConnectionResetError("secret words"), "451 4.3.0", "smtp.bug"),
        (ValueError("secret words"), "451 4.3.0", "smtp.bug"),
        (TimeoutError("secret words"), "451 4.3.0", "smtp.bug"),
    ],
)
async def test_every_fault_of_ours_is_a_4xx_without_its_words(
    start: Start,
    connect: Connect,
    lines: list[Line],
    error: Exception,
    reply: str,
    event: str,
) -> None:
    """The sender is told to try again and not why; the session can go on."""
    failing = [error]

    async def accept(arrival: Arrival) -> Receipt:
        if failing:
            raise failing.pop()
        return Receipt(7, ArrivalOutcome.MESSAGE)

    source = await start(accept)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    said = await peer.ask(MAIL + b".")
    assert said.startswith(reply)
    assert "secret" not in said
    assert [line["event"] for line in lines] == [event]
    lines.clear()
    await peer.begin_mail()
    assert await peer.ask(MAIL + b".") == stored(2)


async def test_a_bug_in_a_command_is_a_451(
    start: Start,
    connect: Connect,
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception anywhere in our own commands is logged, and never becomes a 5xx."""
    source = await start()

    def broken(*_: object) -> object:
        raise RuntimeError("secret words")

    peer = await connect(source)
    await peer.greet()
    (session,) = source._shared.sessions
    monkeypatch.setattr(session, "_arrival", broken)
    await peer.begin_mail()
    assert await peer.ask(MAIL + b".") == "451 4.3.0 An error of ours, try again later"
    assert [line["event"] for line in lines] == ["smtp.bug"]
    lines.clear()
    assert await peer.codes(b"MAIL FROM:<a@b>") == ["250"]


@pytest.mark.unhurried
async def test_a_commit_is_never_cut_off_by_a_timer(start: Start, connect: Connect) -> None:
    """Both timeouts pass while the store is slow; the sender still hears its 250."""
    gate = Gate()
    source = await start(gate, idle_timeout=0.05, session_timeout=0.05)
    peer = await connect(source)
    await peer.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + MAIL + b".\r\n")
    await gate.entered.wait()
    await asyncio.sleep(0.4)
    gate.opened.set()
    assert f"\r\n{stored()}\r\n".encode() in await peer.rest()


async def test_drain_lets_a_mail_come_to_its_end(start: Start, connect: Connect) -> None:
    """Idle peers get 421 and new ones none; the mail under way is stored and told so."""
    gate = Gate()
    source = await start(gate)
    idle, sending, committing = [await connect(source) for _ in range(3)]
    for peer in (idle, sending, committing):
        await peer.greet()
    await sending.begin_mail()
    await committing.begin_mail()
    await committing.send(MAIL + b".\r\n")
    await gate.entered.wait()

    drain = asyncio.create_task(source.drain(PATIENCE))
    assert await idle.reply() == "421 4.3.2 Shutting down, try again later"
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(source.addresses[0])
    gate.opened.set()
    assert await committing.reply() == stored()
    assert (await committing.reply()).startswith("421 4.3.2")
    assert not drain.done()
    assert await sending.ask(MAIL + b".") == stored(2)
    assert (await sending.reply()).startswith("421 4.3.2")
    await drain
    assert len(gate.arrivals) == 2


@pytest.mark.unhurried
async def test_drain_ends_after_its_grace(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """A peer that never ends its mail and a store that hangs do not keep us up."""
    gate = Gate()
    source = await start(gate)
    stuck, hanging = await connect(source), await connect(source)
    for peer in (stuck, hanging):
        await peer.greet()
        await peer.begin_mail()
    await hanging.send(MAIL + b".\r\n")
    await gate.entered.wait()
    began = asyncio.get_running_loop().time()
    await source.drain(0.1)
    assert asyncio.get_running_loop().time() - began < 2
    assert b"250" not in await stuck.rest() + await hanging.rest()
    assert [line["event"] for line in lines] == ["smtp.drain_cut"]
    assert gate.arrivals == []


async def test_stop_ends_run(taken: Taken) -> None:
    """After stop the source ends by itself, with nothing left open."""
    source = make_source(SmtpSettings(listen=("127.0.0.1:0",)), taken)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    source.stop()
    async with asyncio.timeout(PATIENCE):
        await run
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(source.addresses[0])
