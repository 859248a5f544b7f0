"""The config makes providers, and a mail finds exactly one of them."""

from __future__ import annotations

import pytest

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Email, Reason, SmsMessage, Unreadable
from tests.providers.declaring import SENDER, declared, mail_of
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


NUMBERS = """
from = { line = 1 }
to = { value = "+393331234333" }
body = { after_blank = true }
"""
SECRET = "recipient = '^sms-5d41402abc4b2a76b9719d91@'"
TO_SECRET = "To: sms-5d41402abc4b2a76b9719d91@example.com"
NOBODY = ("SMS Gateway", "<>", "undisclosed-senders:;", "")
TEXT = "+393301234567\n\nhi"


@pytest.mark.parametrize("from_", NOBODY)
@pytest.mark.parametrize(
    ("marks", "more"),
    [(SECRET, {}), ("headers = { X-SMS = '.' }", {}), ("", {"subject": "^SMS$"})],
)
def test_a_from_without_an_address_is_read_by_who_looks_at_other_marks(
    marks: str, more: dict[str, str], from_: str
):
    """A gateway that writes a name only, or nothing, is told by where or what it sends."""
    provider = declared(marks + NUMBERS, senders=None, **more)
    email = mail_of(TEXT, "SMS", sender=from_, headers=(TO_SECRET, "X-SMS: in"))
    assert providers.choose([provider], email) is provider
    sms = provider.read_email(email)
    assert isinstance(sms, SmsMessage)
    assert (sms.sender, sms.body) == ("+393301234567", "hi")


@pytest.mark.parametrize("from_", NOBODY)
@pytest.mark.parametrize(
    ("template", "senders"),
    [
        (SECRET, [SENDER]),
        (SECRET, ["@acme.example"]),
        ("headers = { From = '^' }", None),
        (f"{SECRET}\nignore = [{{ why = 'news', sender = 'news@acme.example' }}]", None),
        (f"{SECRET}\nignore = [{{ why = 'news', headers = {{ From = 'News' }} }}]", None),
    ],
)
def test_who_looks_at_the_from_needs_an_address_there(
    template: str, senders: list[str] | None, from_: str
):
    """What a provider tells its mails by must be there to be looked at."""
    provider = declared(template + NUMBERS, senders=senders)
    email = mail_of(TEXT, "SMS", sender=from_, headers=(TO_SECRET,))
    assert not provider.matches(email)
    chosen = providers.choose([provider], email)
    assert isinstance(chosen, Unreadable)
    assert (chosen.reason, chosen.provider) == (Reason.NO_SENDER, None)
    assert "names no address" in chosen.detail


@pytest.mark.parametrize("from_", ["a@x\nFrom: SMS", "a@x <b@x>", "=?utf-8?q?a=40x?=", "a@x,"])
def test_a_from_that_is_wrong_is_still_refused(from_: str):
    """No mark stands in for a From that programs could read differently."""
    provider = declared(SECRET + NUMBERS, senders=None)
    email = mail_of(TEXT, "SMS", sender=from_, headers=(TO_SECRET,))
    assert not provider.matches(email)
    chosen = providers.choose([provider], email)
    assert isinstance(chosen, Unreadable)
    assert chosen.reason is Reason.NO_SENDER


def test_a_mail_without_from_is_still_refused():
    """RFC 5322 wants one: without it, the headers may have been cut."""
    provider = declared("headers = { X-SMS = '.' }" + NUMBERS, senders=None)
    email = mail.decode(b"X-SMS: in\r\n\r\n+393301234567\r\n\r\nhi")
    assert isinstance(email, Email)
    assert not provider.matches(email)
    assert providers.choose([provider], email) == Unreadable(
        Reason.NO_SENDER, "there is no From header"
    )


def test_the_mails_own_address_is_found_nowhere_then():
    """A place that names it finds nothing, and the next one counts."""
    places = """
from = [{ address = "from" }, { line = 1 }]
to = { value = "+393331234333" }
body = { after_blank = true }
"""
    provider = declared(f"{SECRET}\n{places}", senders=None)
    nobody = provider.read_email(mail_of(TEXT, sender="SMS", headers=(TO_SECRET,)))
    somebody = provider.read_email(mail_of(TEXT, headers=(TO_SECRET,)))
    assert isinstance(nobody, SmsMessage)
    assert isinstance(somebody, SmsMessage)
    assert (nobody.raw.sender, somebody.raw.sender) == ("+393301234567", SENDER)


def test_a_plugin_is_not_asked_about_a_mail_without_an_address():
    """What was written when every mail had a sender must not meet one that has none."""

    class Plugin:
        name = "acme"

        def matches(self, email: Email) -> bool:
            assert email.sender is not None
            return True

        def read_email(self, email: Email) -> SmsMessage:
            raise AssertionError(email)

    chosen = providers.choose([Plugin()], mail_of(TEXT, sender="SMS"))
    assert isinstance(chosen, Unreadable)
    assert chosen.reason is Reason.NO_SENDER


def test_two_that_need_no_address_are_told_apart_like_others():
    """Both are named."""
    two = [declared(SECRET + NUMBERS, senders=None, name=name) for name in ("a", "b")]
    chosen = providers.choose(two, mail_of(TEXT, sender="SMS", headers=(TO_SECRET,)))
    assert isinstance(chosen, Unreadable)
    assert chosen.reason is Reason.NO_PROVIDER
    assert "a, b" in chosen.detail
