"""Every provider reads its fixtures; what the presets declare."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, SmsMessage, Trust
from bridge.providers.posts import FORMATS, Client, build_one, presets
from tests.providers.posts.everyone import (
    CASES,
    FIXTURES,
    PROVEN,
    ZONES,
    built,
    fixture,
    for_case,
    judge,
    provider_of,
    signed,
)
from tests.providers.posts.signers import (
    HOST,
    HS256,
    NOW,
    SECRET,
    SIGNERS,
    TOKEN,
    Keys,
    jwt,
    with_headers,
)


def test_every_provider_has_fixtures_and_a_proof() -> None:
    """A preset without them is not done."""
    assert set(SIGNERS) == set(FORMATS)
    assert {provider_of(case) for case in CASES} == set(FORMATS)
    assert set(presets.DECLARED) == {
        each.stem for each in Path(presets.__file__).parent.glob("*.toml")
    }


@pytest.mark.parametrize("name", presets.DECLARED)
def test_a_preset_is_a_table_that_can_be_copied(name: str) -> None:
    """It has the name, says in a line what it reads, and holds no secret of its own."""
    (table,) = tomllib.loads(presets.text(name))["providers"]
    assert table["name"] == name
    assert len(presets.summary(name)) > 10
    post = table["post"]
    assert post["token"].keys() == {"credential"}
    for secret in {"secret", "password"} & post.keys():
        assert post[secret].keys() == {"credential"}
        post[secret] = Keys().configured(name)
    post["token"] = TOKEN
    zone = table.get("time_zone") or ZONES.get(name)
    settings = ProviderSettings.model_validate({**table, "time_zone": zone})
    build_one(settings, "providers.0", PostsSettings(public_url=HOST))


@pytest.mark.parametrize("case", CASES)
def test_a_fixture_is_read(case: str) -> None:
    """As its JSON beside it says: messages in order, or why it is none."""
    expected = json.loads((FIXTURES / f"{case}.json").read_text(encoding="utf-8"))
    provider = for_case(case)
    found = provider.read(provider.stored(signed(case)), NOW)
    if isinstance(expected, str):
        assert isinstance(found, Ignored), found
        assert found.detail == expected
        return
    messages = (found,) if isinstance(found, SmsMessage) else found
    assert isinstance(messages, tuple), messages
    assert [
        {
            "from": each.sender, "to": each.recipient, "body": each.body,
            "received_at": each.received_at.isoformat(), "id": each.provider_message_id,
        }
        for each in messages
    ] == expected  # fmt: skip


def test_bird_may_try_again_hours_later() -> None:
    """Its retries carry the time of the first try; refusing them would lose the SMS."""
    provider = for_case("bird")
    assert isinstance(judge(provider, signed("bird", at=NOW - timedelta(hours=23))), Trust)
    assert isinstance(judge(provider, signed("bird", at=NOW - timedelta(hours=26))), str)


def test_the_algorithm_of_a_token_is_not_its_own_choice() -> None:
    """No `none`, no other hash, and no critical extension that we don't know."""
    provider, post = for_case("vonage_messages"), fixture("vonage_messages")
    claims = json.loads('{"iat": 0, "payload_hash": ""}')
    claims["iat"] = int(NOW.timestamp())
    claims["payload_hash"] = hashlib.sha256(post.body).hexdigest()

    def judged(header: dict[str, object], claims: dict[str, object]) -> Trust | str:
        token = jwt(claims, Keys(), header)
        return judge(provider, with_headers(post, {"authorization": f"Bearer {token}"}))

    assert isinstance(judged(dict(HS256), claims), Trust)
    assert isinstance(judged({"alg": "HS256"}, {**claims, "exp": claims["iat"] + 1}), Trust)
    for header in (
        {"alg": "none"}, {"alg": "hs256"}, {"alg": "HS512"}, {}, {"alg": "HS256", "crit": ["b64"]},
    ):  # fmt: skip
        assert isinstance(judged(header, claims), str), header
    for wrong in (
        {"payload_hash": None}, {"payload_hash": "0" * 64}, {"iat": None}, {"iat": "soon"},
        {"iat": True}, {"exp": claims["iat"] - 301}, {"nbf": claims["iat"] + 301},
    ):  # fmt: skip
        kept = {key: value for key, value in {**claims, **wrong}.items() if value is not None}
        assert isinstance(judged(dict(HS256), kept), str), wrong
    token = jwt(claims, Keys(), HS256)
    unsigned = with_headers(post, {"authorization": f"Bearer {token.rpartition('.')[0]}."})
    assert isinstance(judge(provider, unsigned), str)


