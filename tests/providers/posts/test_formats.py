"""The formats in Python: what their providers' documentation says beyond the fixtures."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, SmsMessage, Trust, Unreadable
from bridge.providers.posts import Posts, build_one
from bridge.providers.posts.twilio import signature

NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
TOKEN = "0123456789abcdef-token"
SECRET = "the secret of the console"
WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()
HOST = PostsSettings(public_url="https://sms.example.com")
FORM = "application/x-www-form-urlencoded"


def built(name: str, *, host: PostsSettings = HOST, **more: object) -> Posts:
    secrets = more.pop("secrets", None)
    post: dict[str, object] = {"token": TOKEN, **({"secrets": secrets} if secrets else {})}
    if "to" in more:
        post["to"] = more.pop("to")
    settings = ProviderSettings.model_validate({"name": name, "post": post, **more})
    return build_one(settings, "providers.0", host)


def form(provider: str, values: Mapping[str, str], **headers: str) -> Post:
    return Post(
        "POST", f"/in/{provider}", "", {"content-type": FORM, **headers}, urlencode(values).encode()
    )


def document(provider: str, value: object, **headers: str) -> Post:
    body = json.dumps(value).encode()
    return Post(
        "POST", f"/in/{provider}", "", {"content-type": "application/json", **headers}, body
    )


def with_headers(post: Post, **headers: str) -> Post:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(post, headers={**post.headers, **named})


def read(provider: Posts, post: Post) -> SmsMessage:
    stored = posts.decode(posts.encode(post))
    assert stored == post
    found = provider.read(stored, NOW)
    assert isinstance(found, SmsMessage), found
    return found


AGILE = {
    "originator": "+393301234567",
    "destination": "+393331234333",
    "date_time": "20260408143052",
    "text": "News ON €",
}


def test_agile() -> None:
    """A form, in local time, acknowledged by `+OK` and nothing else."""
    provider = built("agile", time_zone="Europe/Rome")
    sms = read(provider, form("agile", AGILE))
    assert (sms.sender, sms.recipient, sms.body) == ("+393301234567", "+393331234333", "News ON €")
    assert sms.received_at.isoformat() == "2026-04-08T14:30:52+02:00"
    assert (provider.success.status, provider.success.body) == (200, b"+OK")
    verdict = provider.verify(form("agile", AGILE), NOW)
    assert isinstance(verdict, Trust)
    assert verdict.by == "token"


def test_url_networks() -> None:
    """A form with the provider's own id and a time in Unix seconds."""
    values = {
        "service_id": "7", "from": "+61400000001", "sms_number": "+61400000002", "body": "hi",
        "message_id": "5d2f7c1e-2f6a-4c51-9b0c-0d8f0f4f4a11", "timestamp": "1775651452",
        "webhook_url": "https://a", "webhook_url_fallback": "https://b",
    }  # fmt: skip
    sms = read(built("url_networks"), form("url_networks", values))
    assert sms.provider_message_id == values["message_id"]
    assert sms.received_at.astimezone(UTC).isoformat() == "2026-04-08T12:30:52+00:00"


TWILIO = {
    "MessageSid": "SM1",
    "From": "+14158675309",
    "To": "+18005551212",
    "Body": "hello",
    "NumMedia": "0",
}


def twilio_signed(post: Post, key: str = SECRET, url: str | None = None) -> Post:
    base = url or f"https://sms.example.com/in/twilio/{TOKEN}"
    pairs = posts.parameters(replace(post, query=""))
    assert not isinstance(pairs, str)
    full = f"{base}?{post.query}" if post.query else base
    return with_headers(post, x_twilio_signature=signature(key.encode(), full, pairs))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ],
)
def test_twilios_known_answers(url: str, expected: str) -> None:
    """As Twilio publishes them."""
    values = {
        "CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234",
        "From": "+14158675309", "To": "+18005551212",
    }  # fmt: skip
    assert signature(b"12345", url, values.items()) == expected


def test_twilio() -> None:
    """Signed over URL and parameters; every answer is TwiML; its id is the message's."""
    provider = built("twilio", secrets=[SECRET])
    post = twilio_signed(form("twilio", TWILIO))
    assert isinstance(provider.verify(post, NOW), Trust)
    sms = read(provider, post)
    assert (sms.provider_message_id, sms.body, sms.has_own_time) == ("SM1", "hello", False)
    assert sms.warnings == ("time_from_arrival",)
    for answer in (provider.success, provider.failure):
        assert (answer.body, answer.content_type) == (b"<Response></Response>", "text/xml")
    with_port = twilio_signed(
        form("twilio", TWILIO), url=f"https://sms.example.com:443/in/twilio/{TOKEN}"
    )
    assert isinstance(provider.verify(with_port, NOW), Trust)
    status = form("twilio", {"MessageSid": "SM1", "MessageStatus": "delivered"})
    assert isinstance(provider.read(status, NOW), Ignored)
    media = {key: value for key, value in TWILIO.items() if key != "Body"}
    assert read(provider, form("twilio", media)).body == ""


