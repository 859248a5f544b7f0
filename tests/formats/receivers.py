"""Receivers as providers' customers write them, from what the providers' documentation says."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from twilio.request_validator import RequestValidator

from tests.delivery.servers import Answer, Request, says


@dataclass
class Handler:
    """What the handlers share: the SMS taken, each once, and how many requests came."""

    taken: list[tuple[str, str, str]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def once(self, key: str, sender: str, recipient: str, body: str) -> None:
        """Take an SMS unless its key has been seen."""
        self.seen[key] += 1
        if self.seen[key] == 1:
            self.taken.append((sender, recipient, body))


def fields(request: Request) -> dict[str, str]:
    """Read a form as a framework does; a field that came twice fails."""
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    found = parse_qs(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    return {name: value for name, (value,) in found.items()}


class AgileHandler(Handler):
    """Agile Telecom's sample: dedupes on originator and date_time, answers `+OK`."""

    def __call__(self, request: Request) -> Answer:
        """Take the SMS."""
        form = fields(request)
        assert sorted(form) == ["date_time", "destination", "originator", "text"]
        key = hashlib.md5((form["originator"] + form["date_time"]).encode()).hexdigest()
        self.once(key, form["originator"], form["destination"], form["text"])
        return says(200, "Content-Type: text/plain", body=b"+OK")


class UrlNetworksHandler(Handler):
    """URL Networks: every documented field is there, 200 is the only success."""

    def __call__(self, request: Request) -> Answer:
        """Take the SMS."""
        form = fields(request)
        int(form["service_id"]), int(form["timestamp"])
        assert {"webhook_url", "webhook_url_fallback"} < set(form)
        self.once(form["message_id"], form["from"], form["sms_number"], form["body"])
        return says(200, body=b"")


@dataclass
class TwilioHandler(Handler):
    """A channel with a token in its path: 404, 401, and a repeated MessageSid is ignored."""

    url: str = ""  # as it was given to Twilio's console
    auth_token: str = ""

    def __call__(self, request: Request) -> Answer:
        """Take the SMS."""
        method, target, _ = request.line.split(" ")
        path = self.url.split("/", 3)[3]
        if method != "POST" or target != f"/{path}":
            return says(404, body=b"")
        form = fields(request)
        validator = RequestValidator(self.auth_token)
        if not validator.validate(self.url, form, request.headers["x-twilio-signature"]):
            return says(401, body=b"")
        assert len(form["MessageSid"]) == 34
        assert form["MessageSid"].startswith("SM")
        assert form["MessageSid"] == form["SmsSid"] == form["SmsMessageSid"]
        assert (form["NumMedia"], form["SmsStatus"]) == ("0", "received")
        assert len(form["AccountSid"]) == 34
        self.once(form["MessageSid"], form["From"], form["To"], form["Body"])
        return says(200, "Content-Type: text/xml", body=b"<Response></Response>")


@dataclass
class MobileApiConnectHandler(Handler):
    """Mobile API Connect's guide: compare the hex HMAC of the raw body, then read the JSON."""

    secret: str = ""
    read: Callable[[bytes], dict[str, str]] = dict

    def __call__(self, request: Request) -> Answer:
        """Take the SMS."""
        expected = hmac.new(self.secret.encode(), request.body, hashlib.sha256).hexdigest()
        given = request.headers["x-mac-signature"]
        if not hmac.compare_digest(given, f"sha256={expected}"):
            return says(401, body=b"")
        sms = self.read(request.body)
        assert sms["event"] == "message.received"
        assert "+" not in sms["from"] + sms["to"]
        self.once(sms["ref"], sms["from"], sms["to"], sms["text"])
        return says(204, body=b"")
