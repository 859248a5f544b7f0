"""An arrival is believed for its evidence, never for what it says about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Origin, Reason, Trust, Unreadable
from tests.origins import IMAP, smtp

SECRET = "sms-k3y9x2w8m4p7t1z6q5@in.example.com"
OTHER = "x-0123456789abcdef0123@in.example.com"
RAW = (
    b"From: smsin@agiletelecom.com\r\n"
    b"To: sms-k3y9x2w8m4p7t1z6q5@in.example.com\r\n"
    b"Delivered-To: sms-k3y9x2w8m4p7t1z6q5@in.example.com\r\n"
    b"Received: from mx.agiletelecom.com ([192.0.2.7]) by us\r\n\r\ntext"
)


def arrival(origin: Origin | None = None, **envelope: Any) -> Arrival:
    return Arrival(origin or smtp(**envelope), "a source", RAW, datetime(2026, 4, 8, tzinfo=UTC))


async def weigh(came: Arrival, **policy: Any) -> Trust | Unreadable:
    email = mail.decode(came.raw)
    assert isinstance(email, Email)
    return await trust.weigh(came, email, TrustSettings.model_validate(policy))


@pytest.mark.parametrize(
    ("peer", "networks", "by"),
    [
        ("192.0.2.7", ["192.0.2.0/24"], "192.0.2.0/24"),
        ("192.0.2.7", ["198.51.100.0/24", "192.0.2.7/32"], "192.0.2.7/32"),
        ("::ffff:192.0.2.7", ["192.0.2.0/24"], "192.0.2.0/24"),
        ("::ffff:127.0.0.1", ["127.0.0.0/8"], "127.0.0.0/8"),
        ("::ffff:192.0.2.7", ["::ffff:0:0/96"], "::ffff:0:0/96"),
        ("2001:db8::1", ["2001:db8::/32"], "2001:db8::/32"),
        ("fe80::1%eth0", ["fe80::/10"], "fe80::/10"),
    ],
)
async def test_a_peer_in_a_network_is_evidence(peer: str, networks: list[str], by: str):
    """The wire's own peer is compared, IPv4 in IPv6's clothes too."""
    assert await weigh(arrival(peer=peer), networks=networks) == Trust("networks", by)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"peer": "198.51.100.1"}, "the peer 198.51.100.1 is in none"),
        ({"peer": "::ffff:198.51.100.1"}, "the peer 198.51.100.1 is in none"),
        ({"peer": "::192.0.2.7"}, "in none"),
        ({"peer": None}, "no address"),
        ({"peer": "mx.agiletelecom.com"}, "not an IP address"),
        ({"origin": IMAP}, "fetched from a mailbox"),
    ],
)
async def test_any_other_peer_is_not(more: dict[str, Any], says: str):
    """No Received header, no name and no mailbox server stands in for the peer."""
    result = await weigh(arrival(**more), networks=["192.0.2.0/24"])
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNTRUSTED
    assert says in result.detail


@pytest.mark.parametrize(
    "recipients",
    [
        (SECRET,),
        ("SMS-K3Y9X2W8M4P7T1Z6Q5@In.Example.Com",),
        ("other@in.example.com", SECRET),
        (SECRET, "other@in.example.com"),
        ("\udce8@x", SECRET),
    ],
)
async def test_a_secret_recipient_of_the_envelope_is_evidence(recipients: tuple[str, ...]):
    """One of the envelope's recipients is the secret one, in any case of letters."""
    result = await weigh(arrival(recipients=recipients), recipients=[OTHER, SECRET])
    assert isinstance(result, Trust)
    assert result.by == "recipients"
    assert "k3y9x2" not in result.detail


@pytest.mark.parametrize(
    "recipients", [(), ("sms@in.example.com",), (SECRET + "x",), ("x" + SECRET,), ("",)]
)
async def test_a_secret_recipient_in_a_header_is_not(recipients: tuple[str, ...]):
    """A header that names the secret address proves nothing, and no sentence repeats it."""
    result = await weigh(arrival(recipients=recipients), recipients=[SECRET])
    assert isinstance(result, Unreadable)
    assert "recipient" in result.detail
    assert "k3y9x2" not in result.detail


async def test_any_one_kind_is_enough():
    """Where one kind is missing, another one that is there suffices."""
    result = await weigh(
        arrival(peer="198.51.100.1", recipients=(SECRET,)),
        networks=["192.0.2.0/24"],
        recipients=[SECRET],
    )
    assert isinstance(result, Trust)
    assert result.by == "recipients"


async def test_all_that_was_looked_for_is_named():
    """The sentence tells the operator each kind that was asked for and not found."""
    result = await weigh(
        arrival(peer="198.51.100.1", recipients=("a@b",)),
        networks=["192.0.2.0/24"],
        recipients=[SECRET],
    )
    assert isinstance(result, Unreadable)
    assert result.detail.startswith("networks: ")
    assert "; recipients: " in result.detail


async def test_anyone_is_believed_only_when_said_out_loud():
    """`anyone = true` believes everybody; nothing else does."""
    assert await weigh(arrival(), anyone=True) == Trust("anyone", "the config believes everybody")
    assert isinstance(await weigh(arrival(), anyone=False, recipients=[SECRET]), Unreadable)


def test_every_setting_is_a_kind_of_evidence():
    """No evidence can be configured that nobody looks for."""
    assert set(TrustSettings.model_fields) == set(trust.KINDS)
