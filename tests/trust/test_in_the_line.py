"""What evidence does to a mail on its way: who is believed, and what a provider gets to see."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge import app, mail, providers, trust
from bridge.config.settings import ProviderSettings, Settings, TrustSettings
from bridge.errors import TrustUnavailable
from bridge.model import Arrival, Email, Ignored, Reason, Trust, Unreadable
from bridge.reader import Reader, Reading
from bridge.trust.base import UnansweredError
from tests.origins import IMAP, smtp
from tests.patience import PATIENCE
from tests.trust.signing import Signer
from tests.trust.test_authserv_id import BORDER, OWN, SIGNATURE, mail_of, stamp

NOW = datetime(2026, 4, 8, 12, 31, tzinfo=UTC)
AUTHSERV = {"authserv_id": {"id": "mx.example.com", "dkim": ["agiletelecom.com"]}}


async def read(raw: bytes, **more: Any) -> Reading | Unreadable | Ignored:
    table = {"name": "agile", "time_zone": "Europe/Rome", "trust": AUTHSERV} | more
    settings = ProviderSettings.model_validate(table)
    return await app.reader_of(Settings(providers=(settings,))).read(
        Arrival(IMAP, "inbox", raw, NOW)
    )


async def test_a_mail_that_is_put_off_is_no_bug():
    """What cannot be verified now is for the source to leave; nothing is put into quarantine."""

    class Silent:
        async def txt(self, name: str) -> list[bytes]:
            raise UnansweredError(lasting=False)

    policy = TrustSettings(dkim=("agiletelecom.com",))
    settings = ProviderSettings(name="agile", time_zone="Europe/Rome", trust=policy)
    reader = Reader(providers.build([settings]), {"agile": policy}, lambda: NOW, names=Silent())
    with pytest.raises(TrustUnavailable):
        await reader.read(Arrival(IMAP, "inbox", Signer().sign(mail_of(signature="")), NOW))


@pytest.mark.processes
def test_only_who_asks_for_dkim_pays_for_it():
    """Neither dnspython nor cryptography is imported by a config without dkim."""
    program = """
import sys
from bridge import app, trust
from bridge.config.settings import TrustSettings
heavy = {"dns", "cryptography"}
assert trust.names_for([TrustSettings(anyone=True)], 0) is None
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert trust.names_for([TrustSettings(anyone=True), TrustSettings(dkim=("a.example",))], 0)
assert heavy <= set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)


BODY = b"From: +393301234567\r\nTo: +393331234333\r\nDate/Time: 20260408143052\r\nBody: News\r\n"


async def test_a_mail_of_a_mailbox_with_evidence_becomes_a_message():
    """The webhook says who vouched for the mail."""
    result = await read(mail_of(stamp(), BORDER).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + BODY)
    assert isinstance(result, Reading)
    assert b'"trust":{"by":"authserv_id","detail":"mx.example.com: dkim=agiletelecom.com"}' in (
        result.messages[0].events[0].body
    )


async def test_a_mail_that_is_sent_again_is_known():
    """Whoever has one signed mail can send it again with other trace headers: the same message."""
    raw = mail_of(stamp(), BORDER).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + BODY
    once = await read(raw)
    again = await read(raw.replace(b"To: sms@", b"X-Junk: 1\r\nTo: sms@"))
    assert isinstance(once, Reading)
    assert isinstance(again, Reading)
    assert once.messages[0].identity == again.messages[0].identity


@pytest.mark.parametrize(
    ("from_", "reason"),
    [
        ("From: smsin@agiletelecom.com\r\nFrom: x@evil.example\r\n", Reason.NO_SENDER),
        ("From: x@evil.example\r\nFrom: smsin@agiletelecom.com\r\n", Reason.NO_SENDER),
        ('From: "smsin@agiletelecom.com" <evil@evil.example>\r\n', Reason.NO_PROVIDER),
        ("From: smsin@agiletelecom.com <evil@evil.example>\r\n", Reason.NO_SENDER),
        ("From: =?utf-8?Q?smsin@agiletelecom.com?= <evil@evil.example>\r\n", Reason.NO_SENDER),
    ],
)
async def test_a_from_that_only_looks_right(from_: str, reason: Reason):
    """Two From headers and a borrowed display name end before any evidence is looked for."""
    own = from_ + OWN.partition("\r\n")[2]
    result = await read(mail_of(stamp(), BORDER, own=own))
    assert isinstance(result, Unreadable)
    assert result.reason is reason


