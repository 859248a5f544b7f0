"""Whatever an SMS says arrives unchanged through every preset's layout."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.model import SmsMessage
from bridge.providers import presets
from tests.providers.reading import read

# A header's worth, and the text in front of and behind the SMS.
Layout = tuple[str, Callable[[str], str]]
DATE = "Date: Wed, 08 Apr 2026 12:30:52 +0000\n"
RULE = "-" * 35
TIME = "2026-04-08 14:30:52"
LAYOUTS: dict[str, Layout] = {
    "didhub": (
        "From: a@didhub.example\nSubject: SMS from +14155550123 (US)\nX-DIDHub-To: +14155550199\n",
        lambda body: f"{body}\n",
    ),
    "didww": (
        "From: sms-forwarding@didww.com\nSubject: SMS received from 37061234567 to 37069876543\n",
        lambda body: f"Thu, 22 Oct 2026 07:32:14 GMT\n\n{body}\n",
    ),
    "freepbx": (
        "From: pbx@freepbx.example\nSubject: SMS\n",
        lambda body: f"While offline, you received an SMS from 12 to 34:\n\n{body}\n",
    ),
    "fusionpbx": (
        "From: pbx@fusion.example\nSubject: Text Message from: 14155550123\n",
        lambda body: f"To: 14155550199\nMsg: {body}\n",
    ),
    "google_voice": (
        "From: <18005550100.14155550123.aB@txt.voice.google.com>\nSubject: New text message\n",
        lambda body: (
            f"<https://voice.google.com>\n{body}\n"
            "To respond to this text message, reply to this email\n"
            "YOUR ACCOUNT <https://voice.google.com>\n"
        ),
    ),
    "kalkun": (
        "From: a@kalkun.example\nSubject: Kalkun New SMS\n",
        lambda body: f"{body}\n\n- +628123456789",
    ),
    "lox24": (
        "From: sms@lox24.example\nSubject: SMS\n",
        lambda body: json.dumps({"phone": "12", "sender_id": "34", "text": body}),
    ),
    "openvbx": (
        "From: a@vbx.example\nSubject: [OpenVBX] New SMS Notification - 12\n",
        lambda body: (
            f"SMS from 12\n\nMessage:\n\n{body}\n\n{RULE}\n\nLink to details: https://vbx.example\n"
        ),
    ),
    "playsms": (
        "From: a@playsms.example\nSubject: Message from 12\n",
        lambda body: (
            "playSMS\n\nMessage received at 34 on 2026-04-08 19:30:52\n\nFrom 12\n\n"
            f"{body}\n\n--\nfooter\n\n"
        ),
    ),
    "pswincom": (
        "From: a@pswin.example\nSubject: PSWinCom SMS Gateway Incoming Message\n",
        lambda body: f"Receiver=26112\nSender=4712345678\nText={body}\n",
    ),
    "dbus_sms_forward": (
        "From: a@dbus.example\nSubject: 短信转发12345\n",
        lambda body: f"发信电话:12345\n时间:{TIME}\n转发设备:pi\n短信内容:{body}\n",
    ),
    "httpsms2email": (
        "From: sms@posts.example\nSubject: SMS from 12345\n",
        lambda body: f"Sender: 12345\nSent: 2026-04-08T12:30Z\tReceived: x\n\nMessage:\n{body}\n",
    ),
    "portech": (
        "From: a@gsm.example\nSubject: Neue Nachricht von 12 für 34\nX-SMS-Content: {base64}\n",
        lambda _: "Neue SMS-Nachricht\n",
    ),
    "raspisms": (
        "From: a@raspi.example\nSubject: Vous avez reçu un SMS\n",
        lambda body: (
            f"Vous avez reçu un nouveau SMS : \nDate : {TIME}\nOrigine : 12345\n"
            f"Destination : 0612345678\nMessage : {body}\n"
        ),
    ),
    "routeros_scripts": (
        "From: a@ros.example\nSubject: [R] SMS Forwarding from 12345\n",
        lambda body: (
            "Received this message by R from 12345:\n\n"
            f"On apr/08/2026 14:30:52 GMT +2 type class-1:\n{body}\n"
        ),
    ),
    "routeros_sms": (
        "From: a@ros.example\nSubject: SMS from 12345 at Apr/08/2026 14:30:52 GMT +2\n",
        lambda body: f"{body}\n",
    ),
    "sms2email": (
        "From: a@tools.example\nSubject: SMS received from 12345 (26-04-08 14:30:52)\n",
        lambda body: f"{body}\n",
    ),
    "sms2email_app": (
        "From: sms2email@sms2emailapp.com\nSubject: New message from 12345\n",
        lambda body: f"New message from: 12345\n-----\n{body}\n\n-----\n",
    ),
    "sms2mail_android": (
        "From: a@phone.example\nSubject: 新短信通知 - 来自 12345\n",
        lambda body: (
            f"您收到一条新短信:\n\n发送者: 12345\n内容: {body}\n"
            "时间: Wed Apr 08 12:30:52 GMT+00:00 2026\n"
        ),
    ),
    "sms2mail_msmtp": (
        "From: sms@msmtp.example\nSubject: SMS from 12345\n",
        lambda body: f"You received a new SMS from: 12345\n\n---\n{body}\n---\n",
    ),
    "sms_to_email_forwarder": (
        "From: a@phone.example\nSubject: Date: Wed 08/04/2026 14:30:52 From: 12345\n",
        lambda body: f"{body}\n",
    ),
    "smsforwarder": (
        "From: phone@smsf.example\nSubject: 12345\n",
        lambda body: f"12345\n{body}\nSIM1\nSubId\uff1a1\n{TIME}\nphone\n",
    ),
    "smsrelay": (
        "From: smsrelay@relay.example\nSubject: x\n",
        lambda body: (
            "I just received following SMS from 12345 for 67890 which I forward to you:\n\n"
            f"--- START SMS ---\n{body}\n---  END SMS  ---\n\nRegards\n"
        ),
    ),
    "telnyx_demo": (
        "From: a@fwd.example\nSubject: New SMS Message from 12345\n",
        lambda body: f"Message: {body}\n{' ' * 12}Recieved at: 2026-04-08T12:30:52.104+00:00\n",
    ),
    "telnyx_sms2email": (
        "From: a@fwd.example\nSubject: New SMS from 12345\n",
        lambda body: f"{body}\n",
    ),
    "zte_sms": (
        "From: router@zte.example\nSubject: New message from 12345\n",
        lambda body: f"Message: {body}\nReceived: 2026-04-08 14:30:52+02:00\n",
    ),
    "sms_backup_plus": (
        "From: a@phone.example\nSubject: SMS with A\nX-smssync-address: 12\nX-smssync-type: 1\n",
        lambda body: f"{body}\n",
    ),
    "twilio_mail": (
        "From: a@fwd.example\nSubject: New SMS message from: +14155550123\n",
        lambda body: f"{body}\n",
    ),
}
# A mail begins with no BOM of its own, and one blank after a label is the layout's.
BODIES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=120
).filter(lambda body: not body.startswith((" ", "\t", "\xa0")) and not body.endswith("\n"))


# Whose layout has something behind the SMS, so that its blanks are seen to be its own.
ENCLOSED = frozenset({
    "kalkun", "lox24", "openvbx", "playsms", "portech", "sms2email_app", "sms2mail_android",
    "sms2mail_msmtp", "smsforwarder", "smsrelay", "telnyx_demo", "zte_sms",
})  # fmt: skip


def test_every_preset_has_its_layout() -> None:
    """None is left out of what follows."""
    assert set(LAYOUTS) == set(presets.DECLARED)


@pytest.mark.parametrize("name", LAYOUTS)
@given(body=BODIES)
@example(body="To: 1\nFrom: 2\nText: 3\nMsg: 4\nSender=5")
@example(body="a\n\n- 12345\n\n--\nb")
@example(body="Thu, 22 Oct 2026 07:32:14 GMT\n\nx")
@example(body=f"{RULE}\n\nLink to details: x")
@example(body="x\n---\ny\n\n-----\nz\n---  END SMS  ---\n\nRegards")
@example(body=f"x\nSIM\nSubId\uff1a1\n{TIME}\nphone\n时间: y\nReceived: 1\n Recieved at: z")
@example(body="YOUR ACCOUNT\nTo respond to this text message\nok")
@example(body="\n\nleading")
def test_a_body_survives(name: str, body: str) -> None:
    """Character for character, what looks like the layout included, up to blanks at the end."""
    head, layout = LAYOUTS[name]
    head = head.replace("{base64}", base64.b64encode(body.encode()).decode())
    head += f"{DATE}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    content = base64.encodebytes(layout(body).encode()).decode()
    _, message = read((head + content).replace("\n", "\r\n").encode())
    assert isinstance(message, SmsMessage), message
    kept = body if name in ENCLOSED else body.rstrip(" \t\n\xa0")
    assert (message.provider, message.body) == (name, kept)
