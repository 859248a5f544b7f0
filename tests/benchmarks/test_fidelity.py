"""The comparison with other parsers judges as it says, and reads what they read."""

from __future__ import annotations

import pytest

from benchmarks import fidelity
from bridge.operations.mail_files import find_files


@pytest.mark.parametrize(
    ("ours", "first", "second", "mended", "verdict"),
    [
        ("a b", "a b", "a b", False, "agree"),
        ("a", "b", "b", False, "differ"),
        (None, "b", "b", False, "differ"),
        ("a", "b", "b", True, "mended"),
        ("a", "a", "b", False, "with one"),
        ("a", None, "a", False, "with one"),
        ("a", "b", "c", False, "alone"),
        ("a", None, None, False, "alone"),  # both lost characters: nobody agrees with anybody
    ],
)
def test_each_way_to_compare(
    ours: str | None, first: str | None, second: str | None, mended: bool, verdict: str
) -> None:
    """Only what both others read alike, and lost nothing of, can prove us wrong."""
    assert fidelity.judge(ours, first, second, words=False, mended=mended) == verdict


def test_what_counts() -> None:
    """A text's line ends and the blanks at its end don't; of pages only the words do."""
    assert fidelity.told("a\r\n b", "x\r\n y \r\n\r\n", "<p>z") == fidelity.Seen("a b", "x\n y")
    page = "<title>t</title><p>5 &euro;<br>http://x/?a=1&times=2<style>p{}</style>"
    assert fidelity.words_of(page).split() == ["5", "€", "http://x/?a=1&times=2"]
    assert fidelity.told("", "lost \ufffd", None).text is None


def test_the_standard_library_reads_our_fixtures_as_we_do() -> None:
    """Nearly all of them: it doesn't unfold flowed text, nor mend anything."""
    mails = [path.read_bytes() for path in find_files([fidelity.FIXTURES])]
    same = 0
    for raw in mails:
        mine, kind, _ = fidelity.ours(raw)
        stdlib = fidelity.standard_library(raw)
        same += fidelity.same(mine.text, stdlib.text, words=kind.startswith("HTML"))
    assert len(mails) > 450
    assert same > 0.97 * len(mails)