def test_a_json_post_of_twilio_is_bound_by_its_hash() -> None:
    """The URL is signed, and holds the hash of the body."""
    provider = built("twilio", secrets=[SECRET])
    post = document("twilio", {"a": 1})
    digest = hashlib.sha256(post.body).hexdigest()
    right = twilio_signed(replace(post, query=f"bodySHA256={digest}"))
    assert isinstance(provider.verify(right, NOW), Trust)
    changed = provider.verify(replace(right, body=b'{"a": 2}'), NOW)
    assert changed == "bodySHA256 is not the body's"


MAC = {
    "event": "message.received", "from": "393301234567", "to": "393331234333", "text": "ciao",
    "ref": "r", "receivedAt": "2026-04-08T12:30:52Z",
}  # fmt: skip


CAPCOM = {
    "id": "evt-1", "event": "sms:received",
    "payload": {
        "messageId": "abc", "sender": "+393301234567", "recipient": "+393331234333",
        "message": "ciao", "receivedAt": "2026-04-08T14:30:52.000+02:00",
    },
}  # fmt: skip


EVENT = {
    "type": "sms.received", "timestamp": "2026-04-08T12:30:52Z",
    "data": {
        "id": "msg_01", "from": "+393301234567", "to": "+393331234333", "body": "ciao",
        "received_at": "2026-04-08T14:30:52+02:00",
    },
}  # fmt: skip


@pytest.mark.parametrize("query", ["a=1", "Body=another"])
def test_a_parameter_in_twilios_url_is_signed_too(query: str) -> None:
    """Nobody adds one on the way."""
    provider = built("twilio", secrets=[SECRET])
    post = twilio_signed(form("twilio", TWILIO))
    assert isinstance(provider.verify(replace(post, query=query), NOW), str)
    signed = twilio_signed(replace(form("twilio", TWILIO), query=query))
    assert isinstance(provider.verify(signed, NOW), Trust)
    if query.startswith("Body"):
        assert isinstance(provider.read(signed, NOW), Unreadable)


def test_what_the_json_formats_read() -> None:
    """Numbers without a +, the event's own id, the old name of the sender."""
    mac = read(built("mobile_api_connect", secrets=[SECRET]), document("mobile_api_connect", MAC))
    assert (mac.sender, mac.recipient, mac.provider_message_id) == (
        "+393301234567", "+393331234333", None,
    )  # fmt: skip
    capcom = built("capcom6", secrets=[SECRET])
    sms = read(capcom, document("capcom6", CAPCOM))
    assert (sms.provider_message_id, sms.body) == ("evt-1", "ciao")
    old = {"phoneNumber": "+393301234567", "message": "x", "receivedAt": "2026-04-08T12:30:52Z"}
    without_recipient = document("capcom6", {**CAPCOM, "payload": old})
    missing = capcom.read(without_recipient, NOW)
    assert isinstance(missing, Unreadable)
    assert "[providers.post]" in missing.detail
    ours = built("capcom6", secrets=[SECRET], to="+393331234333")
    assert read(ours, without_recipient).recipient == "+393331234333"
    chained = read(
        built("standard_webhooks", secrets=[WHSEC]), document("standard_webhooks", EVENT)
    )
    assert (chained.provider_message_id, chained.body) == ("msg_01", "ciao")


@pytest.mark.parametrize("nothing", [None, False, [], {}, "", " "])
def test_an_id_that_is_none_is_none(nothing: object) -> None:
    """Else all SMS would have the same id, and all but the first would be taken for repeats."""
    empty = {**CAPCOM, "id": nothing}
    assert (
        read(built("capcom6", secrets=[SECRET]), document("capcom6", empty)).provider_message_id
        is None
    )
    event = {**EVENT, "data": {**EVENT["data"], "id": nothing}}  # type: ignore[dict-item]
    ours = read(built("standard_webhooks", secrets=[WHSEC]), document("standard_webhooks", event))
    assert ours.provider_message_id is None


