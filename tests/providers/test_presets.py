"""The presets load as they are printed, can be overridden, and have fixtures of every kind."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge import providers
from bridge.config.load import load
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import SmsMessage, Unreadable
from bridge.providers import PRESETS, agile, presets, url_networks
from bridge.providers.labels import Field
from tests.providers.declaring import mail_of
from tests.providers.reading import ANYONE, OWN

FOLDER = Path(__file__).parent / "fixtures"
# What `check` still asks for, where a mail does not say it.
ASKED = {
    "dbus_sms_forward": "template.to",
    "freepbx": "senders",
    "httpsms2email": "template.to",
    "raspisms": "time_zone",
    "routeros_scripts": "template.to",
    "routeros_sms": "template.to",
    "sms2email": "template.to",
    "sms2email_app": "template.to",
    "sms2mail_android": "template.to",
    "sms2mail_msmtp": "template.to",
    "sms_to_email_forwarder": "template.to",
    "smsforwarder": "senders",
    "smsrelay": "senders",
    "telnyx_demo": "template.to",
    "telnyx_sms2email": "template.to",
    "zte_sms": "template.to",
    "kalkun": "template.to",
    "lox24": "senders",
    "openvbx": "template.to",
    "playsms": "time_zone",
    "sms_backup_plus": "template.to",
    "twilio_mail": "template.to",
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_as_printed_is_a_config(name: str, tmp_path: Path) -> None:
    """The copy loads; built, it is complete, or the error names the one setting it lacks."""
    path = tmp_path / "config.toml"
    path.write_text(presets.text(name), encoding="utf-8")
    settings = load(path).providers
    assert [each.name for each in settings] == [name]
    assert (settings[0].template is not None) is (name in presets.DECLARED)
    assert presets.summary(name)
    if name not in ASKED:
        assert providers.build(settings)[0].name == name
        return
    with pytest.raises(ConfigError) as caught:
        providers.build(settings)
    assert caught.value.key == f"providers.0.{ASKED[name]}"


def test_nobody_is_believed_by_a_copy() -> None:
    """The evidence in a printed preset is a network that belongs to nobody (RFC 5737)."""
    for name in PRESETS:
        (table,) = tomllib.loads(presets.text(name))["providers"]
        assert table["trust"] == {"networks": ["192.0.2.0/24"]}, name


def test_no_preset_is_without_its_file_nor_a_file_without_its_preset() -> None:
    """The registry is explicit, and complete."""
    folder = Path(presets.__file__).parent
    assert {path.stem for path in folder.glob("*.toml")} == set(PRESETS)
    assert set(OWN) == set(presets.DECLARED)


@pytest.mark.parametrize(
    ("name", "labels", "senders"),
    [("agile", agile.LABELS, agile.SENDERS), ("url_networks", url_networks.LABELS, None)],
)
def test_what_is_printed_of_a_provider_in_python_is_what_it_does(
    name: str, labels: Any, senders: Any
) -> None:
    """Its labels and senders stand in the code and in the file; both say the same."""
    settings = presets.settings(name)
    own = settings.labels
    assert own is not None
    keys = {"sender": Field.SENDER, "to": Field.RECIPIENT, "body": Field.BODY}
    keys |= {"date": Field.TIME, "id": Field.MESSAGE_ID}
    for key, field in keys.items():
        assert (getattr(own, key) or ()) == labels.spelled(field)
    assert senders is None or settings.senders == senders


@pytest.mark.parametrize("name", presets.DECLARED)
def test_each_preset_has_mails_that_are_read_and_mails_that_are_not(name: str) -> None:
    """At least five of each kind, so that no layout is kept up by one example."""
    found = [json.loads(path.read_text("utf-8")) for path in (FOLDER / name).glob("*.json")]
    found += [json.loads(p.read_text("utf-8")) for p in (FOLDER / "refused").glob(f"*{name}*.json")]
    outcomes = [each["outcome"] for each in found]
    assert outcomes.count("message") >= 5
    assert len(outcomes) - outcomes.count("message") >= 5


def test_no_sentence_of_a_preset_tells_a_number_or_a_text() -> None:
    """What a mail says stays out of what operators' logs say."""
    for path in FOLDER.rglob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["outcome"] != "message":
            assert not any(
                word in told["detail"]
                for word in ("415555", "4712345", "491", "Hello", "Hei", "Ya ")
            ), path


