"""docs/threats.md names a test for everything that it says is stopped."""

from __future__ import annotations

import re

import pytest

from bridge import trust
from tests.documents import PROJECT

PAGE = (PROJECT / "docs" / "threats.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| tries ")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_row_names_tests_that_are_there(row: list[str]) -> None:
    """Who tries what, what stops it, and files with tests."""
    tries, stops, proof = row
    assert tries
    assert stops
    paths = re.findall(r"`(tests/[\w/]+\.py)`", proof)
    assert paths
    assert re.sub(r"`[^`]*`", "", proof).strip(" ,") == "", "only paths prove anything"
    for path in paths:
        assert "def test_" in (PROJECT / path).read_text(encoding="utf-8"), path


def test_every_kind_of_evidence_is_there() -> None:
    """Each kind that can be forged has its place on the page; `anyone` needs none."""
    for name in trust.KINDS:
        assert name == "anyone" or f"`{name}" in PAGE, name
