"""The storm: a real Postfix relays mails while the daemon is killed again and again."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.mails import SmsMail
from tests.servers.daemon import Daemon
from tests.servers.postfix import Postfix
from tests.servers.receiver import Answer, Exchange, Receiver, taken

_START: Final = 0.3  # seconds that a start takes, about: a kill may fall into it as well


@dataclass(frozen=True, slots=True)
class Storm:
    """How the kills fell."""

    kills: int
    with_work: int  # with mails under way from Postfix to the receiver's answer
    with_posts: int  # with webhooks that the receiver had and had not answered
    cut_sessions: int  # connections that Postfix saw break in the middle of a mail
    repeats: int  # webhooks that came again


def slow(dice: random.Random) -> Answer:
    """Answer as a healthy but not a quick service, so that kills fall into running POSTs."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(dice.uniform(0, 0.05))
        await taken(exchange)

    return answer


def rage(
    daemon: Daemon,
    postfix: Postfix,
    receiver: Receiver,
    mails: Sequence[SmsMail],
    kills: int,
    dice: random.Random,
) -> Storm:
    """Relay the mails while the daemon is killed; return when all is delivered, or fail."""
    receiver.answer = slow(random.Random(dice.random()))
    shares = [mails[number::kills] for number in range(kills)]
    with_work = with_posts = before = 0
    for share in shares:
        daemon.spawn()
        early = dice.random() < 0.2
        if not early:
            daemon.wait_until_listening()
        done = receiver.count() + dice.randrange(len(share))
        # While the life lasts, not before it: so mails are under way at whatever moment it ends.
        injection = _Injection(postfix, share)
        injection.start()
        if early:
            time.sleep(dice.uniform(0, _START))
        else:
            # A share of the work, not of the time: how fast it goes depends on the machine.
            assert receiver.wait_for_ids(done), "nothing moves"
            time.sleep(dice.uniform(0, 0.01))
        posts = receiver.busy > 0
        with_posts += posts
        with_work += posts or receiver.count() < before + injection.queued
        daemon.kill()
        injection.join()
        before += len(share)
    daemon.start()
    assert receiver.wait_for_ids(len(mails)), (
        f"{receiver.count()} of {len(mails)} arrived; {postfix.waiting()} wait in Postfix"
    )
    storm = Storm(
        kills,
        with_work,
        with_posts,
        postfix.count("lost connection with 127.0.0.1"),
        len(receiver.all()) - receiver.count(),
    )
    sys.stdout.write(f"{storm}\n")
    return storm


class _Injection(threading.Thread):
    """Hands mails to Postfix, and counts those that it has queued."""

    def __init__(self, postfix: Postfix, mails: Sequence[SmsMail]) -> None:
        super().__init__(daemon=True)
        self.queued = 0
        self._postfix = postfix
        self._mails = mails

    def run(self) -> None:
        self._postfix.inject(self._counted())

    def _counted(self) -> Iterator[tuple[str, Sequence[str], bytes]]:
        for mail in self._mails:
            yield mail.envelope
            self.queued += 1


def assert_nothing_lost(
    daemon: Daemon, postfix: Postfix, receiver: Receiver, mails: Sequence[SmsMail]
) -> None:
    """Fail unless every mail became one message, delivered as itself, and the ledger adds up."""
    assert postfix.count("status=bounced") == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    copies = receiver.by_id()
    assert sorted(each[0].text for each in copies.values()) == sorted(mail.text for mail in mails)
    for repeated in copies.values():
        attempts = [each.attempt for each in repeated]
        assert attempts == sorted(set(attempts)), f"a try was made twice: {attempts}"
    assert daemon.stop() == 0  # so that all it knows is recorded
    daemon.assert_ledger_adds_up()
