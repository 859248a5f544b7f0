"""What all tests share."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import logs

Line = dict[str, Any]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """Give our log lines as they would be written, from debug on."""
    written: list[Line] = []
    monkeypatch.setattr(logs._output, "level", 0)
    monkeypatch.setattr(logs._output, "write", written.append)
    return written
