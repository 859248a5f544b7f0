"""The language in which an operator declares a provider's posts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, SmsMessage, Trust, Unreadable
from bridge.providers.posts import Client, Posts, build_one

NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
TOKEN = "0123456789abcdef-token"
SECRET = "the secret of the console"
URL = f"https://sms.example.com/in/acme/{TOKEN}"
FORM = {"from": "+4915112345678", "to": "+4930123456", "text": "hello"}
PLACES = {
    "from": {"parameter": "from"},
    "to": {"parameter": "to"},
    "body": {"parameter": "text"},
}
JSON = {"from": {"json": "$.from"}, "to": {"json": "$.to"}, "body": {"json": "$.text"}}


def built(template: dict[str, object] | None, **more: object) -> Posts:
    table = {key: more.pop(key) for key in ("preset", "time_zone", "region") if key in more}
    post = {"token": TOKEN, "template": template, **more}
    settings = ProviderSettings.model_validate({"name": "acme", "post": post, **table})
    return build_one(settings, "providers.0", PostsSettings(public_url="https://sms.example.com"))


def form(values: dict[str, str], query: str = "", **headers: str) -> Post:
    body = urlencode(values).encode()
    return Post("POST", "/in/acme", query, {"content-type": posts.FORM, **headers}, body)


def document(value: object, **headers: str) -> Post:
    body = json.dumps(value).encode()
    return Post("POST", "/in/acme", "", {"content-type": "application/json", **headers}, body)


def one(provider: Posts, post: Post) -> SmsMessage:
    found = provider.read(provider.stored(post), NOW)
    assert isinstance(found, SmsMessage), found
    return found


def why(provider: Posts, post: Post) -> str:
    found = provider.read(provider.stored(post), NOW)
    assert isinstance(found, Unreadable | Ignored), found
    return found.detail


def test_parameters_of_form_or_query() -> None:
    """Of the form where there is one, and of the query otherwise; never a mixture of both."""
    provider = built({**PLACES, "methods": ["POST", "GET"]})
    assert provider.methods == {"POST", "GET"}
    assert one(provider, form(FORM)).body == "hello"
    assert one(provider, form(FORM, query="text=other&from=1")).body == "hello"
    assert one(provider, Post("GET", "/in/acme", urlencode(FORM), {}, b"")).body == "hello"
    rest = {key: value for key, value in FORM.items() if key != "text"}
    assert "body (text) is missing" in why(provider, form(rest, query="text=other"))
    doubled = Post("GET", "/in/acme", urlencode(FORM) + "&text=2", {}, b"")
    assert "twice" in why(provider, doubled)


def test_json_inside_a_string() -> None:
    """As Amazon SNS wraps it: the text at one path is JSON itself."""
    inner = json.dumps({"originationNumber": "+1", "messageBody": "hi", "n": {"id": 7}})
    place = {"json": "$.Message", "inner": "$.messageBody"}
    provider = built({
        "from": {"json": "$.Message", "inner": "$.originationNumber"}, "body": place,
        "to": {"value": "+15550100"}, "id": {"json": "$.Message", "inner": "$.n.id"},
    })  # fmt: skip
    sms = one(provider, document({"Type": "Notification", "Message": inner}))
    assert (sms.raw.sender, sms.body, sms.provider_message_id) == ("+1", "hi", "7")
    for broken in ("{", "[" * 5000, "7", "{}"):
        detail = why(provider, document({"Message": broken}))
        assert "body ($.Message $.messageBody) is missing" in detail


def test_places_are_tried_in_order() -> None:
    """The first that has a value; a pattern takes a part of it."""
    provider = built({
        "from": [{"header": "X-From"}, {"json": "$['the sender']", "pattern": r"tel:(\+?\d+)"}],
        "to": {"json": "$.to[-1]"}, "body": [{"json": "$.text"}, {"value": ""}],
    })  # fmt: skip
    post = document({"the sender": "tel:+4915112345678;x", "to": [1, "+4930123456"]})
    assert (one(provider, post).sender, one(provider, post).body) == ("+4915112345678", "")
    assert one(provider, document({"to": ["7"]}, **{"x-from": "INFO"})).sender == "INFO"
    assert "from (x-from) is missing" in why(provider, document({"the sender": "+49", "to": ["1"]}))


def test_several_messages_in_one_post() -> None:
    """In order; one that can't be read keeps the whole post in quarantine, and loses nothing."""
    provider = built({
        "each": "$.batches[*].sms[*]", "from": {"json": "@.from"}, "to": {"json": "$.to"},
        "body": {"json": "@.text"}, "id": {"json": "@.id"},
    })  # fmt: skip
    items = [{"from": "+4915112345678", "text": str(n), "id": n} for n in range(4)]
    post = {"to": "+4930123456", "batches": [{"sms": items[:3]}, {"sms": []}, {"sms": items[3:]}]}
    found = provider.read(document(post), NOW)
    assert isinstance(found, tuple)
    assert [each.body for each in found] == ["0", "1", "2", "3"]
    assert isinstance(provider.read(document({**post, "batches": [{"sms": []}]}), NOW), Ignored)
    for wrong in ({}, {"batches": 7}, {"batches": [{"sms": {}}]}, []):
        assert "no list at $.batches[*].sms[*]" in why(provider, document(wrong))
    del items[1]["text"]
    assert "body (@.text) is missing" in why(provider, document(post))
    many = {"to": "1", "batches": [{"sms": [{"from": "1", "text": "x" * 30}] * 2000}]}
    assert "too many" in why(provider, document(many))


