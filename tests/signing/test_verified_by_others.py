"""Each scheme's signature is verified by a program or library that isn't ours."""

from __future__ import annotations

import base64
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from bridge.errors import SigningError
from bridge.signing import SCHEMES, Adjustable, Asymmetric, body_hex, standard_webhooks_ed25519
from bridge.signing.body_hex import BodyHex
from bridge.signing.stripe import Stripe
from bridge.signing.timestamped_hex import TimestampedHex
from bridge.signing.twilio import Twilio
from tests.patience import PATIENCE
from tests.servers.programs import need

BODY = '{"type":"sms.received","data":{"body":"è € 🎉"}}'.encode()
NOW = 1775651452
TEXT_SCHEMES = ("hex", "timestamped-hex", "stripe", "twilio", "mobile-api-connect")


def openssl(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [need("openssl"), *arguments], input=given, capture_output=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip


def openssl_hmac(key: bytes, signed: bytes) -> str:
    made = openssl(
        "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-r", given=signed
    )
    return made.stdout.decode().split()[0]


@pytest.mark.processes
def test_openssl_makes_the_same_hex() -> None:
    """`hex` is the HMAC of the body alone, behind the prefix, in the header that is named."""
    scheme = SCHEMES["hex"]
    key = scheme.parse_secret(scheme.generate_secret())
    expected = openssl_hmac(key, BODY)
    assert scheme.headers([key], "msg_1", NOW, BODY) == [
        ("webhook-id", "msg_1"),
        ("X-Signature", f"sha256={expected}"),
    ]
    assert isinstance(scheme, Adjustable)
    named = scheme.with_options("X-Hub-Signature-256", "")
    assert named.headers([key], "msg_1", NOW, BODY)[1] == ("X-Hub-Signature-256", expected)
    assert scheme.headers([key], "msg_1", NOW, BODY)[1][0] == "X-Signature"


@pytest.mark.processes
def test_openssl_makes_the_same_timestamped_hex() -> None:
    """`timestamped-hex` covers the timestamp that its header shows, a dot, and the body."""
    scheme = SCHEMES["timestamped-hex"]
    key = scheme.parse_secret(scheme.generate_secret())
    signed = dict(scheme.headers([key], "msg_1", NOW, BODY))
    assert signed["X-Signature"] == openssl_hmac(key, b"%d." % NOW + BODY)
    assert signed["X-Timestamp"] == str(NOW)


@given(text=st.text())
def test_stripes_library_verifies(text: str) -> None:
    """Whatever is signed, Stripe's library verifies, and not with one byte more."""
    scheme = SCHEMES["stripe"]
    secret = scheme.generate_secret()
    body = text.encode("utf-8", "replace")
    signed = dict(scheme.headers([scheme.parse_secret(secret)], "msg_1", int(time.time()), body))
    header = signed["Stripe-Signature"]
    sent = body.decode()
    assert stripe.WebhookSignature.verify_header(sent, header, secret, tolerance=300)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(sent + " ", header, secret, tolerance=300)


def test_stripes_library_verifies_either_secret_and_the_time() -> None:
    """During rotation the new and the old secret verify; an old timestamp is refused."""
    new, old = "whsec_" + "n" * 32, "whsec_" + "o" * 32
    keys = [Stripe().parse_secret(new), Stripe().parse_secret(old)]
    header = dict(Stripe().headers(keys, "msg_1", int(time.time()), BODY))["Stripe-Signature"]
    for secret in (new, old):
        assert stripe.WebhookSignature.verify_header(BODY.decode(), header, secret, tolerance=300)
    stale = dict(Stripe().headers(keys, "msg_1", int(time.time()) - 600, BODY))["Stripe-Signature"]
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        stripe.WebhookSignature.verify_header(BODY.decode(), stale, new, tolerance=300)


def openssl_verifies(folder: Path, public: str, signature: str, signed: bytes) -> bool:
    """Verify a `v1a,…` signature with a `whpk_…` key."""
    raw = base64.b64decode(public.removeprefix("whpk_"))
    der = bytes.fromhex("302a300506032b6570032100") + raw  # RFC 8410's SubjectPublicKeyInfo
    (folder / "key.der").write_bytes(der)
    (folder / "signed").write_bytes(signed)
    (folder / "signature").write_bytes(base64.b64decode(signature.removeprefix("v1a,")))
    return not openssl(
        "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", folder / "key.der",
        "-in", folder / "signed", "-sigfile", folder / "signature",
    ).returncode  # fmt: skip


@pytest.mark.processes
def test_openssl_verifies_ed25519(tmp_path: Path) -> None:
    """During rotation each of two signatures verifies with its public key, and no other message."""
    scheme = SCHEMES["standard-webhooks-ed25519"]
    assert isinstance(scheme, Asymmetric)
    keys = [scheme.parse_secret(scheme.generate_secret()) for _ in range(2)]
    headers = dict(scheme.headers(keys, "msg_1", NOW, BODY))
    assert headers["webhook-timestamp"] == str(NOW)
    signatures = headers["webhook-signature"].split(" ")
    signed = b"msg_1.%d." % NOW + BODY
    for key, signature in zip(keys, signatures, strict=True):
        public = scheme.public_key(key)
        assert signature.startswith("v1a,")
        assert openssl_verifies(tmp_path, public, signature, signed)
        assert not openssl_verifies(tmp_path, public, signature, signed + b" ")
    assert not openssl_verifies(tmp_path, scheme.public_key(keys[1]), signatures[0], signed)


@given(values=st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_twilios_library_verifies(values: dict[str, str]) -> None:
    """Whatever a form holds, empty values too, Twilio's library verifies it, and no other form."""
    url = "https://crm.internal/sms?tenant=a%2Fb"
    scheme = Twilio().with_url(url)
    key = scheme.parse_secret(scheme.generate_secret())
    body = urlencode(values, encoding="utf-8", errors="replace").encode()
    signed = dict(scheme.headers([key], "msg_1", NOW, body))["X-Twilio-Signature"]
    validator = RequestValidator(key.decode())
    received = dict(parse_qsl(body.decode(), keep_blank_values=True))
    assert validator.validate(url, received, signed)
    assert not validator.validate(url, {**received, "added": ""}, signed)
    assert not validator.validate(url + "&x=1", received, signed)
    assert not RequestValidator(key.decode()[::-1]).validate(url, received, signed)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_sends_the_id(name: str) -> None:
    """Whatever the scheme, the receiver can recognise a repetition."""
    scheme = SCHEMES[name]
    keys = [] if name == "none" else [scheme.parse_secret(scheme.generate_secret())]
    headers = scheme.headers(keys, "msg_1", NOW, BODY)
    assert headers[0] == ("webhook-id", "msg_1")
    assert len({header.lower() for header, _ in headers}) == len(headers)


def test_an_unsigned_request_has_the_id_alone() -> None:
    """`none` signs nothing and takes no secret."""
    assert SCHEMES["none"].headers([], "msg_1", NOW, BODY) == [("webhook-id", "msg_1")]
    with pytest.raises(SigningError, match="leave the secret out"):
        SCHEMES["none"].parse_secret("s" * 32)
    with pytest.raises(SigningError, match="needs no secret"):
        SCHEMES["none"].generate_secret()


@pytest.mark.parametrize("name", ["hex", "timestamped-hex", "twilio", "mobile-api-connect"])
@pytest.mark.parametrize("keys", [[], [b"a" * 16, b"b" * 16]])
def test_one_signature_needs_one_key(name: str, keys: list[bytes]) -> None:
    """Where a receiver expects one signature, two keys are refused rather than one ignored."""
    with pytest.raises(SigningError, match="set secret, not secrets"):
        SCHEMES[name].headers(keys, "msg_1", NOW, BODY)


@pytest.mark.parametrize("name", ["stripe", "standard-webhooks-ed25519"])
def test_no_key_is_no_signature(name: str) -> None:
    with pytest.raises(SigningError, match="no key"):
        SCHEMES[name].headers([], "msg_1", NOW, BODY)


@pytest.mark.parametrize("name", TEXT_SCHEMES)
@pytest.mark.parametrize("text", ["", "hunter2", " " + "s" * 32, "s" * 32 + "\n"])
def test_a_secret_that_is_weak_or_padded_is_refused_unseen(name: str, text: str) -> None:
    """A short secret, or one with a line break from its file, is refused, and not shown."""
    with pytest.raises(SigningError) as caught:
        SCHEMES[name].parse_secret(text)
    assert "hunter2" not in str(caught.value)
    assert "sss" not in str(caught.value)


def _private(size: int) -> str:
    return "whsk_" + base64.b64encode(bytes(range(65, 65 + size))).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsk_",
        "whsk_" + "#" * 44,
        _private(31),
        _private(33),
        _private(64),  # its second half is not the public key of the first
        _private(32).replace("whsk_", "whpk_"),
        _private(32).replace("whsk_", "whsec_"),
        _private(32) + "\n",
        "whsk_" + "é" * 44,
    ],
)
def test_a_malformed_private_key_is_refused_unseen(text: str) -> None:
    """What is no private key is refused, and no part of it gets into the sentence or its cause."""
    with pytest.raises(SigningError) as caught:
        standard_webhooks_ed25519.parse_secret(text)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for start in range(6, len(text) - 5):
        assert text[start : start + 6] not in str(caught.value)


