"""Real shortages, in processes of their own, are told apart from bugs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bridge import metrics, shortage
from bridge.logs import logger
from bridge.sources.throttled_log import ThrottledLog
from tests.conftest import Line

_DESCRIPTORS = """
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
"""
_MEMORY = """
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
bytes(2 << 30)
"""
_THREADS = """
threading.stack_size(512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for _ in range(4):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
_SCRIPT = """
import os, resource, threading, time
from bridge import shortage
try:
    exec({code!r})
except BaseException as error:
    print(shortage.resource_of(error), flush=True)
os._exit(0)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "resource"),
    [(_DESCRIPTORS, "descriptors"), (_MEMORY, "memory"), (_THREADS, "threads")],
    ids=["descriptors", "memory", "threads"],
)
def test_what_has_run_out_is_known(code: str, resource: str) -> None:
    """What Python raises for each is recognised."""
    script = _SCRIPT.format(code=code)
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == resource, ran.stderr


@pytest.mark.parametrize("error", [KeyError("x"), OSError("no number"), RuntimeError("a bug")])
def test_what_is_no_shortage_stays_what_it_is(error: Exception) -> None:
    """A bug is not excused by it."""
    assert shortage.noted(error) is None


def test_a_shortage_is_counted_and_reported_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health says what to do while it goes on, and not for ever."""
    monkeypatch.setattr(shortage, "_last", {})
    counter = metrics.SHORTAGES.labels("memory")
    before = counter._value.get()
    assert shortage.problem() is None
    sentence = shortage.noted(MemoryError())
    assert sentence is not None
    assert "MemoryMax=" in sentence
    assert shortage.problem() == sentence
    assert counter._value.get() == before + 1
    monkeypatch.setattr(shortage, "_RECENT", -1.0)
    assert shortage.problem() is None


def test_a_shortage_is_no_bug_in_the_log(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what to raise, and has no stack."""
    monkeypatch.setattr(shortage, "_last", {})
    ThrottledLog(logger("smtp")).bug("smtp.bug", MemoryError(), peer="192.0.2.1")
    (line,) = lines
    assert (line["level"], line["event"]) == ("warning", "shortage")
    assert "out of memory" in str(line["detail"])
    assert "stack" not in line
