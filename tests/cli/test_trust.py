"""`smsbridge trust show` says who could get an SMS in, in the words of the kinds of evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import Settings
from bridge.operations.trust import who_gets_in
from tests.cli.conftest import Ran
from tests.trust.test_kinds import KINDS, WithHosts

Smsbridge = Callable[..., Ran]

SECRET = "sms-7f3a9c0d5e8b42d1c6e9@example.com"
CONFIG = f"""
[smtp]
listen = ["127.0.0.1:2525", ":2526", "systemd:smtp"]
[[imap]]
name = "inbox"
host = "imap.example.com"
username = "sms@example.com"
password = "hunter2"
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
senders = ["@agiletelecom.com"]
[providers.trust]
dkim = ["agiletelecom.com"]
recipients = ["{SECRET}"]
networks = ["192.0.2.7/32"]
[providers.trust.authserv_id]
id = "mx.example.com"
spf = ["agiletelecom.com"]
[[providers]]
name = "didww"
trust = {{ anyone = true }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


def show(smsbridge: Smsbridge, config: Path, *name: str) -> Any:
    ran = smsbridge("trust", "show", *name, "-c", config, "--json")
    assert ran.code == 0, ran.err
    return ran.document


def test_each_way_in_says_who_can_use_it(smsbridge: Smsbridge, config: Path) -> None:
    """Loopback, the network, systemd's sockets and mailboxes are told apart."""
    ways = show(smsbridge, config)["ways_in"]
    assert [(each["source"], each["place"], each["who"].partition(",")[0]) for each in ways] == [
        ("smtp", "127.0.0.1:2525", "every program and every user on this machine"),
        ("smtp", ":2526", "whoever reaches this machine over the network"),
        ("smtp", "systemd:smtp", "whoever reaches the address in its .socket unit"),
        ("imap", "inbox", "whoever can send to the mailbox"),
    ]
    assert not any(each["guards"] for each in ways)
    config.write_text(config.read_text().replace("[smtp]", "[smtp]\nrecipients = ['@b.example']"))
    assert show(smsbridge, config)["ways_in"][0]["guards"] == [
        "[smtp] recipients refuses mail for any other address"
    ]


def test_each_kind_says_who_can_pass_it(smsbridge: Smsbridge, config: Path) -> None:
    """In the kind's words, with what stands in the way and the sources that can carry it."""
    agile, didww = show(smsbridge, config)["providers"]
    found = {each["kind"]: each for each in agile["evidence"]}
    assert list(found) == ["networks", "recipients", "authserv_id", "dkim"]
    assert "whoever agiletelecom.com signs mail for" in found["dkim"]["who"]
    assert "whoever may send from the machines of agiletelecom.com" in found["authserv_id"]["who"]
    assert "whoever can send mail through it" in found["networks"]["who"]
    assert "whoever knows a secret address" in found["recipients"]["who"]
    assert all(each["guards"] for each in found.values())
    assert {kind: each["sources"] for kind, each in found.items()} == {
        "networks": ["smtp"],
        "recipients": ["smtp"],
        "authserv_id": ["imap"],
        "dkim": ["smtp", "imap"],
    }
    (anyone,) = didww["evidence"]
    assert (anyone["kind"], anyone["guards"]) == ("anyone", [])
    assert didww["senders"] is None


def test_the_text_says_the_same(smsbridge: Smsbridge, config: Path) -> None:
    """For reading: every sentence of the JSON, and no secret."""
    document = show(smsbridge, config)
    text = smsbridge("trust", "show", "-c", config).out
    for way in document["ways_in"]:
        assert way["who"] in text
    for provider in document["providers"]:
        for sentence in (*provider["warnings"], *(each["who"] for each in provider["evidence"])):
            assert sentence in text
    assert SECRET.partition("@")[0] not in text + str(document)
    assert "hunter2" not in text + str(document)


def test_one_provider_is_shown_by_name(smsbridge: Smsbridge, config: Path) -> None:
    """And a name that isn't there is refused, with the nearest one."""
    (only,) = show(smsbridge, config, "didww")["providers"]
    assert only["provider"] == "didww"
    ran = smsbridge("trust", "show", "agil", "-c", config)
    assert (ran.code, ran.out) == (2, "")
    assert "no provider 'agil' in the config, did you mean 'agile'?" in ran.err


def test_evidence_that_no_way_in_can_carry_is_named(smsbridge: Smsbridge, config: Path) -> None:
    """Such as the peer's address where SMTP is off."""
    text = config.read_text()
    config.write_text(text.replace('["127.0.0.1:2525", ":2526", "systemd:smtp"]', "[]"))
    found = show(smsbridge, config, "agile")["providers"][0]["evidence"]
    assert [each["kind"] for each in found if not each["sources"]] == ["networks", "recipients"]
    assert "no way in of this config can carry it" in smsbridge("trust", "show", "-c", config).out


@pytest.mark.parametrize(
    ("evidence", "warning"),
    [
        ("anyone = true", "whoever reaches us can make messages up"),
        ("networks = ['0.0.0.0/0']", "0.0.0.0/0 is every address"),
        ("networks = ['::/0']", "::/0 is every address"),
        ("networks = ['198.0.0.0/8']", "198.0.0.0/8 is open to 16,777,216 addresses"),
        ("dkim = ['sendgrid.net']", "sendgrid.net signs and sends for all of its customers"),
        ("dkim = ['eu.amazonses.com']", "eu.amazonses.com signs and sends for all"),
        ("dkim = ['gmail.com']", "whoever sends through gmail.com can make messages up"),
        ("authserv_id = { id = 'mx', spf = ['mailgun.org'] }", "mailgun.org signs and sends for"),
    ],
)
def test_what_lets_strangers_in_is_warned_of(
    smsbridge: Smsbridge, config: Path, evidence: str, warning: str
) -> None:
    """By `trust show` and `check` alike, in the same words."""
    text = config.read_text().replace("trust = { anyone = true }", "")
    sender = "senders = ['@acme.example']\n" if "gmail" in evidence else ""
    config.write_text(f"{text}{sender}[providers.trust]\n{evidence}\n")
    (provider,) = show(smsbridge, config, "didww")["providers"]
    assert any(warning in each for each in provider["warnings"]), provider["warnings"]
    checked = smsbridge("check", "-c", config, "--json").document["warnings"]
    assert [
        each.removeprefix("providers.didww: ") for each in checked if "providers.didww: " in each
    ] == provider["warnings"]


@pytest.mark.parametrize(
    ("senders", "is_open"),
    [
        ("senders = ['@gmail.com']", True),
        ("", True),
        ("senders = ['me@gmail.com']", False),
        ("senders = ['me@gmail.com', '@gmail.com']", True),
    ],
)
def test_a_mailbox_service_is_as_good_as_the_senders(
    smsbridge: Smsbridge, config: Path, senders: str, *, is_open: bool
) -> None:
    """Its customers can only write their own address into From, so full addresses are safe."""
    text = config.read_text().replace("trust = { anyone = true }", "")
    config.write_text(f"{text}{senders}\n[providers.trust]\ndkim = ['gmail.com']\n")
    (provider,) = show(smsbridge, config, "didww")["providers"]
    warned = [each for each in provider["warnings"] if "has a mailbox at gmail.com" in each]
    assert bool(warned) is is_open


@pytest.mark.parametrize("network", ["10.0.0.0/8", "127.0.0.0/8", "192.0.2.0/24", "fd00::/8"])
def test_a_network_of_ones_own_is_not_warned_of(
    smsbridge: Smsbridge, config: Path, network: str
) -> None:
    """Private networks may be large."""
    config.write_text(config.read_text().replace("192.0.2.7/32", network))
    (agile,) = show(smsbridge, config, "agile")["providers"]
    assert not [each for each in agile["warnings"] if network in each]


def test_what_split_trusts_is_said(smsbridge: Smsbridge, config: Path) -> None:
    """A mail with several SMS is parted by lines that an SMS's text can contain too."""
    template = "[providers.template]\nsplit = '^-{5,}$'\n"
    config.write_text(config.read_text() + "preset = 'didww'\n" + template)
    (provider,) = show(smsbridge, config, "didww")["providers"]
    assert any(
        "template.split trusts the text of every SMS" in each for each in provider["warnings"]
    )


def test_a_new_kind_brings_its_own_words() -> None:
    """What is shown follows from the declaration alone."""
    provider = {
        "name": "agile", "time_zone": "Europe/Rome", "trust": WithHosts(hosts=("mx.acme.example",)),
    }  # fmt: skip
    (shown,) = who_gets_in(Settings.model_validate({"providers": [provider]}), kinds=KINDS)
    assert shown["evidence"] == [
        {
            "kind": "hosts",
            "accepts": ["host mx.acme.example"],
            "who": "whoever runs mx.acme.example",
            "guards": ["the DNS vouches for it"],
            "sources": ["smtp"],
        }
    ]
