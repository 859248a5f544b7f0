"""`[posts]` takes a public URL that providers can call, and nothing that only looks like one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bridge.config.posts import PostsSettings


@pytest.mark.parametrize(
    "url",
    [
        "sms.example.com", "ftp://sms.example.com", "https://", "https:///in", "https://a:99999",
        "https://a:b", "https://user@a", "https://@a", "https://a?", "https://a/?x=1", "https://a#",
        "https://a/#x", "https://a b", "https://a/\t", " https://a", "https://[::1", "https://a\n",
    ],
)  # fmt: skip
def test_what_is_no_public_url(url: str) -> None:
    """Each would be found only as a provider's signature is refused."""
    with pytest.raises(ValidationError, match="public_url"):
        PostsSettings(public_url=url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://sms.example.com", "https://sms.example.com"),
        ("https://sms.example.com/", "https://sms.example.com"),
        ("https://sms.example.com:8443/bridge/", "https://sms.example.com:8443/bridge"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ("https://bücher.example", "https://bücher.example"),
    ],
)
def test_what_is_one(url: str, kept: str) -> None:
    """As it is in the provider's console, which signs it so."""
    assert PostsSettings(public_url=url).public_url == kept
