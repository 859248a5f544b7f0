"""What all tests share."""

from __future__ import annotations

import signal
from typing import Any

import hypothesis
import pytest

from bridge import logs
from tests import dealing, quick
from tests.loops import LoopFactories, one_loop

Line = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the quick run be asked for."""
    quick.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Start no processes in the quick run; no example is judged by how long it took."""
    quick.configure(config)
    # A shell lets what it starts in the background ignore Ctrl-C, and so would our commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("unhurried", deadline=None)
    hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run more tests at a time than there are cores."""
    return dealing.processes()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the storms first."""
    dealing.deal(config, items)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """Run on one loop, where a folder does not ask for more."""
    return one_loop(item)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """Give our log lines as they would be written, from debug on."""
    written: list[Line] = []
    monkeypatch.setattr(logs._output, "level", 0)
    monkeypatch.setattr(logs._output, "write", written.append)
    return written