SECRET = "sms-5d41402abc4b2a76b9719d91@example.com"
ALARM = (
    b"From: Alarm Panel\r\nTo: " + SECRET.encode() + b"\r\nSubject: SMS\r\n"
    b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\nMessage-ID: <1@panel>\r\n\r\n"
    b"+393301234567\r\n\r\nhi\r\n"
)
PANEL = {
    "name": "panel",
    "template": {
        "recipient": "^sms-5d41402abc4b2a76b9719d91@",
        "from": {"line": 1},
        "to": {"value": "+393331234333"},
        "body": {"after_blank": True},
    },
}


@pytest.mark.parametrize(
    ("policy", "more", "by"),
    [
        ({"recipients": [SECRET]}, {"recipients": (SECRET,)}, "recipients"),
        ({"recipients": [SECRET]}, {"recipients": ("sms@example.com",)}, None),
        ({"recipients": [SECRET]}, {}, None),
        ({"networks": ["192.0.2.0/24"]}, {"peer": "192.0.2.7"}, "networks"),
        ({"networks": ["192.0.2.0/24"]}, {"peer": "198.51.100.1"}, None),
        ({"dkim": ["panel.example"]}, {"peer": "192.0.2.7"}, None),
        ({"dkim": ["panel.example"], "networks": ["192.0.2.0/24"]}, {"peer": "192.0.2.7"},
         "networks"),
    ],
)  # fmt: skip
async def test_a_from_without_an_address_needs_evidence_like_any_other(
    policy: dict[str, Any], more: dict[str, Any], by: str | None
):
    """A secret recipient or a network vouches for it; that it looks right does not."""
    settings = ProviderSettings.model_validate(PANEL | {"trust": policy})
    result = await app.reader_of(Settings(providers=(settings,))).read(
        Arrival(smtp(**more), "smtp", ALARM, NOW)
    )
    if by is None:
        assert isinstance(result, Unreadable)
        assert (result.reason, result.provider) == (Reason.UNTRUSTED, "panel")
    else:
        assert isinstance(result, Reading)
        message = result.messages[0].message
        assert (message.trust and message.trust.by, message.sms.body) == (by, "hi")


@pytest.mark.parametrize("from_", ["SMS", "<>", "", "undisclosed-senders:;"])
async def test_a_mailbox_vouches_for_no_from_without_an_address(from_: str):
    """A pass of the provider's domain carries over to no mail that hides whose it is."""
    own = f"From: {from_}\r\n" + OWN.partition("\r\n")[2]
    marked = {**PANEL["template"], "recipient": "^sms@example[.]com$"}  # type: ignore[dict-item]
    result = await read(mail_of(stamp(), BORDER, own=own), **PANEL | {"template": marked})
    assert isinstance(result, Unreadable)
    assert (result.reason, result.provider) == (Reason.UNTRUSTED, "panel")
    assert "names no address" in result.detail


TEMPLATE = {
    "name": "acme",
    "senders": ["smsin@agiletelecom.com"],
    "template": {
        "from": {"header": "X-SMS-From"},
        "to": {"value": "+393331234333"},
        "body": {"all": True},
        "ignore": [{"why": "a report", "headers": {"X-Report": "yes"}}],
    },
}


async def test_a_header_that_nobody_signed_is_not_read():
    """A number in an unsigned header could be anybody's, and the sentence says what is missing."""
    own = "X-SMS-From: +393301234567\r\n" + OWN
    result = await read(mail_of(stamp(), BORDER, own=own), **TEMPLATE)
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNREADABLE
    assert "evidence does not cover it: " in result.detail
    assert "x-sms-from" in result.detail