def test_a_private_key_may_come_without_its_public_key() -> None:
    """32 bytes are a private key too, and make the same signatures."""
    text = standard_webhooks_ed25519.generate_secret()
    seed = base64.b64decode(text.removeprefix("whsk_"))[:32]
    short = "whsk_" + base64.b64encode(seed).decode()
    assert standard_webhooks_ed25519.parse_secret(short) == seed
    assert standard_webhooks_ed25519.parse_secret(text) == seed


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "none"])
def test_a_self_test_notices_broken_cryptography(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every scheme that signs refuses to, where the signature comes out differently."""
    monkeypatch.setattr("hmac.digest", lambda key, signed, digest: b"\0" * 32)
    monkeypatch.setattr(standard_webhooks_ed25519, "_base64", lambda data: "AAAA")
    with pytest.raises(SigningError, match="self-test"):
        SCHEMES[name].self_test()


@settings(max_examples=20)
@given(secret=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=16))
def test_any_text_is_a_key(secret: str) -> None:
    """A shared secret from elsewhere is taken as its UTF-8 bytes, as receivers take it."""
    text = secret.strip()
    if len(text) >= 16:
        assert BodyHex().parse_secret(text) == text.encode()
        assert TimestampedHex().parse_secret(text) == text.encode()


def test_the_known_answer_is_githubs() -> None:
    """The example in GitHub's documentation: secret, payload and signature."""
    made = BodyHex().headers([b"It's a Secret to Everybody"], "msg_1", NOW, b"Hello, World!")
    assert made[1][1] == f"sha256={body_hex._KNOWN_ANSWER}"
