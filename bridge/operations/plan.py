"""What a config would run, and what in it is probably a mistake; for `smsbridge check`."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl
from sqlalchemy import make_url

from bridge import trust
from bridge.config.address import Address, parse_listen
from bridge.config.endpoints import NO_SCHEME, EndpointSettings
from bridge.config.filters import ConditionSettings
from bridge.config.imap import ImapSettings, InitialSync
from bridge.config.load import ConfigFile
from bridge.config.loopback import is_loopback
from bridge.config.pattern import SearchPattern
from bridge.config.settings import ProviderSettings, Settings
from bridge.delivery.endpoint import scheme_name, timeout_of
from bridge.delivery.routing import is_national
from bridge.errors import ConfigError, StoreUnusable
from bridge.logs import mask
from bridge.numbers import NumberWarning, normalise
from bridge.operations.plain_secrets import plain_secrets
from bridge.signing import SCHEMES, Asymmetric
from bridge.store.sqlite import SqliteFile
from bridge.trust import KINDS, Kinds

_NUMBERS: Final = ("sender", "to")


def describe(settings: Settings, kinds: Kinds = KINDS) -> dict[str, Any]:
    """Describe what would run, without any secret."""
    smtp = settings.smtp
    return {
        "store": make_url(settings.store.url).render_as_string(hide_password=True),
        "smtp": {
            "listen": list(smtp.listen),
            "tls_listen": list(smtp.tls_listen),
            "starttls": smtp.tls_certificate is not None,
            "recipients": [mask(address) for address in smtp.recipients],
        },
        "imap": [
            {
                "name": each.name,
                "server": f"{each.host}:{each.port}",
                "tls": each.tls,
                "folder": each.folder,
                "login": _login(each),
                "first_start": _first_start(each.start),
                "on_message": str(each.on_message),
                "on_quarantine": str(each.on_quarantine),
                "on_ignored": str(each.on_ignored),
            }
            for each in settings.imap
        ],
        "posts": {
            "listen": list(settings.posts.listen),
            "tls_listen": list(settings.posts.tls_listen),
            "public_url": settings.posts.public_url,
        },
        "http": {"listen": settings.http.listen},
        "delivery": {
            name: list(map(str, getattr(settings.delivery, name))) for name in ("hosts", "networks")
        },
        "providers": [
            {
                "name": each.name,
                "preset": each.preset or ("template" if each.template else each.name),
                "time_zone": each.time_zone,
                "region": each.region,
                "senders": list(each.senders) if each.senders is not None else None,
                "trust": trust.describe(each.trust, kinds),
                "posts": each.post is not None,
            }
            for each in settings.providers
        ],
        "evidence": _evidence(settings, kinds),
        "endpoints": [
            {
                "name": each.name,
                "url": _bare(each.url),
                "secrets": len(each.signing_secrets),
                "format": each.format,
                "scheme": scheme_name(each),
                "public_keys": _public_keys(each),
                "login": each.login,
                "headers": list(each.headers),
                "tls_ca": each.tls_ca and str(each.tls_ca),
                "tls_certificate": each.tls_certificate and str(each.tls_certificate),
                "proxy": None if each.proxy is None else _bare(each.proxy),
                "failover": None if each.failover is None else _bare(each.failover.url),
                "providers": list(each.providers),
                "to": [mask(number) for number in each.to],
                "filters": [_filter(table) for table in each.filter],
                "concurrency": each.concurrency or settings.delivery.concurrency,
                "timeout": timeout_of(each, settings.delivery),
                "give_up": each.give_up or settings.delivery.give_up,
                "rate": each.rate and each.rate.text,
                "digest": each.digest,
                "pull_tokens": len(each.all_pull_tokens),
            }
            for each in settings.endpoints
        ],
    }


def warnings(file: ConfigFile, kinds: Kinds = KINDS) -> list[str]:
    """List what is valid but probably a mistake."""
    return [
        *_about_sources(file.settings),
        *_about_providers(file.settings, kinds),
        *_about_endpoints(file.settings),
        *_about_proxies(file.settings),
        *_about_file(file, kinds),
        *_about_database(file.settings),
    ]


def _about_sources(settings: Settings) -> Iterator[str]:
    smtp = settings.smtp
    if not (smtp.listen or smtp.tls_listen or settings.imap or settings.posts.addresses):
        yield "smtp.listen is empty and there is no [[imap]]: no mail can come in"
    posted = [each.name for each in settings.providers if each.post is not None]
    if posted and not settings.posts.addresses:
        yield f"posts.listen is empty: no posts of {', '.join(posted)} can come in"
    if not settings.posts.proxies and any(map(is_open, settings.posts.listen)):
        yield (
            "posts.listen is beyond this machine: tokens and texts can be read on the way; use "
            "tls_listen, or name the proxy in front in posts.proxies"
        )
    if not smtp.recipients and any(map(is_open, (*smtp.listen, *smtp.tls_listen))):
        yield (
            "smtp.recipients is empty while SMTP listens beyond this machine: "
            "mail to any address is taken"
        )
    if settings.http.listen and is_open(settings.http.listen):
        yield "http.listen is beyond this machine: health and metrics are open to the network"


def _about_providers(settings: Settings, kinds: Kinds) -> Iterator[str]:
    if not settings.providers:
        yield "there are no [[providers]]: every mail goes to quarantine"
    for each in settings.providers:
        for warning in about_provider(each, settings, kinds):
            yield f"providers.{each.name}: {warning}"


def about_provider(
    provider: ProviderSettings, settings: Settings, kinds: Kinds = KINDS
) -> Iterator[str]:
    """List what in one provider's table is probably a mistake."""
    yield from trust.warnings(provider, has_mailbox=bool(settings.imap), kinds=kinds)
    if provider.template is not None and provider.template.split is not None:
        yield (
            "template.split trusts the text of every SMS: whoever types the separator and a "
            "message behind it adds one from any sender (they carry the warning mail_split)"
        )


