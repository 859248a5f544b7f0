"""Providers declare every header that they read, so that errors can name those not covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import mail
from bridge.model import Email
from bridge.providers import Provider
from bridge.providers.base import headers_read
from tests.providers.declaring import declared, mail_of
from tests.providers.reading import PROVIDERS
from tests.providers.test_fixtures import MAILS


class Recording(Mapping[str, tuple[str, ...]]):
    """A mail's headers, with a record of those that were looked up."""

    def __init__(self, headers: Mapping[str, tuple[str, ...]]) -> None:
        self.headers = headers
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> tuple[str, ...]:
        self.read.add(name)
        return self.headers[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a provider that reads all headers can't declare them")

    def __len__(self) -> int:
        return len(self.headers)


def looked_up(provider: Provider, email: Email) -> set[str]:
    headers = Recording(email.headers)
    seen = replace(email, headers=headers)
    provider.matches(seen)
    provider.read_email(seen)
    return headers.read


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda each: each.name)
def test_a_built_in_provider_declares_what_it_reads(provider: Provider) -> None:
    """Over all fixture mails, none of which may look up a header that isn't declared."""
    known = headers_read(provider)
    assert known is not None
    for path in MAILS:
        email = mail.decode(Path(path).read_bytes())
        if isinstance(email, Email):
            assert looked_up(provider, email) <= known, path


EVERYWHERE = """
recipient = '^sms@'
headers = { X-Mark = '.' }
from = { header = "X-From" }
to = [{ header = "X-To" }, { address = "to" }]
body = { all = true }
ignore = [{ why = "a report", headers = { X-Report = "." } }]
"""


def test_a_template_declares_each_header_that_it_names() -> None:
    """Marks, the mail's recipients, places and what is ignored: all are read, and declared."""
    provider = declared(EVERYWHERE)
    named = {"x-mark", "x-from", "x-to", "x-report", "to", "delivered-to"}
    email = mail_of("text", headers=("To: sms@acme.example", "X-Mark: 1"))
    assert looked_up(provider, email) <= (headers_read(provider) or set())
    assert named <= (headers_read(provider) or set())
    assert {"x-mark", "x-from", "x-to", "x-report", "to"} <= looked_up(provider, email)
