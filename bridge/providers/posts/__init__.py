"""The providers whose posts are read: one file a company, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.config.values import nearest
from bridge.errors import ConfigError
from bridge.providers.posts import (
    agile,
    capcom6,
    mobile_api_connect,
    standard_webhooks,
    twilio,
    url_networks,
)
from bridge.providers.posts.base import Answer, Build, Context, Posts

__all__ = ["FORMATS", "Answer", "Posts", "build_one", "url_of"]

FORMATS: Final[Mapping[str, Build]] = MappingProxyType({
    "agile": agile.build,
    "url_networks": url_networks.build,
    "twilio": twilio.build,
    "mobile_api_connect": mobile_api_connect.build,
    "capcom6": capcom6.build,
    "standard_webhooks": standard_webhooks.build,
})  # fmt: skip


def build_one(provider: ProviderSettings, key: str, settings: PostsSettings) -> Posts:
    """Build the posts of one provider; `key` is its path in the config. Raises ConfigError."""
    assert provider.post is not None
    wanted = provider.preset or provider.name
    if wanted not in FORMATS:
        near = nearest(wanted, list(FORMATS))
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(FORMATS))}"
        raise ConfigError(f"{key}.post", f"no posts of {wanted!r} are known here, {hint}")
    urls = [url_of(settings, provider.name, token) for token in provider.post.all_tokens]
    known = [each for each in urls if each is not None]
    return FORMATS[wanted](Context(provider, provider.post, key, known))


def url_of(settings: PostsSettings, provider: str, token: str) -> str | None:
    """Return the public URL of a provider's posts; None if the config doesn't name the host."""
    if settings.public_url is None:
        return None
    return f"{settings.public_url}{posts.PREFIX}{provider}/{token}"
