"""Runs the real daemon again and again, and lets it kill itself at one named point.

    python -m tests.chaos.failpoint_daemon POINT KILLS run -c config.toml

Each life is a fork of this process, which has everything imported, so a life costs a tenth of a
start. After KILLS lives that ended at the point, the last one runs unharmed until SIGTERM. Every
life is `bridge.__main__.main`; the point is wrapped around it from outside, here.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final, NoReturn, cast

import httpx
from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

import bridge.app
import bridge.store.migrations  # noqa: F401 - imported once, for all lives
from bridge.__main__ import main
from bridge.config.imap import Afterwards
from bridge.delivery import recorder, routes
from bridge.delivery.lane import Lane
from bridge.delivery.transport import EndpointTransport
from bridge.model import Attempt, Claim, Cursor
from bridge.sources.imap import sync
from bridge.sources.imap.client import ImapClient
from bridge.sources.smtp.session import SmtpSession
from bridge.store import Mailboxes, Store

_PR_SET_PDEATHSIG: Final = 1


def _die() -> NoReturn:
    """End as the kernel, a power cut or an operator would: at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class _Commits:
    """Knows which commit is the one in question, an ingest's by default, and counts them."""

    def __init__(self, spare: int) -> None:
        self._spare = spare  # those that may pass: mails that the client sends again
        self._words: tuple[str, ...] = ("INSERT INTO arrivals",)
        self._open = False
        self.committed = False
        event.listen(Engine, "before_cursor_execute", self._statement)

    def _statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(self._words[0]) and self._words[-1] in statement:
            self._open = True

    def watch(self, *words: str) -> None:
        """Look for a statement that begins with the first word, and has the last one in it."""
        self._words = words

    def due(self) -> bool:
        """Say whether the commit that comes is such a one; called once for each commit."""
        was, self._open = self._open, False
        return was

    def spend(self) -> bool:
        """Say whether this is the one to die at."""
        self._spare -= 1
        return self._spare < 0


def _wrap(owner: object, method: str, wrapped: Callable[[Any], Any]) -> None:
    """Put a function made of the real one in its place."""
    real = getattr(owner, method)
    setattr(owner, method, wraps(real)(wrapped(real)))


def _around_commit(
    commits: _Commits, before: Callable[[], None] | None, after: Callable[[], None] | None
) -> None:
    def wrapped(real: Any) -> Any:
        def do_commit(dialect: Any, connection: Any) -> None:
            mine = commits.due()
            if mine and before:
                before()
            real(dialect, connection)
            commits.committed |= mine
            if mine and after:
                after()

        return do_commit

    _wrap(SQLiteDialect_pysqlite, "do_commit", wrapped)


def _at_commit(when: str, commits: _Commits) -> None:
    def strike() -> None:
        if commits.spend():
            _die()

    if when == "before":
        _around_commit(commits, strike, None)
    else:
        _around_commit(commits, None, strike)


def _at_change(*words: str) -> Callable[[str, _Commits], None]:
    def at(when: str, commits: _Commits) -> None:
        commits.watch(*words)
        _at_commit(when, commits)

    return at


def _at_250(when: str, commits: _Commits) -> None:
    def wrapped(real: Any) -> Any:
        async def push(session: SmtpSession, status: str | bytes) -> None:
            mine, commits.committed = commits.committed, False
            fatal = mine and commits.spend()
            if fatal and when == "before":
                _die()
            await real(session, status)
            if fatal:
                # Written is not sent: the loop sends when it comes round.
                transport = cast("asyncio.WriteTransport", session.transport)
                while transport.get_write_buffer_size():
                    await asyncio.sleep(0)
                _die()

        return push

    _around_commit(commits, None, None)
    _wrap(SmtpSession, "push", wrapped)


def _at_post(when: str, _: _Commits) -> None:
    def wrapped(real: Any) -> Any:
        async def handle(transport: Any, request: httpx.Request) -> httpx.Response:
            fatal = request.headers["webhook-attempt"] == "1"
            if fatal and when == "before":
                _die()
            response: httpx.Response = await real(transport, request)
            if fatal:
                _die()
            return response

        return handle

    _wrap(EndpointTransport, "handle_async_request", wrapped)