@pytest.mark.parametrize("name", ["46elks", "bandwidth", "smseagle", "smseagle.post", "httpsms"])
def test_a_callers_secret_is_not_stored(name: str) -> None:
    """Neither in a header nor in a parameter; the rest is stored as it was sent."""
    provider, post = for_case(name), signed(name)
    stored = provider.stored(post)
    assert stored == replace(fixture(name), headers=stored.headers)
    assert "authorization" not in stored.headers
    assert provider.admit(stored, Client(), NOW) is not None


def test_what_is_needed_to_check_again_is_stored() -> None:
    """A token that covers the body is a signature."""
    stored = for_case("vonage_messages").stored(signed("vonage_messages"))
    assert stored.headers["authorization"].startswith("Bearer ")
    assert "telnyx-timestamp" in for_case("telnyx").stored(signed("telnyx")).headers


def test_an_optional_signature() -> None:
    """Without a secret the token alone counts, and the trust says so."""
    for name in ("vonage_sms", "sinch", "httpsms"):
        verdict = judge(built(name), fixture(name))
        assert isinstance(verdict, Trust)
        assert verdict.by == "token"
    with pytest.raises(ConfigError, match="signs its posts"):
        built("telnyx")


def test_only_named_networks_may_call() -> None:
    """Of a declared provider and of one in Python."""
    for name, secrets in (("infobip", ()), ("twilio", (SECRET,))):
        provider = built(name, *secrets, networks=["192.0.2.0/24"])
        post = fixture("infobip")
        assert provider.admit(post, Client("192.0.2.77"), NOW) is None
        assert provider.admit(post, Client("198.51.100.1"), NOW) is not None
        assert provider.admit(post, Client(), NOW) is not None


def test_a_zone_is_never_guessed() -> None:
    """SMSEagle sends the local time of an appliance."""
    post = {"token": TOKEN, "to": "+1", "password": SECRET}
    settings = ProviderSettings.model_validate({"name": "smseagle", "post": post})
    with pytest.raises(ConfigError, match="carry no zone"):
        build_one(settings, "providers.0", PostsSettings())


def test_what_answers() -> None:
    """46elks would send an answer's body as an SMS; SignalWire wants XML."""
    elks = for_case("46elks")
    assert (elks.success.status, elks.success.body) == (204, b"")
    wire = for_case("signalwire")
    assert (wire.success.body, wire.success.content_type) == (b"<Response></Response>", "text/xml")


@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 50_000, b"a=1&" * 500, b"%ff=%00&a",
        b'{"data": [], "results": 7, "event": {}, "type": 1}', b'[[], 1, {"type": []}]',
        b'{"type": "mo_text", "from": "\\ud800", "to": "\\u0000", "body": 1e999, "id": "x"}',
    ],
)  # fmt: skip
def test_nonsense_is_a_value(name: str, body: bytes) -> None:
    """Whatever comes with a right token is judged and read without an exception."""
    provider = built(name, Keys().configured(name)) if name in PROVEN else built(name)
    for kind in (posts.FORM, "application/json", ""):
        for query in ("", "a=1&a=2", "%zz=%ff&sig=%00"):
            post = Post("POST", f"/in/{name}", query, {"content-type": kind}, body)
            judge(provider, post)
            read = provider.read(provider.stored(post), NOW)
            assert not isinstance(read, tuple)
            if isinstance(read, SmsMessage):
                read.sender.encode()
            provider.answer(post)


def test_a_signature_is_written_in_one_way() -> None:
    """Base64 that leaves bits over decodes to the same bytes, and is another text."""
    provider, post = for_case("telnyx"), signed("telnyx")
    given = post.headers["telnyx-signature-ed25519"]
    assert given.endswith("==")
    last = given[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = given[:-3] + alphabet[alphabet.index(last) ^ 1] + "=="
    for wrong in (other, given[:-2], f" {given}", given.replace("=", "")):
        refused = judge(provider, with_headers(post, {"telnyx-signature-ed25519": wrong}))
        assert isinstance(refused, str), wrong