async def test_a_header_that_is_signed_is_read():
    """The same header counts once the signature covers it, each time that it stands there."""
    signature = SIGNATURE.replace(" h=", " h=x-sms-from:")
    own = "X-SMS-From: +393301234567\r\n" + OWN
    result = await read(mail_of(stamp(), BORDER, own=own, signature=signature), **TEMPLATE)
    assert isinstance(result, Reading)
    assert result.messages[0].message.sms.sender == "+393301234567"
    twice = await read(
        mail_of(stamp(), BORDER, own=own + own[:27], signature=signature), **TEMPLATE
    )
    assert isinstance(twice, Unreadable)


async def test_an_unsigned_header_makes_no_mail_ignored():
    """Nobody can make a genuine SMS vanish by adding the mark of a report to it."""
    signature = SIGNATURE.replace(" h=", " h=x-sms-from:")
    own = "X-Report: yes\r\nX-SMS-From: +393301234567\r\n" + OWN
    result = await read(mail_of(stamp(), BORDER, own=own, signature=signature), **TEMPLATE)
    assert isinstance(result, Reading)


async def test_every_header_that_is_missed_is_named():
    """The sentence names each uncovered header that the provider reads, and none of the others."""
    own = "X-SMS-From: +393301234567\r\nX-Report: yes\r\nX-Junk: 1\r\n" + OWN
    result = await read(mail_of(stamp(), BORDER, own=own), **TEMPLATE)
    assert isinstance(result, Unreadable)
    assert result.detail.endswith("does not cover it: x-report, x-sms-from)")


async def test_a_mark_that_nobody_signed_is_named():
    """A header that makes the mail this provider's must be covered; if it isn't, it's named."""
    template = TEMPLATE["template"] | {"headers": {"X-SMS-Type": "in"}}
    own = "X-SMS-Type: in\r\nX-SMS-From: +393301234567\r\n" + OWN
    result = await read(mail_of(stamp(), BORDER, own=own), **(TEMPLATE | {"template": template}))
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNTRUSTED
    assert "does not cover it: x-sms-from, x-sms-type)" in result.detail


def plugin(**more: Any) -> Any:
    """Make a provider that is written in Python and reads one header."""

    class Plugin:
        name = "acme"

        def matches(self, email: Email) -> bool:
            return True

        def read_email(self, email: Email) -> Unreadable:
            found = email.headers.get("x-sms-from")
            return Unreadable(Reason.UNREADABLE, f"no sender: {found}", "acme")

    return type("Declaring", (Plugin,), more)()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"headers_read": frozenset({"x-sms-from", "x-other"})}, "x-sms-from)"),
        ({}, ": x-junk, x-sms-from)"),
    ],
)
async def test_a_plugin_learns_which_header_it_missed(more: dict[str, Any], named: str):
    """A provider that declares its headers gets those named, any other one all not covered."""
    own = "X-SMS-From: +393301234567\r\nX-Junk: 1\r\n" + OWN
    policy = TrustSettings.model_validate(AUTHSERV)
    reader = Reader([plugin(**more)], {"acme": policy}, lambda: NOW)
    result = await reader.read(Arrival(IMAP, "inbox", mail_of(stamp(), BORDER, own=own), NOW))
    assert isinstance(result, Unreadable)
    assert result.detail.startswith("no sender: None (not read, ")
    assert result.detail.endswith(named)


async def test_reading_changes_nothing():
    """A mail's covered headers are a plain mapping: looking up a hidden one leaves no record."""
    raw = mail_of(stamp(), BORDER, own="X-SMS-From: +393301234567\r\n" + OWN)
    email = mail.decode(raw)
    assert isinstance(email, Email)
    covered = trust.only_covered(email, Trust("dkim", "acme.example", frozenset({"from"})))
    before = vars_of(covered.headers)
    assert covered.headers.get("x-sms-from") is None
    assert vars_of(covered.headers) == before
    assert list(covered.headers) == ["from"]


def vars_of(value: Any) -> str:
    """Return everything that an object holds, slots included."""
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    return repr({name: getattr(value, name) for name in slots if hasattr(value, name)}) + repr(
        value
    )