def made(name: str, **more: object) -> providers.Provider:
    table = {"name": name, "preset": name, "trust": ANYONE, **more}
    (provider,) = providers.build([ProviderSettings.model_validate(table)])
    return provider


def test_a_preset_takes_the_operators_own_settings() -> None:
    """Senders, zone, region, labels and keys of the template are laid over the preset's."""
    provider = made(
        "pswincom",
        senders=["sms@own.example"],
        region="NO",
        labels={"from": ["Avsender"]},
        template={"date": {"label": "Tid"}, "date_format": "%Y-%m-%d %H:%M"},
        time_zone="Europe/Oslo",
    )
    subject = "PSWinCom SMS Gateway Incoming Message"
    text = "Avsender=41234567\nReceiver=26112\nTid=2026-04-08 14:30\nText=Hei"
    email = mail_of(text, subject, sender="sms@own.example")
    assert provider.matches(email)
    assert not provider.matches(mail_of(text, subject, sender="gateway@pswin.example"))
    message = provider.read_email(email)
    assert isinstance(message, SmsMessage)
    assert (message.sender, message.body) == ("+4741234567", "Hei")
    assert message.received_at.isoformat() == "2026-04-08T14:30:00+02:00"


def test_labels_and_subject_of_agile_come_from_the_config() -> None:
    """A mail with other words is read once the config names them, and not before."""
    text = "Mittente: +393301234567\nA: 333\nQuando: 20260408143052\nMessaggio: Ciao\nBody: x"
    email = mail_of(text, "SMS ricevuto", sender="smsin@agiletelecom.com")
    plain = made("agile", time_zone="Europe/Rome").read_email(email)
    assert isinstance(plain, Unreadable)
    labels = {"from": "Mittente", "to": ["A"], "date": ["Quando"], "body": ["Messaggio"]}
    told = made("agile", time_zone="Europe/Rome", labels=labels, subject="^SMS ricevuto$")
    message = told.read_email(email)
    assert isinstance(message, SmsMessage)
    assert (message.sender, message.body, message.warnings) == (
        "+393301234567",
        "Ciao\nBody: x",
        (),
    )


def test_labels_and_subject_of_url_networks_come_from_the_config() -> None:
    """Every label, the sender and the subject are the operator's to set."""
    provider = made(
        "url_networks",
        senders=["@own.example"],
        subject="^Undelivered",
        labels={"from": "origin", "to": "did", "date": "at", "id": "uuid", "body": "sms"},
    )
    text = "origin: +61412345678\ndid: +61400000000\nat: 1775651452\nuuid: u-1\nsms: Hi"
    seen = provider.read_email(mail_of(text, "Undelivered SMS", sender="a@own.example"))
    assert isinstance(seen, SmsMessage)
    assert (seen.sender, seen.provider_message_id, seen.warnings) == ("+61412345678", "u-1", ())
    other = provider.read_email(mail_of(text, "Something else", sender="a@own.example"))
    assert isinstance(other, SmsMessage)
    assert other.warnings == ("subject_unexpected",)


def test_a_router_that_was_offline_sends_several_sms_in_one_mail() -> None:
    """Each begins at its own head, and the sentence above them is none."""
    provider = made("routeros_scripts", template={"to": {"value": "+4930123456"}})
    heads = [f"On apr/08/2026 14:30:5{n} GMT +2 type class-{n}:" for n in (1, 2)]
    text = f"Received these 2 messages by R from +491:\n\n{heads[0]}\none\n\n{heads[1]}\ntwo\n\n2\n"
    found = provider.read_email(mail_of(text, "[R] SMS Forwarding from +4915112345678"))
    assert isinstance(found, tuple)
    assert [(each.sender, each.body) for each in found] == [
        ("+4915112345678", "one"),
        ("+4915112345678", "two\n\n2"),
    ]
