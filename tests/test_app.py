"""What is built from Settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bridge import app
from bridge.config.imap import ImapSettings


def test_a_mailbox_keeps_its_tokens_from_turn_to_turn() -> None:
    """A rotated refresh token is known to this object first: another one would use the old one."""
    settings = ImapSettings.model_validate(
        {
            "name": "inbox",
            "host": "imap.example.com",
            "username": "sms@example.com",
            "oauth": {"token_command": ["/bin/true"]},
        }
    )
    unused: Any = SimpleNamespace(accept=None, lead=print)
    source: Any = app._mailbox(settings, unused, unused)
    one, another = source._make(), source._make()
    assert one is not another
    assert one._tokens is another._tokens is not None
