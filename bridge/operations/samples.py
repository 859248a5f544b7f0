"""Sample mails in the built-in formats, for `smsbridge send-test`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from bridge.config.settings import ProviderSettings
from bridge.errors import NotPossible
from bridge.providers import PRESETS, presets

_ANY_SENDER: Final = "sms@smsbridge.invalid"  # for formats that any sender may use


@dataclass(frozen=True, slots=True)
class SampleSms:
    """The SMS of a sample mail; `token` makes the mail unlike any other."""

    sender: str
    recipient: str
    text: str
    at: datetime
    token: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """What differs between the formats; `headers` and `address` are beside or instead of From."""

    subject: str
    text: str
    headers: Mapping[str, str]
    html: bool = False
    address: str | None = None


def sample_mail(settings: ProviderSettings, sms: SampleSms) -> EmailMessage:
    """Return a mail as the provider would send it for this SMS; its recipient is not set.

    Raises NotPossible if the format is the operator's own, or a package's.
    """
    name = settings.preset or settings.name
    layout = _LAYOUTS.get(name)
    if layout is None or (settings.template is not None and settings.preset is None):
        raise NotPossible(
            f"providers.{settings.name}: there is no sample mail in this format: send a mail that "
            "you have, with --mail FILE"
        )
    zone = ZoneInfo(settings.time_zone) if settings.time_zone else sms.at.tzinfo
    made = layout(sms, sms.at.astimezone(zone))
    mail = EmailMessage()
    mail["From"] = made.address or _sender(settings, name)
    mail["Subject"] = made.subject
    mail["Date"] = format_datetime(sms.at)
    mail["Message-ID"] = f"<{sms.token}@smsbridge.invalid>"
    for header, value in made.headers.items():
        mail[header] = value
    mail.set_content(made.text, subtype="html" if made.html else "plain")
    return mail


def _sender(settings: ProviderSettings, name: str) -> str:
    """Return an address that the provider's mails may come from."""
    senders = settings.senders or (name in PRESETS and presets.settings(name).senders) or ()
    first = next(iter(senders), _ANY_SENDER)
    return f"sms{first}" if first.startswith("@") else first


def _digits(number: str) -> str:
    return number.removeprefix("+")


def _agile(sms: SampleSms, at: datetime) -> _Layout:
    return _Layout(
        "Agile Telecom -- SMS received",
        f"From: {sms.sender}\nTo: {sms.recipient}\nDate/Time: {at:%Y%m%d%H%M%S}\n"
        f"Body: {sms.text}\n",
        {},
    )


def _didhub(sms: SampleSms, _: datetime) -> _Layout:
    numbers = {"X-DIDHub-From": sms.sender, "X-DIDHub-To": sms.recipient}
    headers = {**numbers, "X-DIDHub-MessageID": sms.token}
    return _Layout(f"SMS from {sms.sender} (US)", f"{sms.text}\n", headers)


def _didww(sms: SampleSms, at: datetime) -> _Layout:
    subject = f"SMS received from {_digits(sms.sender)} to {_digits(sms.recipient)}"
    return _Layout(subject, f"{format_datetime(at)}\n\n{sms.text}\n", {})


def _freepbx(sms: SampleSms, _: datetime) -> _Layout:
    first = f"While offline, you received an SMS from {sms.sender} to {sms.recipient}:"
    return _Layout("New SMS", f"{first}\n\n{sms.text}\n", {})


def _fusionpbx(sms: SampleSms, _: datetime) -> _Layout:
    text = f"To: {sms.recipient}<br>Msg: {sms.text}"
    return _Layout(f"Text Message from: {sms.sender}", text, {}, html=True)


def _google_voice(sms: SampleSms, _: datetime) -> _Layout:
    address = f"{_digits(sms.recipient)}.{_digits(sms.sender)}.{sms.token}@txt.voice.google.com"
    text = f"<https://voice.google.com>\n{sms.text}\nYOUR ACCOUNT <https://voice.google.com>\n"
    return _Layout(f"New text message from {sms.sender}", text, {}, address=address)


def _kalkun(sms: SampleSms, _: datetime) -> _Layout:
    return _Layout("Kalkun New SMS", f"{sms.text}\n\n- {sms.sender}", {})


def _lox24(sms: SampleSms, at: datetime) -> _Layout:
    document = {
        "id": sms.token, "phone": _digits(sms.recipient), "sender_id": _digits(sms.sender),
        "text": sms.text, "time": int(at.timestamp()),
    }  # fmt: skip
    return _Layout("New SMS", json.dumps(document) + "\n", {})


def _openvbx(sms: SampleSms, _: datetime) -> _Layout:
    text = f"SMS from {sms.sender}\n\nMessage:\n\n{sms.text}\n\n{'-' * 36}\n\nLink to details: \n"
    return _Layout(f"[OpenVBX] New  SMS Notification - {sms.sender}", text, {})


def _playsms(sms: SampleSms, at: datetime) -> _Layout:
    received = f"Message received at {sms.recipient} on {at:%Y-%m-%d %H:%M:%S}"
    text = f"playSMS\n\n{received}\n\nFrom {sms.sender}\n\n{sms.text}\n\n--\nPowered by playSMS\n"
    return _Layout(f"Message from {sms.sender}", text, {})


def _pswincom(sms: SampleSms, _: datetime) -> _Layout:
    numbers = f"Receiver={_digits(sms.recipient)}\nSender={_digits(sms.sender)}"
    return _Layout("PSWinCom SMS Gateway Incoming Message", f"{numbers}\nText={sms.text}\n", {})


def _sms_backup_plus(sms: SampleSms, at: datetime) -> _Layout:
    headers = {
        "X-smssync-address": sms.sender,
        "X-smssync-datatype": "SMS",
        "X-smssync-type": "1",
        "X-smssync-date": str(int(at.timestamp() * 1000)),
    }
    return _Layout("SMS with a test", f"{sms.text}\n", headers)


def _twilio_mail(sms: SampleSms, _: datetime) -> _Layout:
    return _Layout(f"New SMS message from: {sms.sender}", f"{sms.text}\n", {})


def _url_networks(sms: SampleSms, at: datetime) -> _Layout:
    text = (
        f"from: {sms.sender}\nsms_number: {sms.recipient}\nmessage_id: {sms.token}\n"
        f"timestamp: {int(at.timestamp())}\nbody: {sms.text}\n"
    )
    return _Layout("SMS received", text, {})


_LAYOUTS: Final[Mapping[str, Callable[[SampleSms, datetime], _Layout]]] = MappingProxyType({
    "agile": _agile,
    "didhub": _didhub,
    "didww": _didww,
    "freepbx": _freepbx,
    "fusionpbx": _fusionpbx,
    "google_voice": _google_voice,
    "kalkun": _kalkun,
    "lox24": _lox24,
    "openvbx": _openvbx,
    "playsms": _playsms,
    "pswincom": _pswincom,
    "sms_backup_plus": _sms_backup_plus,
    "twilio_mail": _twilio_mail,
    "url_networks": _url_networks,
})  # fmt: skip
