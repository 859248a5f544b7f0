"""The providers whose posts are read.

A new company is one file in `presets/` and one line there; or, if it needs more than finding
values, one file here with `build`, and one line below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from types import MappingProxyType
from typing import Final

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.config.values import nearest
from bridge.errors import ConfigError
from bridge.model import Post
from bridge.providers.posts import (
    agile,
    capcom6,
    certificate,
    declared,
    mobile_api_connect,
    presets,
    standard_webhooks,
    twilio,
    url_networks,
)
from bridge.providers.posts.base import (
    CONTENT_TYPES,
    NOT_FOUND,
    Answer,
    Build,
    Client,
    Context,
    Posts,
)

__all__ = [
    "CONTENT_TYPES", "FORMATS", "NOT_FOUND", "Answer", "Client", "Posts", "build_one", "url_of",
]  # fmt: skip


def _declared(name: str, context: Context) -> Posts:
    return declared.build(context, presets.preset(name))


_WRITTEN: Final[Mapping[str, Build]] = {
    "agile": agile.build,
    "url_networks": url_networks.build,
    "twilio": twilio.build,
    "mobile_api_connect": mobile_api_connect.build,
    "capcom6": capcom6.build,
    "standard_webhooks": standard_webhooks.build,
}  # fmt: skip
FORMATS: Final[Mapping[str, Build]] = MappingProxyType(
    {**_WRITTEN, **{name: partial(_declared, name) for name in presets.DECLARED}}
)


def build_one(provider: ProviderSettings, key: str, settings: PostsSettings) -> Posts:
    """Build the posts of one provider; `key` is its path in the config. Raises ConfigError."""
    assert provider.post is not None
    urls = [url_of(settings, provider.name, token) for token in provider.post.all_tokens]
    known = [each for each in urls if each is not None]
    context = Context(provider, provider.post, key, known)
    built = _only_from(provider.post.networks, _build(context))
    names = provider.post.certificate_names
    if names and not (settings.tls_client_ca and settings.tls_listen):
        raise ConfigError(
            f"{key}.post.certificate_names",
            "nothing asks for a certificate: set tls_listen and tls_client_ca in [posts]",
        )
    return certificate.require(names, built) if names else built


def _build(context: Context) -> Posts:
    provider, template = context.settings, context.post.template
    wanted = provider.preset or provider.name
    if template is not None and provider.preset is None:
        try:
            return declared.build(context)
        except ConfigError as error:
            if wanted not in presets.DECLARED:
                raise
            # An operator who only meant to adapt a built-in format needs this hint.
            hint = f'to lay it over the built-in format, write preset = "{wanted}" above'
            raise ConfigError(error.key, f"{error.problem}; {hint}") from None
    if wanted not in FORMATS:
        near = nearest(wanted, list(FORMATS))
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(FORMATS))}"
        raise ConfigError(
            f"{context.key}.post",
            f"no posts of {wanted!r} are known here, {hint} (a [providers.post.template] "
            "declares others)",
        )
    if template is not None and wanted not in presets.DECLARED:
        raise ConfigError(
            f"{context.key}.post.template",
            f"the posts of {wanted} are read in Python and can't be changed: drop the template, "
            "or drop preset and declare them completely",
        )
    if wanted not in presets.DECLARED:
        context.without_password()
    return FORMATS[wanted](context)


def _only_from(networks: Sequence[IPv4Network | IPv6Network], built: Posts) -> Posts:
    """Admit only callers of these networks, if there are any."""
    if not networks:
        return built

    def admit(post: Post, client: Client, at: datetime) -> str | None:
        address = ip_address(client.address) if client.address is not None else None
        if address is None or not any(address in network for network in networks):
            return "the client's address is in none of the networks"
        return built.admit(post, client, at)

    return replace(built, admit=admit)


def url_of(settings: PostsSettings, provider: str, token: str) -> str | None:
    """Return the public URL of a provider's posts; None if the config doesn't name the host."""
    if settings.public_url is None:
        return None
    return f"{settings.public_url}{posts.PREFIX}{provider}/{token}"
