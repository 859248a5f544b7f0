"""Sample mails in the built-in formats, for `smsbridge send-test`."""

from __future__ import annotations

import base64
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


def _dbus_sms_forward(sms: SampleSms, at: datetime) -> _Layout:
    head = f"发信电话:{sms.sender}\n时间:{at:%Y-%m-%d %H:%M:%S}\n转发设备:smsbridge\n"
    return _Layout(f"短信转发{sms.sender}", f"{head}短信内容:{sms.text}\n", {})


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


def _httpsms2email(sms: SampleSms, at: datetime) -> _Layout:
    head = f"Sender: {sms.sender}\nSent: {at.isoformat()}\tReceived: {at.isoformat()}\n"
    return _Layout(f"SMS from {sms.sender}", f"{head}\nMessage:\n{sms.text}\n", {})


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


def _portech(sms: SampleSms, _: datetime) -> _Layout:
    headers = {"X-SMS-Content": base64.b64encode(sms.text.encode()).decode()}
    subject = f"Neue Nachricht von {sms.sender} für {sms.recipient}"
    return _Layout(subject, f"Neue SMS-Nachricht\n\n{sms.text}\n", headers)


def _pswincom(sms: SampleSms, _: datetime) -> _Layout:
    numbers = f"Receiver={_digits(sms.recipient)}\nSender={_digits(sms.sender)}"
    return _Layout("PSWinCom SMS Gateway Incoming Message", f"{numbers}\nText={sms.text}\n", {})


def _raspisms(sms: SampleSms, at: datetime) -> _Layout:
    text = (
        f"Vous avez reçu un nouveau SMS : \nDate : {at:%Y-%m-%d %H:%M:%S}\n"
        f"Origine : {sms.sender}\nDestination : {sms.recipient}\nMessage : {sms.text}\n"
    )
    return _Layout("Vous avez reçu un SMS", text, {})


def _routeros_scripts(sms: SampleSms, at: datetime) -> _Layout:
    first = f"Received this message by smsbridge from {sms.sender}:"
    text = f"{first}\n\nOn {at:%Y-%m-%d %H:%M:%S} type class-1:\n{sms.text}\n"
    return _Layout(f"[smsbridge] SMS Forwarding from {sms.sender}", text, {})


def _routeros_sms(sms: SampleSms, at: datetime) -> _Layout:
    return _Layout(f"SMS from {sms.sender} at {at:%Y-%m-%d %H:%M:%S}", f"{sms.text}\n", {})


def _sms2email(sms: SampleSms, at: datetime) -> _Layout:
    subject = f"SMS received from {sms.sender} ({at:%y-%m-%d %H:%M:%S})"
    return _Layout(subject, f"{sms.text}\n", {})


def _sms2email_app(sms: SampleSms, _: datetime) -> _Layout:
    text = f"New message from: {sms.sender}\n-----\n{sms.text}\n\n-----\n"
    return _Layout(f"New message from {sms.sender}", text, {})


def _sms2mail_android(sms: SampleSms, at: datetime) -> _Layout:
    # Not strftime's names, which follow the machine's language.
    _, day, month, year, clock, offset = format_datetime(at).split()
    time = f"{at:%a} {month} {day} {clock} GMT{offset[:3]}:{offset[3:]} {year}"
    text = f"您收到一条新短信:\n\n发送者: {sms.sender}\n内容: {sms.text}\n时间: {time}\n"
    return _Layout(f"新短信通知 - 来自 {sms.sender}", text, {})


def _sms2mail_msmtp(sms: SampleSms, _: datetime) -> _Layout:
    text = f"You received a new SMS from: {sms.sender}\n\n---\n{sms.text}\n---\n"
    return _Layout(f"SMS from {sms.sender}", text, {})


def _sms_backup_plus(sms: SampleSms, at: datetime) -> _Layout:
    headers = {
        "X-smssync-address": sms.sender,
        "X-smssync-datatype": "SMS",
        "X-smssync-type": "1",
        "X-smssync-date": str(int(at.timestamp() * 1000)),
    }
    return _Layout("SMS with a test", f"{sms.text}\n", headers)


def _sms_to_email_forwarder(sms: SampleSms, at: datetime) -> _Layout:
    subject = f"Date: {at:%a %d/%m/%Y %H:%M:%S} From: {sms.sender}"
    return _Layout(subject, f"{sms.text}\n", {})


def _smsforwarder(sms: SampleSms, at: datetime) -> _Layout:
    end = f"SIM1\nSubId\uff1a1\n{at:%Y-%m-%d %H:%M:%S}\nsmsbridge\n"
    return _Layout(sms.sender, f"{sms.sender}\n{sms.text}\n{end}", {})


def _smsrelay(sms: SampleSms, _: datetime) -> _Layout:
    first = f"I just received following SMS from {sms.sender} for {sms.recipient} which I forward"
    text = f"{first} to you:\n\n--- START SMS ---\n{sms.text}\n---  END SMS  ---\n"
    return _Layout(f'"{sms.text[:20]}..."', text, {})


def _telnyx_demo(sms: SampleSms, at: datetime) -> _Layout:
    text = f"Message: {sms.text}\n{' ' * 12}Recieved at: {at.isoformat()}\n"
    return _Layout(f"New SMS Message from {sms.sender}", text, {})


def _telnyx_sms2email(sms: SampleSms, _: datetime) -> _Layout:
    return _Layout(f"New SMS from {sms.sender}", f"{sms.text}\n", {})


def _twilio_mail(sms: SampleSms, _: datetime) -> _Layout:
    return _Layout(f"New SMS message from: {sms.sender}", f"{sms.text}\n", {})


def _url_networks(sms: SampleSms, at: datetime) -> _Layout:
    text = (
        f"from: {sms.sender}\nsms_number: {sms.recipient}\nmessage_id: {sms.token}\n"
        f"timestamp: {int(at.timestamp())}\nbody: {sms.text}\n"
    )
    return _Layout("SMS received", text, {})


def _zte_sms(sms: SampleSms, at: datetime) -> _Layout:
    text = f"Message: {sms.text}\nReceived: {at.isoformat(sep=' ', timespec='seconds')}\n"
    return _Layout(f"New message from {sms.sender}", text, {})


_LAYOUTS: Final[Mapping[str, Callable[[SampleSms, datetime], _Layout]]] = MappingProxyType({
    "agile": _agile,
    "dbus_sms_forward": _dbus_sms_forward,
    "didhub": _didhub,
    "didww": _didww,
    "freepbx": _freepbx,
    "fusionpbx": _fusionpbx,
    "google_voice": _google_voice,
    "httpsms2email": _httpsms2email,
    "kalkun": _kalkun,
    "lox24": _lox24,
    "openvbx": _openvbx,
    "playsms": _playsms,
    "portech": _portech,
    "pswincom": _pswincom,
    "raspisms": _raspisms,
    "routeros_scripts": _routeros_scripts,
    "routeros_sms": _routeros_sms,
    "sms2email": _sms2email,
    "sms2email_app": _sms2email_app,
    "sms2mail_android": _sms2mail_android,
    "sms2mail_msmtp": _sms2mail_msmtp,
    "sms_backup_plus": _sms_backup_plus,
    "sms_to_email_forwarder": _sms_to_email_forwarder,
    "smsforwarder": _smsforwarder,
    "smsrelay": _smsrelay,
    "telnyx_demo": _telnyx_demo,
    "telnyx_sms2email": _telnyx_sms2email,
    "twilio_mail": _twilio_mail,
    "url_networks": _url_networks,
    "zte_sms": _zte_sms,
})  # fmt: skip
