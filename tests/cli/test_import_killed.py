"""An import that is killed in the middle is run again, and shows on a terminal how far it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.store import Database
from tests.cli.conftest import Filled, Ran, mail
from tests.patience import PATIENCE

pytestmark = pytest.mark.processes


Smsbridge = Callable[..., Ran]
SEPARATOR = b"From smsin@agiletelecom.com Wed Apr  8 12:30:52 2026\n"
COUNT = 2000
SOME = 300  # stored when it is killed


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "bridge", "import", *map(str, words)]


def write_mbox(path: Path, count: int) -> list[bytes]:
    mails = [
        SEPARATOR + mail(f"k{n}", f"text {n}").replace(b"\r\n", b"\n") + b"\n" for n in range(count)
    ]
    path.write_bytes(b"".join(mails))
    return mails


def ledger(config: Path) -> dict[str, str]:
    """Give the messages that are committed: id → text."""
    path = config.parent / "bridge.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as database:
        rows = database.execute("SELECT id, body FROM events").fetchall()
    return {event: json.loads(body)["data"]["body"] for event, body in rows}


def count(config: Path) -> int:
    """Say how many messages are committed."""
    path = config.parent / "bridge.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as database:
        return int(database.execute("SELECT count(*) FROM messages").fetchone()[0])


def feed(fifo: Path, mails: list[bytes], killed: threading.Event) -> None:
    """Write an mbox into a pipe; its last quarter comes only once the reader is dead."""
    with contextlib.suppress(BrokenPipeError), fifo.open("wb", buffering=0) as stream:
        for number, each in enumerate(mails):
            if number == COUNT * 3 // 4:
                killed.wait(PATIENCE)
            stream.write(each)


def test_an_import_that_is_killed_in_the_middle_goes_on(
    smsbridge: Smsbridge, config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """SIGKILL, and the same command again: each message is there once, under the id it has."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy2(config, other / config.name)
    for each in (config, other / config.name):
        Database.open(load(each).store, migrate=True).close()
    whole, fifo = tmp_path / "whole.mbox", tmp_path / "box.mbox"
    mails = write_mbox(whole, COUNT)

    # Through a pipe, so that it cannot be done before it is killed, however fast it is.
    os.mkfifo(fifo)
    killed = threading.Event()
    writer = threading.Thread(target=feed, args=(fifo, mails, killed), daemon=True)
    writer.start()
    with subprocess.Popen(
        command(fifo, "-c", config), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=environment, cwd=config.parent,
    ) as running:  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE
            while (stored := count(config)) < SOME:
                assert running.poll() is None, running.stderr and running.stderr.read()
                assert time.monotonic() < deadline, f"{stored} after {PATIENCE} s"
                time.sleep(0.005)
        finally:
            running.kill()
            killed.set()
    writer.join(PATIENCE)
    before = ledger(config)
    assert SOME <= len(before) < COUNT
    assert smsbridge("audit", "-c", config).code == 0

    fifo.unlink()
    whole.rename(fifo)
    ran = smsbridge("import", fifo, "-c", config, "--json")
    assert ran.code == 0
    assert ran.document["duplicate"] == len(before)
    assert ran.document["message"] == COUNT - len(before)
    after = ledger(config)
    assert before.items() <= after.items()
    assert sorted(after.values()) == sorted(f"text {n}" for n in range(COUNT))
    assert smsbridge("audit", "-c", config).code == 0

    assert smsbridge("import", fifo, "-c", other / config.name).code == 0
    assert ledger(other / config.name) == after


def on_a_terminal(words: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str]:
    """Run a command whose standard error is a terminal; give its exit code and what it drew."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        running = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=theirs, env=environment, cwd=folder
        )
    finally:
        os.close(theirs)
    drawn = b""
    with running, os.fdopen(ours, "rb", buffering=0) as terminal:
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while some := terminal.read(4096):
                drawn += some
        running.communicate(timeout=PATIENCE)
    return running.returncode, drawn.decode()


def test_how_far_it_is_is_drawn_on_a_terminal_alone(
    filled: Filled, environment: dict[str, str], tmp_path: Path
) -> None:
    """A bar grows up to 100 % where somebody looks; in a pipe there is not a trace of it."""
    box = tmp_path / "box.mbox"
    write_mbox(box, 50)
    words = command(box, "-c", filled.config)
    code, drawn = on_a_terminal(words, environment, tmp_path)
    assert code == 0, drawn
    assert "importing" in drawn
    assert "\r" in drawn
    assert "100%" in drawn
    piped = subprocess.run(
        words, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert piped.returncode == 0
    assert piped.stderr == "note: mails that were received before are not delivered again\n"
    assert "importing" not in piped.stdout
