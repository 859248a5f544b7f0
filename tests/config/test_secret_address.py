"""An address that is evidence must not be guessable; a short one is refused with the config."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bridge.config.secret_address import bits, random_address
from bridge.config.settings import TrustSettings


@pytest.mark.parametrize(
    ("local", "most"),
    [
        ("sms", 15),
        ("000000", 20),
        ("sms-7f3a", 16),
        ("sms-k3y9x2", 32),
        ("SMS-K3Y9X2", 32),
        ("sms-5e0c2b61a9d34f70", 64),
        ("agile-5e0c-2b61-a9d3-4f70", 64),
    ],
)
def test_a_recipient_that_can_be_guessed_is_refused(local: str, most: int) -> None:
    """Its random part has fewer than 80 bits; the sentence says what to do and doesn't tell it."""
    address = f"{local}@in.example.com"
    assert bits(address) <= most
    with pytest.raises(ValidationError, match="can be guessed") as caught:
        TrustSettings.model_validate({"recipients": [address]})
    (problem,) = caught.value.errors()
    assert local not in problem["msg"]
    assert "16 random letters and digits" in problem["msg"]


@pytest.mark.parametrize(
    "local",
    ["5e0c2b61a9d34f705e0c", "sms-k3y9x2k3y9x2k3y9", "123e4567-e89b-12d3-a456-426614174000"],
)
def test_a_random_recipient_is_fine(local: str) -> None:
    """Twenty hexadecimal digits, sixteen letters and digits, a UUID."""
    address = f"{local}@in.example.com"
    assert bits(address) >= 80
    assert TrustSettings.model_validate({"recipients": [address]}).recipients == (address,)


def test_one_that_is_made_is_fine_and_no_other_is_like_it() -> None:
    """What `smsbridge init` writes passes its own check, and is new each time."""
    made = {random_address("@in.example.com") for _ in range(100)}
    assert len(made) == 100
    assert all(bits(address) >= 80 for address in made)
    TrustSettings.model_validate({"recipients": sorted(made)})
