"""What a config would run, and what is doubtful about it; for `smsbridge check`."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl
from sqlalchemy import make_url

from bridge.config.address import Address, parse_listen
from bridge.config.authserv import AuthservSettings
from bridge.config.imap import ImapSettings, Start
from bridge.config.load import ConfigFile
from bridge.config.loopback import is_loopback
from bridge.config.settings import ProviderSettings, Settings, TrustSettings
from bridge.delivery.routing import is_national
from bridge.logs import mask
from bridge.trust.base import related

# Evidence that only SMTP brings: the peer and the envelope.
_OF_A_TRANSMISSION: Final = {"networks", "recipients"}


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
    if not (smtp.listen or smtp.tls_listen or settings.imap):
        yield "smtp.listen is empty and there is no [[imap]]: no mail can come in"
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
        if settings.imap and _evidence_kinds(each.trust) <= _OF_A_TRANSMISSION:
            yield (
                f"providers.{each.name}: its evidence is in how a mail is handed over by SMTP: "
                "what is read from a mailbox has none and goes to quarantine"
            )

        authserv = each.trust.authserv_id
        alone = _evidence_kinds(each.trust) == {"authserv_id"}
        if alone and authserv and not (authserv.networks or settings.imap):
            yield (
                f"providers.{each.name}: authserv_id without networks believes mails of a mailbox "
                "only, and there is no [[imap]]"
            )
        for domain in sorted(_shared(each)):
            yield (
                f"providers.{each.name}: whoever sends through {domain} can make messages up, "
                "since none of its senders is of that domain: name the provider's own"
            )


def _shared(settings: ProviderSettings) -> set[str]:
    """Find the domains of evidence that are not the provider's own, as far as senders are told."""
    authserv = settings.trust.authserv_id
    named = set(settings.trust.dkim)
    named |= {*authserv.dkim, *authserv.spf, *authserv.dmarc} if authserv else set()
    own = {each.rpartition("@")[2] for each in settings.senders or ()}
    if not own:
        return set()
    return {domain for domain in named if not any(related(domain, each) for each in own)}


def _evidence_kinds(trust: TrustSettings) -> set[str]:
    return {name for name in type(trust).model_fields if getattr(trust, name)}


def _about_endpoints(settings: Settings) -> Iterator[str]:
    if not settings.endpoints:
        yield "there are no [[endpoints]]: messages are stored and sent to nobody"
    for each in settings.endpoints:
        if each.url.scheme == "http" and not is_loopback(each.url.host or ""):
            yield f"endpoints.{each.name}: http:// sends numbers and texts readable to another host"
        for number in filter(is_national, each.to):
            yield (
                f"endpoints.{each.name}: to = {mask(number)} has no country code, and most "
                "providers' numbers have one: messages to it may all be filtered out (write +39…)"
            )


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
    for name, login in _tables(file, "imap", ("password", "oauth")):
        yield from _plain_login(name, login)
    for name, trust in _tables(file, "providers", ("trust",)):
        if isinstance(trust, dict) and trust.get("recipients"):
            yield f"the secret recipient of providers.{name}"
    store = file.data.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    if isinstance(url, str) and urlsplit(url).password:
        yield "the password of store.url"


def _plain_login(name: str, login: object) -> Iterator[str]:
    if isinstance(login, str):
        yield f"the password of imap.{name}"
    elif isinstance(login, dict):
        for key in ("client_secret", "refresh_token"):
            if isinstance(login.get(key), str):
                yield f"the {key} of imap.{name}.oauth"


def _tables(file: ConfigFile, table: str, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    items = file.data.get(table)
    for item in items if isinstance(items, list) else []:
        for key in keys:
            if key in item:
                yield item["name"], item[key]


def _login(settings: ImapSettings) -> str:
    """Say how we log in, without anything secret."""
    oauth = settings.oauth
    if oauth is None:
        return "password"
    if oauth.token_command is not None:
        return f"token from {oauth.token_command[0]}"
    if oauth.token_file is not None:
        return f"token from {oauth.token_file}"
    grant = "client credentials" if oauth.refresh_token is None else "refresh token"
    return f"token of {urlsplit(oauth.endpoint or '').hostname} by {grant}"


def _first_start(start: Start) -> str:
    """Say what the first start takes of the mails that are in the mailbox already."""
    match start:
        case "unseen":
            return "takes the unseen mails that are there"
        case "all":
            return "takes all mails that are there"
        case "new":
            return "takes no mail that is there, only what comes"
        case since:
            return f"takes the mails that are there since {since}"


def _evidence(trust: TrustSettings) -> list[str]:
    """Say what makes a provider's mail believed; secret addresses are only counted."""
    told = [f"network {network}" for network in trust.networks]
    if trust.recipients:
        told.append(f"{len(trust.recipients)} secret recipient(s)")
    if trust.dkim:
        told.append(f"a signature of {', '.join(trust.dkim)}")
    if trust.authserv_id is not None:
        told += list(_said_by_server(trust.authserv_id))
    return [*told, *(["anyone"] if trust.anyone else [])]


def _said_by_server(settings: AuthservSettings) -> Iterator[str]:
    who = " or ".join(each or "a server without id" for each in settings.id)
    for check in ("dkim", "spf", "dmarc"):
        domains = getattr(settings, check)
        if domains:
            yield f"{who} says {check}=pass of {', '.join(domains)}"


def _bare(url: AnyHttpUrl) -> str:
    """Write a URL without what may be secret in it: userinfo and query."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def _is_open(listen: str) -> bool:
    address = parse_listen(listen)
    return not (isinstance(address, Address) and address.is_loopback)