def test_events_and_what_is_ignored() -> None:
    """Another event is ignored; a post without its kind is quarantined, since it may be an SMS."""
    provider = built({
        **JSON, "event": {"json": "$.type"}, "events": ["sms", "mms"],
        "ignore": [{"why": "a test", "place": {"json": "$.text"}, "matches": "^ping$"}],
    })  # fmt: skip
    assert one(provider, document({**FORM, "type": "mms"})).body == "hello"
    assert why(provider, document({**FORM, "type": "status"})) == "another event than sms, mms"
    assert why(provider, document({**FORM, "type": "sms", "text": "ping"})) == "a test"
    missing = provider.read(document(FORM), NOW)
    assert isinstance(missing, Unreadable)
    assert "$.type, the kind of event, is missing" in missing.detail


def test_times() -> None:
    """In the provider's zone; unreadable ones quarantine, and a missing one is the arrival's."""
    provider = built(
        {**PLACES, "date": {"parameter": "at"}, "date_format": ["%d.%m.%Y %H:%M", "epoch"]},
        time_zone="Europe/Berlin",
    )
    local = one(provider, form({**FORM, "at": "08.04.2026 14:30"}))
    assert local.received_at.isoformat() == "2026-04-08T14:30:00+02:00"
    assert one(provider, form({**FORM, "at": "1775651452"})).has_own_time
    absent = one(provider, form(FORM))
    assert (absent.received_at, absent.has_own_time) == (NOW, False)
    assert "is not in a format" in why(provider, form({**FORM, "at": "noon"}))


@pytest.mark.parametrize(
    ("body", "type_", "answers"),
    [
        ('{"code":0,"id":"{id}"}', "application/json", b'{"code":0,"id":"A%22-1%3C%3E"}'),
        ("ACK/{id}", "text/plain", b"ACK/A%22-1%3C%3E"),
        ("-1", "text/plain; charset=utf-8", b"-1"),
    ],
)
def test_the_answer(body: str, type_: str, answers: bytes) -> None:
    """With the provider's own id in it, which can't break out of the answer."""
    provider = built({**PLACES, "id": {"parameter": "id"}, "answer": {"body": body, "type": type_}})
    answer = provider.answer(form({**FORM, "id": 'A"-1<>'}))
    assert (answer.status, answer.body, answer.content_type) == (200, answers, type_)
    assert b"{id}" not in provider.answer(form({})).body


