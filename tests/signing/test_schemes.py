"""A signing scheme is one file and one line in the registry; all else follows from it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any

import pytest

from bridge import signing
from bridge.config.endpoints import DEFAULT_SCHEME, NO_SCHEME, EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery.endpoint import Endpoint
from bridge.errors import ConfigError, SigningError
from bridge.model import SMS_RECEIVED
from bridge.signing import SCHEMES, CoversForm


class Hex:
    """What the file of a new scheme would hold: hex over the raw body."""

    works = True

    def parse_secret(self, text: str) -> bytes:
        if not text.startswith("hex:"):
            raise SigningError("a secret of this scheme begins with hex:")
        return bytes.fromhex(text.removeprefix("hex:"))

    def generate_secret(self) -> str:
        return "hex:" + "ab" * 32

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        signature = hmac.digest(keys[0], body, "sha256").hex()
        return [("webhook-id", webhook_id), ("x-signature", signature)]

    def self_test(self) -> None:
        if not self.works:
            raise SigningError("the self-test failed")


HEX = Hex()
WITH_HEX = {**SCHEMES, "hex": HEX}  # the one line


def settings(**more: Any) -> EndpointSettings:
    table = {"name": "crm", "url": "https://crm.internal", "secret": HEX.generate_secret()} | more
    return EndpointSettings.model_validate(table)


def build(**more: Any) -> Endpoint:
    return Endpoint.from_settings(0, settings(**more), DeliverySettings(), WITH_HEX)


def test_an_endpoint_signs_by_the_scheme_that_it_names() -> None:
    """The config's `scheme` decides how secrets are parsed and attempts are signed."""
    endpoint = build(scheme="hex")
    assert endpoint.keys == (b"\xab" * 32,)
    headers = dict(endpoint.scheme.headers(endpoint.keys, "msg_1", 1, b"{}"))
    assert headers["x-signature"] == hmac.digest(b"\xab" * 32, b"{}", "sha256").hex()


@pytest.mark.parametrize(
    ("more", "key", "problem"),
    [
        ({"scheme": "hexx"}, "endpoints.0.scheme", "'hexx' is not a signing scheme, did you mean"),
        ({"scheme": "?"}, "endpoints.0.scheme", "known schemes: standard-webhooks, hex"),
        ({"scheme": "hex", "secret": "whsec_x"}, "endpoints.0.secret", "begins with hex:"),
        ({}, "endpoints.0.secret", "begins with whsec_"),
    ],
)
def test_what_a_scheme_cannot_use_is_refused(more: dict[str, Any], key: str, problem: str) -> None:
    """An unknown scheme and another scheme's secret are errors of their keys."""
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        build(**more)
    assert caught.value.key == key


def test_a_scheme_that_signs_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint isn't built with a scheme whose self-test fails on this machine."""
    monkeypatch.setattr(Hex, "works", False)
    with pytest.raises(ConfigError, match="self-test failed"):
        build(scheme="hex")
    with pytest.raises(SigningError, match="self-test failed"):
        signing.find("hex", WITH_HEX)


def test_the_default_is_a_scheme() -> None:
    """The config's default, which can't import the registry, is in it."""
    assert DEFAULT_SCHEME in SCHEMES


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != NO_SCHEME])
def test_each_scheme_makes_secrets_that_it_parses(scheme: str) -> None:
    """An endpoint takes the secret that its scheme has generated."""
    made = SCHEMES[scheme].generate_secret()
    form = "twilio" if isinstance(SCHEMES[scheme], CoversForm) else SMS_RECEIVED
    endpoint = Endpoint.from_settings(
        0, settings(scheme=scheme, secret=made, format=form), DeliverySettings()
    )
    assert endpoint.keys == (SCHEMES[scheme].parse_secret(made),)
