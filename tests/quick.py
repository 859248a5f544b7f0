"""`pytest --quick`: all tests that start no process, for the hand that edits.

A test starts processes if it says so with the mark `processes`, or uses a fixture of
`tests/servers`. Whoever forgets the mark fails in the quick run, with a sentence that says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest

_STARTS: Final = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "subprocess.Popen",
}
_SENTENCE: Final = (
    "the quick run starts no process, and this test started one ({what}): mark it, its module "
    "(pytestmark) or its parameter with pytest.mark.processes"
)


def add_option(parser: pytest.Parser) -> None:
    """Add `--quick`."""
    parser.addoption("--quick", action="store_true", help="only tests that start no process")


def configure(config: pytest.Config) -> None:
    """Watch over the processes of a quick run."""
    if config.getoption("--quick"):
        config.pluginmanager.register(_Quick(), "quick")


class _Quick:
    """Leaves out what starts processes, and fails what starts one all the same."""

    def __init__(self) -> None:
        self._watching = False
        self._started: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._watching and event in _STARTS:
            self._started.append(f"{event} {arguments[0] if arguments else ''}".strip())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        slow = [item for item in items if _starts_processes(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watch()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watch()

    def _watch(self) -> Iterator[None]:
        self._started.clear()
        self._watching = True
        try:
            yield
        finally:
            self._watching = False
            if self._started:
                pytest.fail(_SENTENCE.format(what=self._started[0]), pytrace=False)


def _starts_processes(item: pytest.Item) -> bool:
    if item.get_closest_marker("processes"):
        return True
    known = getattr(item, "_fixtureinfo", None)
    fixtures = known.name2fixturedefs.values() if known else ()
    return any(each[-1].func.__module__.startswith("tests.servers.") for each in fixtures)