def signed(at: str = str(int(NOW.timestamp())), **changed: object) -> dict[str, object]:
    return {
        "algorithm": "hmac-sha256", "place": {"header": "X-Sig"}, "signed": "{body}", **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "text", "algorithm"),
    [
        ({"signed": "{method}|{body}"}, b"POST|%b", "sha256"),
        ({"signed": "{{{body}}}"}, b"{%b}", "sha256"),
        ({"signed": "{body_sha256_hex}"}, b"%h", "sha256"),
        ({"signed": "{body_sha256_base64}", "algorithm": "hmac-sha512"}, b"%6", "sha512"),
        ({"signed": "{url}\n{parameters}", "algorithm": "hmac-sha1"}, b"%u\n%p", "sha1"),
        ({"signed": "{url_sha256_hex}{body}{secret}"}, b"%U%b%s", "sha256"),
    ],
)
@pytest.mark.parametrize("encoding", ["hex", "base64", "base64url"])
def test_a_signature_is_put_together(
    settings: dict[str, object], text: bytes, algorithm: str, encoding: str
) -> None:
    """What is signed, with which algorithm, in which encoding."""
    provider = built({**PLACES, "signature": signed(**settings, encoding=encoding, prefix="v1=")},
                     secret=SECRET)  # fmt: skip
    post = form(FORM)
    digest = hashlib.sha256(post.body)
    for mark, value in (
        (b"%b", post.body), (b"%h", digest.hexdigest().encode()), (b"%u", URL.encode()),
        (b"%6", base64.b64encode(digest.digest())), (b"%s", SECRET.encode()),
        (b"%U", hashlib.sha256(URL.encode()).hexdigest().encode()),
        (b"%p", b"from+4915112345678texthelloto+4930123456"),
    ):  # fmt: skip
        text = text.replace(mark, value)
    made = hmac.new(SECRET.encode(), text, algorithm).digest()
    written = {
        "hex": made.hex(), "base64": base64.b64encode(made).decode(),
        "base64url": base64.urlsafe_b64encode(made).rstrip(b"=").decode(),
    }[encoding]  # fmt: skip
    verdict = provider.verify(form(FORM, **{"x-sig": f"v1={written}"}), NOW)
    assert isinstance(verdict, Trust), verdict
    assert verdict.by == "signature"
    for wrong in (written, f"v1={written}=", f"V1={written}", f"v1={written[1:]}", "v1="):
        assert isinstance(provider.verify(form(FORM, **{"x-sig": wrong}), NOW), str), wrong


@pytest.mark.parametrize(("key", "secret"), [("hex", "00ff10"), ("base64", "AP8Q")])
def test_a_key_may_be_encoded(key: str, secret: str) -> None:
    """In hex or base64, and several while rotating."""
    provider = built({**JSON, "signature": signed(key=key)}, secrets=["aaaa", secret])
    post = document(FORM)
    made = hmac.new(b"\x00\xff\x10", post.body, "sha256").hexdigest()
    assert isinstance(provider.verify(document(FORM, **{"x-sig": made}), NOW), Trust)


def test_an_unsigned_query_is_not_read() -> None:
    """A signed body that is no form leaves the query open to anyone on the way."""
    template = {**PLACES, "body": [{"json": "$.text"}, {"parameter": "text"}]}
    provider = built({**template, "signature": signed()}, secret=SECRET)
    post = document({"status": "delivered"})
    made = hmac.new(SECRET.encode(), post.body, "sha256").hexdigest()
    added = Post("POST", "/in/acme", urlencode(FORM), {**post.headers, "x-sig": made}, post.body)
    assert provider.verify(added, NOW) == "the signature doesn't cover the query"


def test_a_signature_of_the_time_alone() -> None:
    """As SmsForwarder makes it: it proves the caller, is not stored, and the trust says so."""
    provider = built(
        {
            **PLACES,
            "signature": signed(
                place={"parameter": "sign"}, signed="{timestamp}\n{secret}", encoding="base64",
                timestamp={"parameter": "ts"}, timestamp_unit="ms", tolerance="1m",
            ),
        },
        secret=SECRET,
    )  # fmt: skip

    def made(at: int) -> Post:
        text = f"{at}\n{SECRET}".encode()
        sign = base64.b64encode(hmac.new(SECRET.encode(), text, "sha256").digest()).decode()
        return form({**FORM, "ts": str(at), "sign": sign})

    now = int(NOW.timestamp() * 1000)
    assert provider.admit(made(now + 59_000), Client(), NOW) is None
    assert provider.admit(made(now - 61_000), Client(), NOW) is not None
    assert provider.admit(form({**FORM, "ts": str(now)}), Client(), NOW) is not None
    stored = provider.stored(made(now))
    assert b"sign=" not in stored.body
    verdict = provider.verify(stored, NOW)
    assert isinstance(verdict, Trust)
    assert verdict.by == "token"
    assert "the body is not signed" in verdict.detail