def _at_record(_when: str, _: _Commits) -> None:
    def wrapped(real: Any) -> Any:
        async def record(store: Store, attempt: Attempt) -> None:
            if attempt.claim.attempt == 1:
                _die()
            await real(store, attempt)

        return record

    _wrap(Store, "record", wrapped)


def _at_claim(_when: str, _: _Commits) -> None:
    _die_with_claims(given_back=False)


def _at_give_back(_when: str, _: _Commits) -> None:
    _die_with_claims(given_back=True)


def _die_with_claims(*, given_back: bool) -> None:
    """Die when what no lane had a slot for is leased to us, or is no longer."""

    def wrapped(real: Any) -> Any:
        async def claim(store: Store, *args: Any) -> list[Claim]:
            claims: list[Claim] = await real(store, *args)
            if any(each.attempt == 1 for each in claims):
                if given_back:
                    await store.give_back(claims)
                _die()
            return claims

        return claim

    _wrap(Store, "claim", wrapped)
    _wrap(Lane, "reserve", lambda _: lambda _lane: False)


def _at_action(when: str, _: _Commits) -> None:
    def wrapped(real: Any) -> Any:
        async def carry_out(action: Afterwards, client: ImapClient, uids: Sequence[int]) -> bool:
            if when == "before":
                _die()
            await real(action, client, uids)
            _die()

        return carry_out

    _wrap(sync, "carry_out", wrapped)


def _at_cursor(when: str, _: _Commits) -> None:
    def wrapped(real: Any) -> Any:
        async def advance(
            store: Mailboxes, mailbox: str, folder: str, cursor: Cursor, **more: int | None
        ) -> None:
            fatal = cursor.uid > 0  # that of a first start concerns no mail
            if fatal and when == "before":
                _die()
            await real(store, mailbox, folder, cursor, **more)
            if fatal:
                _die()

        return advance

    _wrap(Mailboxes, "advance", wrapped)


_POINTS: Final[dict[str, Callable[[str, _Commits], None]]] = {
    "commit": _at_commit,
    "250": _at_250,
    "post": _at_post,
    "record": _at_record,
    "claim": _at_claim,
    "give back": _at_give_back,
    "action": _at_action,
    "cursor": _at_cursor,
    # Changes that an operator or the daemon makes: at the commit that has this statement.
    "digest": _at_change("INSERT INTO digests"),
    "hold": _at_change("UPDATE endpoints", "held_reason"),
    "failing": _at_change("UPDATE endpoints", "failing_since"),
    "failover": _at_change("UPDATE endpoints SET failover_since"),
    "failback": _at_change("UPDATE endpoints SET failing_since", "failover_since"),
    "forward": _at_change("UPDATE deliveries SET due_at=CASE WHEN (deliveries.schedule_from"),
    "retry": _at_change("UPDATE deliveries"),
    "replay order": _at_change("INSERT INTO replays"),
    "replay step": _at_change("UPDATE replays"),
}
_OF_MAILS: Final = {"commit", "250", "post", "record", "claim", "give back", "action", "cursor"}
_OF_URLS: Final = {"failover", "failback"}
_PROBE: Final = 0.2  # seconds, not 10: the first look whether the other URL is back
_FORWARD: Final = 5  # deliveries, not 1000: brought forward in one transaction


def _live(point: str, lives: int, arguments: list[str], *, armed: bool) -> NoReturn:
    """Be one life of the daemon; never returns."""
    # A life must not outlive this launcher, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    when, _, where = point.partition(" ")
    if where in _OF_URLS:
        routes.FIRST_PROBE = _PROBE  # type: ignore[misc]
    recorder.LOOKED_AT_ONCE = _FORWARD  # type: ignore[misc]
    if armed:
        # A client that heard no 250 sends its mail once more: that one must get through.
        spare = 1 if lives and where in _OF_MAILS and point != "after 250" else 0
        _POINTS[where](when, _Commits(spare))
    sys.argv = ["smsbridge", *arguments]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _launch(point: str, kills: int, arguments: list[str]) -> int:
    lives = 0
    child = 0
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _live(point, lives, arguments, armed=lives < kills)
        _, end = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(end) and os.WTERMSIG(end) == signal.SIGKILL):
            return os.waitstatus_to_exitcode(end)
        lives += 1
        os.write(2, json.dumps({"event": "failpoint", "kills": lives}).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
