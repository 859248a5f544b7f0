"""Signs posts as the providers' documentation says, independently of the code under test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import parse_qsl, quote_plus

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator

from bridge.model import Post

NOW = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
TOKEN = "0123456789abcdef-token"
HOST = "https://sms.example.com"
SECRET = "the secret of the console"
OTHER = "another secret"


@dataclass(frozen=True)
class Keys:
    """What the provider signs with, and what is in the config for it."""

    signing: str = SECRET

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.signing.encode()).digest())

    @property
    def public(self) -> str:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    @property
    def whsec(self) -> str:
        return f"whsec_{b64(hashlib.sha256(self.signing.encode()).digest())}"

    def configured(self, provider: str) -> str:
        others = {"telnyx": self.public, "standard_webhooks": self.whsec}
        return others.get(provider, self.signing)


def url(post: Post) -> str:
    base = f"{HOST}{post.path}/{TOKEN}"
    return f"{base}?{post.query}" if post.query else base


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def mac(key: str, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key.encode(), text, algorithm).digest()


def with_headers(post: Post, headers: Mapping[str, str]) -> Post:
    return replace(post, headers={**post.headers, **headers})


def seconds(at: datetime) -> str:
    return str(int(at.timestamp()))


def twilio(post: Post, keys: Keys, _at: datetime) -> Post:
    """As Twilio's own library computes it."""
    values = dict(parse_qsl(post.body.decode(), keep_blank_values=True))
    made = RequestValidator(keys.signing).compute_signature(url(post), values)
    return with_headers(post, {"x-twilio-signature": made})


def mobile_api_connect(post: Post, keys: Keys, _at: datetime) -> Post:
    return with_headers(post, {"x-mac-signature": f"sha256={mac(keys.signing, post.body).hex()}"})


def capcom6(post: Post, keys: Keys, at: datetime) -> Post:
    made = mac(keys.signing, post.body + seconds(at).encode()).hex()
    return with_headers(post, {"x-signature": made, "x-timestamp": seconds(at)})


def standard_webhooks(post: Post, keys: Keys, at: datetime) -> Post:
    """As the library of Standard Webhooks signs it; an old key's signature stands in front."""
    old, new = (Webhook(each.whsec) for each in (Keys("an old key"), keys))
    made = [each.sign("msg_01", at, post.body.decode()) for each in (old, new)]
    return with_headers(post, {
        "webhook-id": "msg_01", "webhook-timestamp": seconds(at),
        "webhook-signature": " ".join(made),
    })  # fmt: skip


def telnyx(post: Post, keys: Keys, at: datetime) -> Post:
    signature = keys.private.sign(seconds(at).encode() + b"|" + post.body)
    return with_headers(
        post, {"telnyx-signature-ed25519": b64(signature), "telnyx-timestamp": seconds(at)}
    )


def basic(post: Post, keys: Keys, _at: datetime) -> Post:
    pair = b64(f"smsbridge:{keys.signing}".encode())
    return with_headers(post, {"authorization": f"Basic {pair}"})


def textbee(post: Post, keys: Keys, _at: datetime) -> Post:
    return with_headers(post, {"x-signature": mac(keys.signing, post.body).hex()})


def jwt(claims: Mapping[str, object], keys: Keys, header: Mapping[str, object]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(dict(each)).encode()).rstrip(b"=")
        for each in (header, claims)
    ]
    text = b".".join(parts)
    signature = base64.urlsafe_b64encode(mac(keys.signing, text)).rstrip(b"=")
    return (text + b"." + signature).decode()


HS256 = MappingProxyType({"alg": "HS256", "typ": "JWT"})


def httpsms(post: Post, keys: Keys, at: datetime) -> Post:
    now = int(at.timestamp())
    claims = {"aud": url(post), "exp": now + 600, "iat": now, "nbf": now - 600, "sub": "user"}
    return with_headers(post, {"authorization": f"Bearer {jwt(claims, keys, HS256)}"})