def _about_endpoints(settings: Settings) -> Iterator[str]:
    if not settings.endpoints:
        yield "there are no [[endpoints]]: messages are stored and sent to nobody"
    for each in settings.endpoints:
        if each.url.scheme == "http" and not is_loopback(each.url.host or ""):
            yield f"endpoints.{each.name}: http:// sends numbers and texts readable to another host"
        for number in each.to:
            if _is_number(number):
                continue
            yield (
                f"endpoints.{each.name}: to = {mask(number)} is no phone number, so no message is "
                "likely to match it (write +39…, or a short code)"
            )
        if scheme_name(each) == NO_SCHEME and not (
            each.login or each.headers or each.tls_certificate
        ):
            yield (
                f"endpoints.{each.name}: requests are not signed and carry no credentials: "
                "whoever knows the URL can send messages to it"
            )
        numbers = [("to", number) for number in each.to]
        for condition in (each for table in each.filter for each in table.conditions()):
            numbers += [("from", number) for number in condition.sender]
            numbers += [("to", number) for number in condition.to]
        for key, number in numbers:
            if not is_national(number):
                continue
            yield (
                f"endpoints.{each.name}: {key} = {mask(number)} has no country code, and most "
                "providers' numbers have one: the filter may never match (write +39…)"
            )


def _about_proxies(settings: Settings) -> Iterator[str]:
    for each in settings.endpoints if settings.delivery.networks else ():
        if each.proxy is not None:
            yield (
                f"endpoints.{each.name}: its proxy looks up the host's name, so delivery.networks "
                "holds for the proxy's own address only"
            )


def _is_number(number: str) -> bool:
    if any(character.isalpha() for character in number):
        return False
    return normalise(number, None).warning is not NumberWarning.NUMBER_IMPOSSIBLE


def _about_database(settings: Settings) -> Iterator[str]:
    url = make_url(settings.store.url)
    if url.get_backend_name() == "sqlite":
        database = SqliteFile(url)
        if database.readable_by_everybody:
            yield (
                f"{database.path} can be read by everybody and holds texts and numbers: chmod 600 "
                "it, and the files beside it"
            )


def store_problems(settings: Settings) -> list[ConfigError]:
    """Say what keeps a daemon from using or making the SQLite file; nothing is made."""
    url = make_url(settings.store.url)
    if url.get_backend_name() != "sqlite":
        return []
    try:
        SqliteFile(url).check()
    except StoreUnusable as error:
        return [ConfigError("store.url", str(error))]
    return []


def _about_file(file: ConfigFile, kinds: Kinds) -> Iterator[str]:
    if not file.path.stat().st_mode & stat.S_IROTH:
        return
    plain = list(plain_secrets(file, kinds))
    if plain:
        yield f"{file.path} can be read by everybody and holds {', '.join(plain)}: chmod 640 it"


def _login(settings: ImapSettings) -> str:
    """Describe the login, without any secret."""
    oauth = settings.oauth
    if oauth is None:
        return "password"
    if oauth.token_command is not None:
        return f"token from {oauth.token_command[0]}"
    if oauth.token_file is not None:
        return f"token from {oauth.token_file}"
    grant = "client credentials" if oauth.refresh_token is None else "refresh token"
    return f"token of {urlsplit(oauth.endpoint or '').hostname} by {grant}"


def _first_start(start: InitialSync) -> str:
    """Describe which existing mails the first start reads."""
    match start:
        case "unseen":
            return "takes the unseen mails that are there"
        case "all":
            return "takes all mails that are there"
        case "new":
            return "takes no mail that is there, only what comes"
        case since:
            return f"takes the mails that are there since {since}"


def _evidence(settings: Settings, kinds: Kinds) -> list[dict[str, Any]]:
    """List the kinds of evidence in use, what each proves, and for which providers."""
    users: dict[str, list[str]] = {}
    for provider in settings.providers:
        for kind, _ in trust.configured(provider.trust, kinds):
            users.setdefault(kind.name, []).append(provider.name)
    return [
        {"kind": name, "proves": kind.proves, "providers": users[name]}
        for name, kind in kinds.items()
        if name in users
    ]


def _filter(condition: ConditionSettings) -> dict[str, Any]:
    """Describe a filter by the keys that are set, numbers masked."""
    shown: dict[str, Any] = {}
    for name, field in type(condition).model_fields.items():
        value = getattr(condition, name)
        if isinstance(value, SearchPattern):
            shown[field.alias or name] = value.text
        elif name == "excluded" and value:
            shown["not"] = [_filter(each) for each in value]
        elif value:
            shown[field.alias or name] = [*map(mask, value)] if name in _NUMBERS else [*value]
    return shown


def _public_keys(endpoint: EndpointSettings) -> list[str]:
    """Return what the receiver verifies with, for schemes with public keys."""
    scheme = SCHEMES[scheme_name(endpoint)]
    if not isinstance(scheme, Asymmetric):
        return []
    secrets = (each.get_secret_value() for each in endpoint.signing_secrets)
    return [scheme.public_key(scheme.parse_secret(each)) for each in secrets]


def _bare(url: AnyHttpUrl) -> str:
    """Return a URL's scheme and host: userinfo, path and query may hold a token."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{'/…' if parts.path.strip('/') or parts.query else ''}"


def is_open(listen: str) -> bool:
    """Return whether a listen address may be reachable from other machines."""
    address = parse_listen(listen)
    return not (isinstance(address, Address) and address.is_loopback)
