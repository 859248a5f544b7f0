"""Signatures, checked against the specification's independent library."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from bridge.errors import SigningError
from bridge.signing import SCHEMES, standard_webhooks
from bridge.signing.standard_webhooks import generate_secret, headers, parse_secret, sign

BODY = '{"type":"sms.received","data":{"body":"è € 🎉"}}'.encode()


def test_known_answers_hold() -> None:
    """The self-test passes on a sound machine."""
    for scheme in SCHEMES.values():
        scheme.self_test()


def test_self_test_notices_a_wrong_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test fails when the signature comes out differently."""
    monkeypatch.setattr(standard_webhooks, "_signature", lambda key, signed: "AAAA")
    with pytest.raises(SigningError, match="self-test"):
        standard_webhooks.self_test()


@given(
    text=st.text(),
    webhook_id=st.from_regex(r"msg_[A-Za-z0-9]{1,40}", fullmatch=True),
)
def test_independent_library_verifies(text: str, webhook_id: str) -> None:
    """Whatever is signed, the independent library verifies, and with one byte more it does not."""
    secret = generate_secret()
    body = json.dumps({"body": text}, ensure_ascii=True).encode()
    signed = dict(headers([parse_secret(secret)], webhook_id, int(time.time()), body))
    assert Webhook(secret).verify(body, signed) == {"body": text}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", signed)


def test_rotation_verifies_with_either_secret() -> None:
    """While a secret is being replaced, receivers with the new or the old one both verify."""
    new, old, other = generate_secret(), generate_secret(), generate_secret()
    keys = [parse_secret(new), parse_secret(old)]
    signed = dict(headers(keys, "msg_1", int(time.time()), BODY))
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, signed)["type"] == "sms.received"
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, signed)


def test_signatures_are_parted_by_one_space_newest_first() -> None:
    """Several signatures stand in the order of their keys with exactly one space between."""
    first, second = b"a" * 24, b"b" * 24
    both = sign([first, second], "msg_1", 7, BODY)
    assert both == f"{sign([first], 'msg_1', 7, BODY)} {sign([second], 'msg_1', 7, BODY)}"


def test_no_key_is_no_signature() -> None:
    """Without a key nothing is signed, rather than an empty header sent."""
    with pytest.raises(SigningError):
        sign([], "msg_1", 7, BODY)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secret_of_allowed_size_is_its_bytes(size: int) -> None:
    """A secret is the base64 of its key."""
    key = bytes(range(size))
    assert parse_secret("whsec_" + base64.b64encode(key).decode()) == key


def _secret(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(65, 65 + size))).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_####################################",
        "WHSEC_" + _secret(32)[6:],
        _secret(32)[6:],
        _secret(23),
        _secret(65),
        _secret(32) + "\n",
        _secret(32).rstrip("="),
        "whsec_" + "é" * 40,
        _secret(32)[:20] + " " + _secret(32)[20:],
    ],
)
def test_malformed_secret_is_refused_unseen(text: str) -> None:
    """A malformed secret is refused, and no part of it gets into the sentence or its cause."""
    with pytest.raises(SigningError) as caught:
        parse_secret(text)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for start in range(6, len(text) - 5):
        assert text[start : start + 6] not in str(caught.value)


def test_new_secrets_differ_and_parse() -> None:
    """Each new secret is another one, and is read back."""
    made = {generate_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(parse_secret(secret)) for secret in made} == {32}