def vonage_messages(post: Post, keys: Keys, at: datetime) -> Post:
    digest = hashlib.sha256(post.body).hexdigest()
    claims = {"iat": int(at.timestamp()), "iss": "Vonage", "payload_hash": digest}
    return with_headers(post, {"authorization": f"Bearer {jwt(claims, keys, HS256)}"})


def smseagle(post: Post, keys: Keys, _at: datetime) -> Post:
    more = f"apikey={quote_plus(keys.signing)}"
    if post.method == "GET":
        return replace(post, query=f"{post.query}&{more}")
    return replace(post, body=post.body + b"&" + more.encode())


def plivo(post: Post, keys: Keys, _at: datetime) -> Post:
    values = sorted(parse_qsl(post.body.decode(), keep_blank_values=True))
    text = url(post) + "?" + "".join(name + value for name, value in values) + ".nonce-1"
    return with_headers(post, {
        "x-plivo-signature-v3": f"{b64(mac('an old key', text.encode()))},"
        f"{b64(mac(keys.signing, text.encode()))}",
        "x-plivo-signature-v3-nonce": "nonce-1",
    })  # fmt: skip


def sinch(post: Post, keys: Keys, at: datetime) -> Post:
    text = post.body + f".nonce-1.{seconds(at)}".encode()
    return with_headers(post, {
        "x-sinch-webhook-signature": b64(mac(keys.signing, text)),
        "x-sinch-webhook-signature-nonce": "nonce-1",
        "x-sinch-webhook-signature-timestamp": seconds(at),
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    })  # fmt: skip


def bird(post: Post, keys: Keys, at: datetime) -> Post:
    text = f"{seconds(at)}\n{url(post)}\n".encode() + hashlib.sha256(post.body).digest()
    return with_headers(post, {
        "messagebird-signature": b64(mac(keys.signing, text)),
        "messagebird-request-timestamp": seconds(at),
    })  # fmt: skip


def signalwire(post: Post, keys: Keys, _at: datetime) -> Post:
    signature = mac(keys.signing, url(post).encode() + post.body, "sha1").hex()
    return with_headers(post, {"x-signalwire-signature": signature})


def vonage_sms(post: Post, keys: Keys, at: datetime) -> Post:
    written = post.query if post.method == "GET" else post.body.decode()
    values = dict(parse_qsl(written, keep_blank_values=True))
    written = written.replace(f"timestamp={values['timestamp']}", f"timestamp={seconds(at)}")
    values["timestamp"] = seconds(at)
    text = "".join(
        f"&{name}={values[name].replace('&', '_').replace('=', '_')}" for name in sorted(values)
    )
    signed = f"{written}&sig={mac(keys.signing, text.encode()).hex().upper()}"
    if post.method == "GET":
        return replace(post, query=signed)
    return replace(post, body=signed.encode())


def unsigned(post: Post, _keys: Keys, _at: datetime) -> Post:
    return post


Signer = Callable[[Post, Keys, datetime], Post]
# The proof of each provider's posts, and whether it is a signature of the whole body.
SIGNERS: Mapping[str, tuple[Signer, bool]] = MappingProxyType({
    "agile": (unsigned, False),
    "url_networks": (unsigned, False),
    "twilio": (twilio, True),
    "mobile_api_connect": (mobile_api_connect, True),
    "capcom6": (capcom6, True),
    "standard_webhooks": (standard_webhooks, True),
    "46elks": (basic, False),
    "aws_sns": (unsigned, False),
    "bandwidth": (basic, False),
    "bird": (bird, True),
    "bulksms": (unsigned, False),
    "clicksend": (unsigned, False),
    "httpsms": (httpsms, False),
    "infobip": (unsigned, False),
    "plivo": (plivo, True),
    "signalwire": (signalwire, True),
    "sinch": (sinch, True),
    "smseagle": (smseagle, False),
    "telnyx": (telnyx, True),
    "textbee": (textbee, True),
    "vonage_messages": (vonage_messages, True),
    "vonage_sms": (vonage_sms, True),
})  # fmt: skip
