"""Every provider can say where it found what, and the places are true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import mail
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers import choose
from bridge.providers.base import Explains
from tests.providers.reading import PROVIDERS

FIXTURES = Path(__file__).parent / "fixtures"
READ = [
    path
    for path in sorted(FIXTURES.glob("*/*.eml"))
    if json.loads(path.with_suffix(".json").read_text("utf-8"))["outcome"] == "message"
]


@pytest.mark.parametrize("path", READ, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_marked_is_what_was_read(path: Path) -> None:
    """Of each fixture, sender, recipient and text are named, and stand where it says."""
    email = mail.decode(path.read_bytes())
    assert isinstance(email, Email)
    provider = choose(PROVIDERS, email)
    assert isinstance(provider, Explains)
    assert not isinstance(provider, Unreadable)
    told = provider.explain(email)
    message = provider.read_email(email)
    if isinstance(message, tuple):
        message = message[0]
    assert isinstance(message, SmsMessage)
    assert set(told.missing) <= {"date"}  # the mail's own then stands in
    found = {each.field: each for each in told.found}
    assert {"from", "to", "body"} <= found.keys()
    wanted = {"from": message.raw.sender, "to": message.raw.recipient, "body": message.body}
    for field, value in wanted.items():
        trace = found[field]
        assert trace.where
        if trace.start is not None:
            assert email.text[trace.start : trace.end] == value