@pytest.mark.parametrize(
    ("login", "shown"),
    [
        ({"kind": "basic"}, {"authorization": "BASIC " + base64.b64encode(
            f"me:{SECRET}".encode()).decode()}),
        ({"kind": "bearer"}, {"authorization": f"Bearer {SECRET}"}),
        ({"kind": "header", "name": "X-Key"}, {"x-key": SECRET}),
        ({"kind": "parameter", "name": "key"}, {}),
    ],
)  # fmt: skip
def test_logins(login: dict[str, object], shown: dict[str, str]) -> None:
    """The secret is compared whole, and is stored nowhere."""
    provider = built({**PLACES, "login": login}, passwords=["new", SECRET], username="me")
    values = {**FORM, "key": SECRET} if login["kind"] == "parameter" else FORM
    post = form(values, **shown)
    assert provider.admit(post, Client(), NOW) is None
    stored = provider.stored(post)
    assert SECRET.encode() not in posts.encode(stored)
    assert "key" not in stored.body.decode()
    assert one(provider, post).body == "hello"
    for name, value in shown.items():
        for wrong in ("", value[:-1], f"{value}x", value.swapcase(), "\udcff"):
            assert provider.admit(form(values, **{name: wrong}), Client(), NOW) is not None
    assert provider.admit(form(FORM), Client(), NOW) is not None
    assert provider.admit(form({**FORM, "key": "wrong"}), Client(), NOW) is not None


def test_a_login_and_a_signature() -> None:
    """Both must be right; the password is not stored, and the signature is."""
    provider = built(
        {**JSON, "login": {"kind": "header", "name": "X-Key"}, "signature": signed()},
        secret=SECRET,
        password="pw",
    )
    post = document(FORM)
    made = hmac.new(SECRET.encode(), post.body, "sha256").hexdigest()
    genuine = document(FORM, **{"x-sig": made, "x-key": "pw"})
    assert provider.admit(genuine, Client(), NOW) is None
    assert (
        provider.admit(document(FORM, **{"x-sig": made, "x-key": SECRET}), Client(), NOW)
        is not None
    )
    stored = provider.stored(genuine)
    assert stored.headers.keys() == {"content-type", "x-sig"}
    verdict = provider.verify(stored, NOW)
    assert isinstance(verdict, Trust)
    assert verdict.by == "signature"
    assert isinstance(provider.verify(document(FORM, **{"x-key": "pw"}), NOW), str)


def test_a_preset_is_adapted_key_by_key() -> None:
    """What is set replaces the preset's; the rest stays."""
    provider = built({"body": {"json": "@.cleanText"}}, preset="infobip")
    post = document({"results": [{"from": "1", "to": "2", "text": "A b", "cleanText": "b"}]})
    assert one(provider, post).body == "b"


