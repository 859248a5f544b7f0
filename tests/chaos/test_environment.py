"""The store's ground gives way: locked, full, read-only. Mail waits outside, none is lost."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.ledger import wait_until_delivered
from tests.chaos.mails import SmsMail, sms_mail, sms_mails
from tests.patience import PATIENCE
from tests.servers.absence import cannot
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.postfix import Postfix
from tests.servers.receiver import Exchange, Receiver, taken

_MAILS: Final = 10  # that Postfix brings while the store is out
_FILE_SIZE: Final = 16  # MiB of the small disk


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Hold the one write lock of an SQLite file, as another process would."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=PATIENCE)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Fill a disk to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            for size in (1024 * 1024, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
            yield
        finally:
            ballast.unlink()


@contextmanager
def _mode_read_only(database: Path) -> Iterator[None]:
    """Take the write bits from a database: for root too, the daemon heeds them."""
    database.chmod(0o400)
    try:
        yield
    finally:
        database.chmod(0o600)


@contextmanager
def _immutable(database: Path) -> Iterator[None]:
    """Make a database and its log immutable: modes don't bind root, and this binds open files too.

    Not `-shm`: that is memory which happens to be a file, and writing to it would be SIGBUS.
    """
    log = database.with_name(f"{database.name}-wal")
    files = [each for each in (database, log) if each.exists()]
    try:
        _chattr("+i", *files)
        yield
    finally:
        _chattr("-i", *files)


def _chattr(change: str, *files: Path) -> None:
    done = subprocess.run(["chattr", change, *files], capture_output=True, check=False)
    if done.returncode != 0:
        cannot("files cannot be made immutable here (chattr, root, ext4)")


def _need_immutable_files(folder: Path) -> None:
    """Skip where an immutable file can be written by who has it open (tmpfs)."""
    if shutil.which("chattr") is None:
        cannot("chattr is missing (Debian package e2fsprogs)")
    probe = folder / "probe"
    with probe.open("wb", buffering=0) as file:
        try:
            with _immutable(probe):
                file.write(b"x")
        except OSError:
            return
    cannot("an immutable file can be written here")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of its own of a few MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_FILE_SIZE}m", "tmpfs"]
    if subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode:
        cannot("a tmpfs cannot be mounted here (root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


class _Trial:
    """A daemon between Postfix and a receiver, whose store is taken away for a while."""

    def __init__(self, daemon: Daemon, postfix: Postfix, receiver: Receiver) -> None:
        self.daemon = daemon
        self.postfix = postfix
        self.receiver = receiver
        self._sent: list[str] = []

    def relay(self, *mails: SmsMail) -> None:
        """Let Postfix bring mails; they must arrive in the end."""
        self.postfix.inject(mail.envelope for mail in mails)
        self._sent += [mail.text for mail in mails]

    def begin(self) -> None:
        """See that all is well before."""
        self.daemon.start()
        self.relay(*sms_mails("before", 2))
        assert self.receiver.wait_for_ids(2)
        self.daemon.wait_for_health(200)

    def endure(self, codes: set[int], padding: int = 0, seconds: float = 0.0) -> None:
        """See mail refused for now, by us and by Postfix, and health red."""
        until = time.monotonic() + seconds
        mine = sms_mail(f"direct {'.' * padding}")
        code, said = self._refused(mine)
        assert code in codes, said
        self.relay(*sms_mails("meanwhile", _MAILS, padding))
        self.daemon.wait_for_health(503)
        assert self.daemon.health("/readyz") == 200  # it defers mail well, so it stays ready
        self._wait_for_deferral(codes)
        time.sleep(max(0.0, until - time.monotonic()))
        code, said = self.daemon.send(*mine.envelope)
        assert code in codes, said

    def end(self) -> None:
        """See everything arrive after, once, and the ledger add up."""
        self.daemon.wait_for_health(200)
        code, said = self.daemon.send(*sms_mail("after").envelope)
        assert code == 250, said
        self._sent.append("after")
        assert self.receiver.wait_for_ids(len(self._sent)), self.receiver.count()
        wait_until_delivered(self.daemon.config.parent / "bridge.db", len(self._sent))
        assert self.postfix.count("status=bounced") == 0
        self.receiver.assert_honest()
        assert sorted(each.text for each in self.receiver.all()) == sorted(self._sent)
        assert self.daemon.stop() == 0
        self.daemon.assert_ledger_adds_up()

    def _refused(self, mail: SmsMail) -> tuple[int, bytes]:
        """Send until the store cannot take it: a disk that is full may have a last free page."""
        for number in range(500):
            copy = sms_mail(mail.text + str(number))
            code, said = self.daemon.send(*copy.envelope)
            if code != 250:
                return code, said
            self._sent.append(copy.text)
        raise AssertionError("500 mails were taken by a store that cannot write")

    def _wait_for_deferral(self, codes: set[int]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(self.postfix.count(f"said: {code}") for code in codes):
            assert time.monotonic() < deadline, self.postfix.lines()[-5:]
            time.sleep(0.1)


@contextmanager
def _trial(folder: Path, receiver: Receiver, secret: str, **store: str) -> Iterator[_Trial]:
    config = Config(
        {"crm": receiver.url},
        secret,
        store=f"sqlite:///{folder}/bridge.db",
        smtp_port=steady_port(),
        busy_timeout="1s",
        min_free=store.get("min_free", '"1MiB"'),
    )
    with Postfix(config.smtp_port) as postfix, Daemon(config.write(folder)) as daemon:
        trial = _Trial(daemon, postfix, receiver)
        trial.begin()
        yield trial


def test_a_store_that_is_locked_for_ten_seconds(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """While another process holds the lock, mail is deferred; a try made meanwhile is recorded."""
    release = threading.Event()

    async def wait(exchange: Exchange) -> None:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)
        await taken(exchange)

    with _trial(tmp_path, receiver, secret) as trial:
        receiver.answer = wait
        trial.relay(sms_mail("under way"))
        assert receiver.wait_for_ids(3)
        with _locked(tmp_path / "bridge.db"):
            release.set()
            receiver.answer = taken
            trial.endure({451}, seconds=10)
        trial.end()


@pytest.mark.parametrize("min_free", ['"1MiB"', "0"])
def test_a_disk_that_is_full(
    min_free: str, small_disk: Path, secret: str, receiver: Receiver
) -> None:
    """A full disk defers mail, at the low-water mark as well as at the last byte."""
    with _trial(small_disk, receiver, secret, min_free=min_free) as trial:
        with _full(small_disk):
            trial.endure({451, 452}, padding=30_000)
        trial.end()


@pytest.mark.parametrize("read_only", [_mode_read_only, _immutable])
def test_a_database_that_is_read_only(
    read_only: Callable[[Path], AbstractContextManager[None]],
    tmp_path: Path,
    secret: str,
    receiver: Receiver,
) -> None:
    """A database that cannot be written defers mail until it can be again."""
    if read_only is _immutable:
        _need_immutable_files(tmp_path)
    with _trial(tmp_path, receiver, secret) as trial:
        with read_only(tmp_path / "bridge.db"):
            trial.endure({451, 452})
        trial.end()
