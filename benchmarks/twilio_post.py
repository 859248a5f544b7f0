"""Twilio's posts, signed and ready for the wire, and what signs them."""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import urlencode

from load import Mail

AUTH_TOKEN: Final = "0123456789abcdef0123456789abcdef"  # of this bench alone
PATH: Final = "/in/twilio/bench-token-0123456789"
HOST: Final = "https://sms.bench.example"
PUBLIC_URL: Final = HOST + PATH


def posts(count: int, run: str) -> list[Mail]:
    """Build distinct posts with all the parameters that Twilio sends.

    `run` keeps MessageSids and texts of one round apart from those of all others.
    """
    made = []
    for number in range(count):
        text = f"Round {run}, message {number:06d}: see you at the station at half past seven"
        sid = f"SM{run.encode().hex():0>20}{number:012x}"
        values = {
            "ToCountry": "IT", "ToState": "", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "",
            "FromZip": "", "SmsSid": sid, "FromState": "", "SmsStatus": "received",
            "FromCity": "", "Body": text, "FromCountry": "IT", "To": "+393331234333", "ToZip": "",
            "NumSegments": "1", "MessageSid": sid, "AccountSid": "AC" + 32 * "0",
            "From": f"+39330{number % 10_000_000:07d}", "ApiVersion": "2010-04-01",
        }  # fmt: skip
        signed = PUBLIC_URL + "".join(name + values[name] for name in sorted(values))
        mac = base64.b64encode(hmac.digest(AUTH_TOKEN.encode(), signed.encode(), "sha1")).decode()
        body = urlencode(values)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: sms.bench.example\r\n"
            "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
            f"Content-Length: {len(body)}\r\nAccept: */*\r\nUser-Agent: TwilioProxy/1.1\r\n"
            f"I-Twilio-Idempotency-Token: {sid[2:34]}\r\nX-Twilio-Signature: {mac}\r\n\r\n"
        )
        made.append(Mail(text, (head + body).encode()))
    return made
