"""Identities are lower-cased by ASCII's rules: Unicode's make two of them equal."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from bridge import letters, mail
from bridge.config.values import AddressOrDomain, Domain
from bridge.model import Email
from bridge.providers.base import Senders
from bridge.sources.smtp.syntax import Recipients
from bridge.trust.recipients import KIND as RECIPIENTS
from tests.origins import smtp
from tests.store.making import arrival

LOOKALIKES = ("\N{KELVIN SIGN}elvin", "\N{LATIN SMALL LETTER LONG S}ms")


@pytest.mark.parametrize(
    ("text", "lowered"),
    [
        ("A@B.Example", "a@b.example"),
        ("\N{KELVIN SIGN}", "\N{KELVIN SIGN}"),
        ("È", "È"),
        ("A\udcff", "a\udcff"),
    ],
)
def test_only_ascii_letters_change(text: str, lowered: str) -> None:
    """Bytes that aren't UTF-8 come as surrogates and stay."""
    assert letters.lower(text) == lowered


def test_a_domain_of_the_config_is_ascii() -> None:
    """A Kelvin sign is refused, not taken for a k."""
    assert TypeAdapter(Domain).validate_python("Kelvin.Example") == "kelvin.example"
    with pytest.raises(ValidationError):
        TypeAdapter(Domain).validate_python("\N{KELVIN SIGN}elvin.example")


@pytest.mark.parametrize("lookalike", LOOKALIKES)
async def test_no_lookalike_is_the_same_identity(lookalike: str) -> None:
    """Senders, allowed recipients and secret recipients differ where only Unicode's case agrees."""
    plain = lookalike.lower().casefold()
    assert plain.isascii()
    address, other = f"{plain}@sms.example", f"{lookalike}@sms.example"
    assert TypeAdapter(AddressOrDomain).validate_python(other) == other
    assert not Recipients((address,)).allow(other)
    assert not Recipients((other,)).allow(address)
    assert other not in Senders.of((address,))
    assert address not in Senders.of((other,))
    email = mail.decode(f"From: {other}\r\n\r\nx".encode())
    assert isinstance(email, Email)
    assert email.sender == other
    for secret, recipient, found in ((address, address, True), (address, other, False)):
        arrived = arrival(origin=smtp(recipients=(recipient,)))
        weighed = await RECIPIENTS.weigh(arrived, email, (secret,), None)
        assert hasattr(weighed, "by") is found
