"""The config makes providers, and a mail finds exactly one of them."""

from __future__ import annotations

import pytest

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Email, Reason, Unreadable
from tests.providers.reading import ANYONE, SETTINGS


def made(name: str, **more: object) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": name, "trust": ANYONE, **more})


def mail_from(sender: str) -> Email:
    email = mail.decode(f"From: {sender}\r\n\r\n".encode())
    assert isinstance(email, Email)
    return email


@pytest.mark.parametrize(
    ("settings", "key", "says"),
    [
        (made("agile"), "providers.1.time_zone", "Europe/Rome"),
        (made("url_networks"), "providers.1.senders", "published nowhere"),
        (made("agille"), "providers.1.name", "did you mean 'agile'"),
        (made("x", preset="zzz"), "providers.1.preset", "known are agile, "),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_its_key(
    settings: ProviderSettings, key: str, says: str
):
    """The error names the dotted path and says what to write instead."""
    with pytest.raises(ConfigError) as caught:
        providers.build([SETTINGS[0], settings])
    assert caught.value.key == key
    assert says in caught.value.problem


def test_a_provider_has_the_configs_name():
    """A preset used under another name is known by that name."""
    (provider,) = providers.build([made("rome", preset="agile", time_zone="Europe/Rome")])
    assert provider.name == "rome"
    assert providers.choose([provider], mail_from("SMSIN@agiletelecom.com")) is provider


@pytest.mark.parametrize(
    ("sender", "matches"),
    [("a@b.example", True), ("A@B.Example", True), ("a@c.b.example", False), ("x@y", False)],
)
def test_a_domain_stands_for_its_addresses(sender: str, matches: bool):
    """`@b.example` is every address of that domain and of no other."""
    (provider,) = providers.build([made("url_networks", senders=["@b.EXAMPLE"])])
    assert provider.matches(mail_from(sender)) is matches


def test_a_sender_that_nobody_has_is_no_provider():
    """The sentence names the domain only: the rest of an address may be a number."""
    chosen = providers.choose(providers.build(SETTINGS), mail_from("393301234567@gw.example"))
    assert isinstance(chosen, Unreadable)
    assert chosen.reason is Reason.NO_PROVIDER
    assert "gw.example" in chosen.detail
    assert "3933" not in chosen.detail


def test_a_sender_that_two_have_is_no_provider():
    """Nobody can say which of two providers is meant, so both are named."""
    two = providers.build([
        made("agile", time_zone="Europe/Rome"),
        made("rome", preset="agile", time_zone="Europe/Rome"),
    ])  # fmt: skip
    chosen = providers.choose(two, mail_from("smsin@agiletelecom.com"))
    assert isinstance(chosen, Unreadable)
    assert chosen.reason is Reason.NO_PROVIDER
    assert "agile, rome" in chosen.detail


def test_a_mail_without_a_sender_says_why():
    """The defect of the From header becomes the quarantine's sentence."""
    chosen = providers.choose((), mail_from("a@x <b@x>"))
    assert chosen == Unreadable(
        Reason.NO_SENDER,
        "the From header is not one plain mailbox (an address, or a name <address>)",
    )
