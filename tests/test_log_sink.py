"""A reader that stalls holds nobody up; what it misses is counted and said."""

from __future__ import annotations

import gc
import io
import os
import pty
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO

import pytest

from bridge import log_sink
from bridge.log_sink import LogSink
from tests.patience import PATIENCE

Ends = tuple[TextIO, Callable[[], bytes]]  # where lines go, and what reads some of them


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    return writing, reading


def _socket() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _terminal() -> tuple[int, int]:
    master, slave = pty.openpty()
    return slave, master


@pytest.fixture(params=[_pipe, _socket, _terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Give a stream, and a function that reads what is there."""
    writing, reading = request.param()
    os.set_blocking(reading, False)

    def read() -> bytes:
        try:
            return os.read(reading, 1 << 20).replace(b"\r\n", b"\n")
        except BlockingIOError:
            return b""

    with os.fdopen(writing, "w") as stream:
        yield stream, read
    os.close(reading)


def _dropped(count: int) -> str:
    return f"dropped {count}"


def _all_of(sink: LogSink, read: Callable[[], bytes]) -> list[str]:
    found = b""
    while piece := read():
        found += piece
        sink.flush()
    return found.decode().splitlines()


def test_lines_are_there_at_once_and_in_order(ends: Ends) -> None:
    """With somebody who reads, nothing waits: a process that is killed has said all it wrote."""
    stream, read = ends
    sink = LogSink.of(stream, _dropped)
    assert sink is not None
    for number in range(10):
        sink.write(f"line {number}")
        got = b""
        patience = time.monotonic() + PATIENCE
        while not got.endswith(b"\n") and time.monotonic() < patience:
            got += read()  # the kernel may hand a terminal's line over in pieces
        assert got == f"line {number}\n".encode()
    assert sink.waiting == 0
    assert sink.count_dropped() == 0


def test_a_reader_that_stalls_holds_nobody_up(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait in order; those beyond the bound are dropped, counted, and said in their place."""
    monkeypatch.setattr(log_sink, "MOST_WAITING", 300_000)
    stream, read = ends
    sink = LogSink.of(stream, _dropped)
    assert sink is not None
    lines = [f"{number:06d} {'x' * 93}" for number in range(20_000)]  # 2 MB
    for line in lines:
        sink.write(line)
    assert 0 < sink.waiting <= 300_000
    got = _all_of(sink, read)
    lost = len(lines) - len(got) + 1
    assert got == [*lines[:-lost], f"dropped {lost}"]
    assert sink.count_dropped() == lost
    assert sink.count_dropped() == 0
    sink.write("after")
    assert read() == b"after\n"


def test_what_is_dropped_again_is_said_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gap has its own line, where it is."""
    monkeypatch.setattr(log_sink, "MOST_WAITING", 100_000)
    stream, read = ends
    sink = LogSink.of(stream, _dropped)
    assert sink is not None
    written, got = 0, []
    for _ in range(3):
        for _ in range(10_000):
            sink.write(f"{written:06d} {'x' * 93}")
            written += 1
        got += _all_of(sink, read)
    place = 0
    gaps = 0
    for line in got:
        if line.startswith("dropped "):
            place += int(line.removeprefix("dropped "))
            gaps += 1
        else:
            assert int(line[:6]) == place
            place += 1
    assert place == written
    assert gaps == 3


def test_a_line_from_within_a_write_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collected garbage may log while a line is written: its own is there before `write` ends."""
    writing, reading = _pipe()
    write = os.write
    with os.fdopen(writing, "w") as stream:
        sink = LogSink.of(stream, _dropped)
        assert sink is not None
        inner = ["inner"]

        def logging(descriptor: int, data: bytes) -> int:
            if inner:
                sink.write(inner.pop())
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", logging)
        sink.write("outer")
        monkeypatch.undo()
        assert os.read(reading, 100) == b"outer\ninner\n"
        os.close(reading)


def test_a_reader_that_is_gone_costs_lines_alone() -> None:
    """A broken pipe does not end the daemon, and nothing piles up."""
    writing, reading = _pipe()
    with os.fdopen(writing, "w") as stream:
        sink = LogSink.of(stream, _dropped)
        assert sink is not None
        os.close(reading)
        for _ in range(3):
            sink.write("x" * 100_000)
        assert sink.waiting == 0


def test_last_words_are_waited_for_a_while() -> None:
    """At the end, a reader that is a little late still gets all."""
    ours, theirs = socket.socketpair()
    with closing(theirs), os.fdopen(ours.detach(), "w") as stream:
        sink = LogSink.of(stream, _dropped)
        assert sink is not None
        sink.write("x" * 1_000_000)
        assert sink.waiting
        sink.flush(0.01)  # nobody reads: it gives up
        assert sink.waiting


def test_what_nobody_has_to_read_needs_none(tmp_path: Path) -> None:
    """Files and memory take lines as they come."""
    assert LogSink.of(io.StringIO(), _dropped) is None
    for path in (tmp_path / "log", Path(os.devnull)):
        with path.open("w") as file:
            assert LogSink.of(file, _dropped) is None


def test_what_logs_while_a_line_is_written_waits_for_that_line(ends: Ends) -> None:
    """Collected garbage logs in the middle of a line: that neither waits for itself nor cuts it."""
    stream, read = ends
    sink = LogSink.of(stream, _dropped)
    assert sink is not None

    class Logging:
        def __init__(self) -> None:
            self.me = self  # only a collection finds it

        def __del__(self) -> None:
            sink.write("collected")

    before = gc.get_threshold()
    gc.set_threshold(7)
    lines = []
    try:
        for number in range(500):
            Logging()
            sink.write(f"line {number}")
            lines += _all_of(sink, read)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    lines += _all_of(sink, read)
    assert [each for each in lines if each != "collected"] == [f"line {n}" for n in range(500)]
    assert lines.count("collected") == 500


def test_the_last_lines_are_waited_for_no_longer_than_is_said() -> None:
    """A reader that takes one piece at a time does not begin the wait anew with each."""
    writing, reading = _pipe()
    stop = threading.Event()

    def slowly() -> None:
        while not stop.wait(0.05):
            os.read(reading, select.PIPE_BUF)

    with os.fdopen(writing, "w") as stream:
        sink = LogSink.of(stream, _dropped)
        assert sink is not None
        for _ in range(900):
            sink.write("x" * 1000)
        reader = threading.Thread(target=slowly)
        reader.start()
        sink.flush(0.1)
        stop.set()
        assert sink.waiting > 0
        reader.join()
    os.close(reading)
