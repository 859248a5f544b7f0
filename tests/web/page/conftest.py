"""One daemon for all tests of the page that a worker runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.page.house import House, open_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a daemon with its page open."""
    with open_house(tmp_path_factory.mktemp("page")) as opened:
        yield opened