@pytest.mark.parametrize(
    ("template", "more", "key", "says"),
    [
        ({}, {}, "providers.0.post.template.from", "is missing"),
        ({"from": {"value": "1"}}, {}, "providers.0.post.template.body", "is missing"),
        ({**PLACES, "to": None}, {}, "providers.0.post.to", "set to in"),
        ({**PLACES, "date": {"parameter": "x"}}, {}, "providers.0.post.template.date_format",
         "is missing"),
        ({**PLACES, "date": {"parameter": "x"}, "date_format": "%d.%m.%Y %H:%M"}, {},
         "providers.0.time_zone", "carry no zone"),
        (PLACES, {"secret": "x"}, "providers.0.post.secret", "signs nothing"),
        ({**PLACES, "signature": signed()}, {}, "providers.0.post.secret", "signs its posts"),
        ({**PLACES, "signature": signed(key="hex")}, {"secret": "xyz"}, "providers.0.post.secret",
         "must be a key in hex"),
        ({**PLACES, "signature": signed(algorithm="ed25519", key="base64")}, {"secret": "AAAA"},
         "providers.0.post.secret", "32 bytes"),
        ({**PLACES, "signature": signed(), "id": {"header": "X-Id"}}, {"secret": "x"},
         "providers.0.post.template", "x-id is not signed"),
        ({**PLACES, "login": {"kind": "basic"}}, {"password": "x"}, "providers.0.post.username",
         "set username"),
        ({**PLACES, "login": {"kind": "bearer"}}, {}, "providers.0.post.password", "set the one"),
        (PLACES, {"passwords": ["x"]}, "providers.0.post.passwords", "shows none"),
        (None, {"preset": "agile", "username": "x", "time_zone": "Europe/Rome"},
         "providers.0.post.username", "shows none"),
        ({**PLACES, "signature": signed(), "login": {"kind": "parameter", "name": "key"}},
         {"secret": "x", "password": "y"}, "providers.0.post.template.login.kind", "header"),
        (PLACES, {"preset": "agile"}, "providers.0.post.template", "read in Python"),
        (PLACES, {"preset": "telnix"}, "providers.0.post", "did you mean 'telnyx'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(
    template: dict[str, object] | None, more: dict[str, object], key: str, says: str
) -> None:
    """With the key that is to be changed."""
    with pytest.raises(ConfigError, match=says) as caught:
        built(template, **more)
    assert caught.value.key == key


def test_a_signed_url_needs_a_public_one() -> None:
    """It is never taken from a request."""
    template = {**PLACES, "signature": signed(signed="{url}{body}")}
    settings = ProviderSettings.model_validate(
        {"name": "acme", "post": {"token": TOKEN, "template": template, "secret": "x"}}
    )
    with pytest.raises(ConfigError, match="public one"):
        build_one(settings, "providers.0", PostsSettings())


TWO = {"from": {"value": "+4930123456"}, "to": {"value": "+4930123456"}}


@pytest.mark.parametrize(
    ("template", "items"),
    [
        ({"body": {"json": "$.text", "pattern": "a.{190}c"}}, 1),
        ({"body": {"json": "$.text"}, "ignore": [
            {"place": {"json": "$.text"}, "matches": "a.{190}c", "why": "x"}]}, 1),
        ({"body": {"value": "x"}, "each": "$.m[*]",
          "id": {"json": "$.text", "pattern": "(a.{150})c"},
          "answer": {"body": "{id}", "type": "text/plain"}}, 30),
        ({"body": {"value": "x"}, "each": "$.m[*]", "ignore": [
            {"place": {"json": "$.text"}, "matches": "a(?s:.*)c", "why": "x"}]}, 30),
    ],
)  # fmt: skip
def test_patterns_search_so_much_of_a_post_and_no_more(
    template: dict[str, object], items: int
) -> None:
    """What would hold the loop goes to quarantine, by count; with less of it, it is read."""
    provider = built({**TWO, **template})
    word = "".join(random.Random(1).choices("ab", k=200_000))
    long = {"text": word, "m": [{}] * items}
    assert "patterns are tried on" in why(provider, document(long))
    began = time.process_time()
    why(provider, document(long))
    assert time.process_time() - began < 0.05
    began = time.process_time()
    provider.answer(document(long))
    assert time.process_time() - began < 0.05
    assert "patterns" not in str(provider.read(document({**long, "text": word[:100]}), NOW))


def test_matches_without_a_value_are_passed_over_so_often_and_no_more() -> None:
    """Two hundred of them in each of 200 items would take a third of a second."""
    place = {"json": "@.text", "pattern": "({:.)*"}
    provider = built({**TWO, "each": "$.m[*]", "body": place})
    items = document({"m": [{"text": "ab" * 80}] * 200})
    began = time.process_time()
    assert "without giving a value" in why(provider, items)
    assert time.process_time() - began < 0.1
    few = document({"from": "1", "m": [{"text": "ab" * 80 + "{:x"}] * 10})
    found = provider.read(few, NOW)
    assert isinstance(found, tuple)
    assert [each.body for each in found] == ["{:x"] * 10


def test_patterns_in_items_search_each_item_once() -> None:
    """Fifty SMS in a long post are read with a common pattern."""
    place = {"json": "@.text", "pattern": r"^Code (\S+)"}
    provider = built({**TWO, "each": "$.m[*]", "body": place})
    found = provider.read(document({"m": [{"text": "Code 1 " + "a" * 1500}] * 50}), NOW)
    assert isinstance(found, tuple)
    assert [each.body for each in found] == ["1"] * 50


def test_what_is_outside_of_the_items_is_looked_for_once() -> None:
    """Forty SMS beside a long text, which is JSON of its own and which a pattern searches."""
    place = {"json": "$.text", "inner": "$.to", "pattern": "(.{5})$"}
    provider = built(
        {"from": {"json": "@.n"}, "to": place, "each": "$.m[*]", "body": {"value": "x"}}
    )
    inner = json.dumps({"to": "a" * 150_000 + "30123"})
    long = document({"text": inner, "m": [{"n": f"+4930{n:06}"} for n in range(40)]})
    began = time.process_time()
    found = provider.read(long, NOW)
    assert time.process_time() - began < 0.05
    assert isinstance(found, tuple)
    assert {each.recipient for each in found} == {"30123"}
    assert len({each.sender for each in found}) == 40
