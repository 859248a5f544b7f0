"""Every fixture mail becomes exactly what the JSON beside it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import mail
from bridge.model import Email
from tests.providers.reading import PROVIDERS, outcome

FOLDER = Path(__file__).parent / "fixtures"
MAILS = sorted(FOLDER.rglob("*.eml"))
READABLE = [path for path in MAILS if path.parent.name != "refused"]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", MAILS, ids=name)
def test_a_fixture_becomes_what_its_json_says(path: Path):
    """The mail is read, or quarantined with its sentence, as written beside it."""
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert outcome(path.read_bytes()) == expected


@pytest.mark.parametrize("path", READABLE, ids=name)
def test_a_fixture_matches_its_own_provider_only(path: Path):
    """No mail is claimed by two providers, and each by the one whose folder it is in."""
    email = mail.decode(path.read_bytes())
    assert isinstance(email, Email)
    assert [each.name for each in PROVIDERS if each.matches(email)] == [path.parent.name]


def test_no_refusal_tells_a_number_or_a_text():
    """The sentence for the operator names labels and limits, never what stands at them."""
    for path in (FOLDER / "refused").glob("*.json"):
        detail = json.loads(path.read_text(encoding="utf-8"))["detail"]
        assert not any(word in detail for word in ("+39", "+61", "333", "ciao", "20260")), detail


def test_the_folders_hold_enough():
    """Every JSON has its mail, and no fixture was lost on the way into the repository."""
    assert [path.with_suffix(".json") for path in MAILS] == sorted(FOLDER.rglob("*.json"))
    counts = {
        folder.name: len(list(folder.glob("*.eml")))
        for folder in FOLDER.iterdir()
        if folder.is_dir()
    }
    assert counts["agile"] >= 60
    assert counts["url_networks"] >= 20
    assert counts["refused"] >= 25