@pytest.mark.parametrize("kind", [None, 7, {}, ""])
@pytest.mark.parametrize(
    ("name", "post", "key"),
    [
        ("mobile_api_connect", MAC, "event"),
        ("capcom6", CAPCOM, "event"),
        ("standard_webhooks", EVENT, "type"),
    ],
)
def test_a_post_without_its_kind_of_event_may_be_an_sms(
    name: str, post: dict[str, object], key: str, kind: object
) -> None:
    """So it is kept to be looked at, and not ignored."""
    secret = WHSEC if name == "standard_webhooks" else SECRET
    for value in ({**post, key: kind}, {each: post[each] for each in post if each != key}):
        found = built(name, secrets=[secret]).read(document(name, value), NOW)
        assert isinstance(found, Unreadable)
        assert key in found.detail


@pytest.mark.parametrize("event", ["system:ping", "app:started", "sms:sent", "mms:received"])
def test_other_events_need_no_payload(event: str) -> None:
    """capcom6's app sends what is no SMS to the same URL, in whatever form."""
    for payload in ({}, None, {"payload": None}, {"payload": {}}):
        value = {"event": event, **(payload or {})}
        assert isinstance(
            built("capcom6", secrets=[SECRET]).read(document("capcom6", value), NOW), Ignored
        )


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("agile", {}, "time_zone"),
        ("agile", {"time_zone": "Europe/Rome", "secrets": ["x"]}, "signs nothing"),
        ("twilio", {}, "signs its posts"),
        ("twilio", {"secrets": ["x"], "host": PostsSettings()}, "public_url"),
        ("standard_webhooks", {"secrets": ["x"]}, "whsec_"),
        ("agiel", {}, "did you mean 'agile'"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, more: dict[str, object], says: str) -> None:
    """A wrong table is a sentence that names the key."""
    with pytest.raises(ConfigError, match=says):
        built(name, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("agile", {**AGILE, "date_time": "yesterday"}, "date_time is not in a format"),
        ("agile", {**AGILE, "originator": ""}, "originator is missing"),
        ("agile", {**AGILE, "text": "x" * 40_001}, "longer than 40000"),
        ("agile", {**AGILE, "originator": "1" * 129}, "longer than 128"),
    ],
)
def test_what_is_missing_is_named(name: str, values: dict[str, str], says: str) -> None:
    """With the names of what is there, never with a value."""
    found = built(name, time_zone="Europe/Rome").read(form(name, values), NOW)
    assert isinstance(found, Unreadable)
    assert says in found.detail
    assert "393301234567" not in found.detail


def test_a_parameter_twice_is_no_choice() -> None:
    """Two values for one name would let a signature mean either."""
    post = form("agile", AGILE)
    doubled = replace(post, body=post.body + b"&text=another")
    found = built("agile", time_zone="Europe/Rome").read(doubled, NOW)
    assert isinstance(found, Unreadable)
    assert "twice" in found.detail


@pytest.mark.parametrize(("name", "proof"), [
    ("capcom6", {"event": "sms:received"}),
    ("mobile_api_connect", {"event": "message.received"}),
    ("standard_webhooks", {"type": "sms.received"}),
])  # fmt: skip
@pytest.mark.parametrize("odd", ["\ud83d", "\0"])
def test_what_no_database_keeps_is_replaced(name: str, proof: dict[str, str], odd: str) -> None:
    """Half an emoji, where a phone cut the text: it was taken for a bug, or never stored."""
    values = {
        **dict.fromkeys(("from", "sender", "to", "recipient"), f"+39330{odd}"),
        **dict.fromkeys(("text", "message", "body"), f"a{odd}"),
        **dict.fromkeys(("id", "ref"), f"i{odd}"),
        "receivedAt": "2026-04-08T14:30:52+02:00",
        "received_at": "2026-04-08T14:30:52+02:00",
    }
    value = {**values, **proof, "payload": values, "data": values}
    secret = WHSEC if name == "standard_webhooks" else SECRET
    provider = built(name, secrets=[secret])
    sms = read(provider, document(name, value))
    assert sms.body == "a\N{REPLACEMENT CHARACTER}"
    for text in (sms.sender, sms.recipient, sms.raw.sender, sms.raw.recipient):
        assert odd not in text
    assert odd not in (sms.provider_message_id or "")
    spoilt = {
        odd: "",
        **{key: each for key, each in values.items() if key not in ("from", "sender")},
    }
    found = provider.read(
        document(name, {**spoilt, **proof, "payload": spoilt, "data": spoilt}), NOW
    )
    assert isinstance(found, Unreadable)
    assert odd not in found.detail
