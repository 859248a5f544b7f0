"""What a config would run, and what is doubtful about it; for `smsbridge check`."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bridge import providers
from bridge.config.address import Address, parse_listen
from bridge.config.load import ConfigFile
from bridge.config.settings import ProviderSettings, Settings, TrustSettings
from bridge.delivery.endpoint import Endpoint
from bridge.errors import ConfigError
from bridge.logs import mask
from bridge.sources.tls import server_context


def build_problems(file: ConfigFile) -> list[str]:
    """Build all that can be built without network and store; give a line for each failure."""
    lines: list[str] = []
    for build in _builds(file.settings):
        try:
            build()
        except ConfigError as error:
            lines += file.explain(error).lines
    return lines


def describe(settings: Settings) -> dict[str, Any]:
    """Say what would run, without any secret."""
    smtp = settings.smtp
    return {
        "store": make_url(settings.store.url).render_as_string(hide_password=True),
        "smtp": {
            "listen": list(smtp.listen),
            "tls_listen": list(smtp.tls_listen),
            "starttls": smtp.tls_certificate is not None,
            "recipients": [mask(address) for address in smtp.recipients],
        },
        "http": {"listen": settings.http.listen},
        "providers": [
            {
                "name": each.name,
                "preset": each.preset or ("template" if each.template else each.name),
                "time_zone": each.time_zone,
                "region": each.region,
                "senders": list(each.senders) if each.senders is not None else None,
                "trust": _evidence(each.trust),
            }
            for each in settings.providers
        ],
        "endpoints": [
            {
                "name": each.name,
                "url": _bare(each.url),
                "secrets": len(each.signing_secrets),
                "providers": list(each.providers),
                "to": [mask(number) for number in each.to],
                "concurrency": each.concurrency or settings.delivery.concurrency,
                "timeout": each.timeout or settings.delivery.timeout,
            }
            for each in settings.endpoints
        ],
    }


def warnings(file: ConfigFile) -> list[str]:
    """Name what works but is probably not meant."""
    return [*_about_ways_in(file.settings), *_about_endpoints(file.settings), *_about_file(file)]


def _about_ways_in(settings: Settings) -> Iterator[str]:
    smtp = settings.smtp
    if not (smtp.listen or smtp.tls_listen):
        yield "smtp.listen is empty: no mail can come in"
    if not smtp.recipients and any(map(_is_open, (*smtp.listen, *smtp.tls_listen))):
        yield (
            "smtp.recipients is empty while SMTP listens beyond this machine: "
            "mail to any address is taken"
        )
    if settings.http.listen and _is_open(settings.http.listen):
        yield "http.listen is beyond this machine: health and metrics are open to the network"
    if not settings.providers:
        yield "there are no [[providers]]: every mail goes to quarantine"
    for each in settings.providers:
        if each.trust.anyone:
            yield f"providers.{each.name}: anyone = true: whoever reaches us can make messages up"


def _about_endpoints(settings: Settings) -> Iterator[str]:
    if not settings.endpoints:
        yield "there are no [[endpoints]]: messages are stored and sent to nobody"
    for each in settings.endpoints:
        if each.url.scheme == "http" and not _is_loopback(each.url.host or ""):
            yield f"endpoints.{each.name}: http:// sends numbers and texts readable to another host"


def _about_file(file: ConfigFile) -> Iterator[str]:
    if not file.path.stat().st_mode & stat.S_IROTH:
        return
    plain = list(_plain_secrets(file))
    if plain:
        yield f"{file.path} can be read by everybody and holds {', '.join(plain)}: chmod 640 it"


def _plain_secrets(file: ConfigFile) -> Iterator[str]:
    """Name the secrets that stand in the file itself."""
    for name, secrets in _tables(file, "endpoints", ("secret", "secrets")):
        values = secrets if isinstance(secrets, list) else [secrets]
        if any(isinstance(value, str) for value in values):
            yield f"the secret of endpoints.{name}"
    for name, trust in _tables(file, "providers", ("trust",)):
        if isinstance(trust, dict) and trust.get("recipients"):
            yield f"the secret recipient of providers.{name}"
    store = file.data.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    if isinstance(url, str) and urlsplit(url).password:
        yield "the password of store.url"


def _tables(file: ConfigFile, table: str, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    items = file.data.get(table)
    for item in items if isinstance(items, list) else []:
        for key in keys:
            if key in item:
                yield item["name"], item[key]


def _builds(settings: Settings) -> Iterator[Callable[[], object]]:
    for index, provider in enumerate(settings.providers):
        yield partial(_provider, index, provider)
    for index, endpoint in enumerate(settings.endpoints):
        yield partial(Endpoint.from_settings, index, endpoint, settings.delivery)
    yield partial(_certificate, settings)
    yield partial(_store_url, settings)


def _provider(index: int, settings: ProviderSettings) -> None:
    """Build one provider; its errors name it by its own place in the config."""
    try:
        providers.build([settings])
    except ConfigError as error:
        key = error.key.replace("providers.0", f"providers.{index}", 1)
        raise ConfigError(key, error.problem) from None


def _certificate(settings: Settings) -> None:
    if settings.smtp.tls_certificate and settings.smtp.tls_key:
        server_context(settings.smtp.tls_certificate, settings.smtp.tls_key, "smtp")


def _store_url(settings: Settings) -> None:
    try:
        make_url(settings.store.url)
    except (ArgumentError, ValueError):
        # The parser's own text would quote the URL with its password.
        raise ConfigError("store.url", "cannot be read as a database URL") from None


def _evidence(trust: TrustSettings) -> list[str]:
    """Say what makes a provider's mail believed; secret addresses are only counted."""
    told = [f"network {network}" for network in trust.networks]
    if trust.recipients:
        told.append(f"{len(trust.recipients)} secret recipient(s)")
    return [*told, *(["anyone"] if trust.anyone else [])]


def _bare(url: AnyHttpUrl) -> str:
    """Write a URL without what may be secret in it: userinfo and query."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def _is_open(listen: str) -> bool:
    address = parse_listen(listen)
    return not (isinstance(address, Address) and address.is_loopback)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
