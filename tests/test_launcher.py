"""A process of the launcher is as one of its own Python, but for the imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.quick import _Quick
from tests.servers.launcher import Launcher, Started

pytestmark = pytest.mark.processes

# What a process sees of itself, but for what the launcher is about.
SEEN = """
import json, os, signal, sys
json.dump({
    "arguments": sys.argv[1:], "name": __name__, "environment": sorted(os.environ),
    "folder": os.getcwd(), "descriptors": sorted(os.listdir("/proc/self/fd")),
    "input": os.readlink("/proc/self/fd/0"), "output": os.readlink("/proc/self/fd/1"),
    "signals": [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
}, sys.stderr)
"""
WAITS = "import signal, sys\nsys.stderr.write('up')\nsys.stderr.flush()\nsignal.pause()\n"
TELLS_WHEN_DONE = "import atexit\natexit.register(print, 'done', file=__import__('sys').stderr)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the module that is run."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def launcher(folder: Path) -> Iterator[Launcher]:
    """Start a launcher that finds modules in our folder as well."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(folder))
        mine = Launcher("daemon")
    yield mine
    mine.close()


def begin(launcher: Launcher, folder: Path, code: str, *arguments: str) -> tuple[Started, int]:
    """Run code as a module; return its process, and where its errors can be read."""
    (folder / "told.py").write_text(code)
    err, written = os.pipe()
    try:
        return launcher.spawn(["-m", "told", *arguments], written), err
    finally:
        os.close(written)


def said(err: int) -> str:
    with open(err) as text:
        return text.read()


def test_it_is_as_a_python_of_its_own(
    launcher: Launcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, environment, descriptors, signals: nothing is the launcher's."""
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("SMSBRIDGE_NEW", "1")
    started, err = begin(launcher, folder, SEEN, "a", "--b")
    forked = json.loads(said(err))
    own = subprocess.run(
        [sys.executable, "-m", "told", "a", "--b"], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
        cwd=Path(__file__).parents[1], env=dict(os.environ),
    )  # fmt: skip
    assert started.wait(PATIENCE) == 0
    assert forked == json.loads(own.stderr)


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('no')", 1), ("1 / 0", 1)],
)
def test_it_ends_as_python_does(launcher: Launcher, folder: Path, code: str, status: int) -> None:
    """The code is what Python would give, and what was registered is done before."""
    started, err = begin(launcher, folder, TELLS_WHEN_DONE + code)
    assert said(err).endswith("done\n")
    assert started.wait(PATIENCE) == started.poll() == status


def test_what_it_writes_is_told(launcher: Launcher, folder: Path) -> None:
    """Output and errors are kept apart."""
    (folder / "told.py").write_text("import sys; print('è'); sys.exit('no')")
    done = launcher.run(["-m", "told"])
    assert (done.returncode, done.stdout, done.stderr) == (1, "è\n", "no\n")


def test_it_can_be_killed_at_any_time(launcher: Launcher, folder: Path) -> None:
    """SIGKILL ends it; and once it has ended, its pid gets no signal any more."""
    started, err = begin(launcher, folder, WAITS)
    assert os.read(err, 2) == b"up"
    assert started.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0)
    started.kill()
    assert started.wait(PATIENCE) == -signal.SIGKILL
    started.kill()
    os.close(err)


def test_the_quick_run_hears_of_it(launcher: Launcher, folder: Path) -> None:
    """A start is one for `--quick` too, although another process forks."""
    watching = _Quick()._watch()
    next(watching)
    started, err = begin(launcher, folder, "")
    said(err)
    started.wait(PATIENCE)
    with pytest.raises(pytest.fail.Exception, match="Popen"):
        next(watching)


def test_nothing_is_left_when_the_tests_are_gone(launcher: Launcher, folder: Path) -> None:
    """A launcher whose tests have ended ends what it started; this test is the last one here."""
    started, err = begin(launcher, folder, WAITS)
    assert os.read(err, 2) == b"up"
    launcher.close()
    assert os.read(err, 1) == b""  # nobody has its end of the pipe any more
    os.close(err)
    assert not Path(f"/proc/{started.pid}/exe").exists()
