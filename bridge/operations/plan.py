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
from bridge.config.imap import ImapSettings, InitialSync
from bridge.config.load import ConfigFile
from bridge.config.loopback import is_loopback
from bridge.config.settings import ProviderSettings, Settings
from bridge.delivery.routing import is_national
from bridge.errors import ConfigError, StoreUnusable
from bridge.logs import mask
from bridge.numbers import NumberWarning, normalise
from bridge.providers import PRESETS, presets
from bridge.store.sqlite import SqliteFile
from bridge.trust import KINDS, Kinds

# Anyone can send signed mail through these.
_MAIL_SERVICES: Final = (
    "aol.com", "amazonses.com", "brevo.com", "gmail.com", "gmx.de", "gmx.net", "googlemail.com",
    "hotmail.com", "icloud.com", "libero.it", "live.com", "mailchimpapp.net", "mailgun.org",
    "mailjet.com", "mandrillapp.com", "mtasv.net", "onmicrosoft.com", "outlook.com", "proton.me",
    "protonmail.com", "sendgrid.net", "sendinblue.com", "sparkpostmail.com", "web.de", "yahoo.com",
)  # fmt: skip


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
        "http": {"listen": settings.http.listen},
        "providers": [
            {
                "name": each.name,
                "preset": each.preset or ("template" if each.template else each.name),
                "time_zone": each.time_zone,
                "region": each.region,
                "senders": list(each.senders) if each.senders is not None else None,
                "trust": trust.describe(each.trust, kinds),
            }
            for each in settings.providers
        ],
        "evidence": _evidence(settings, kinds),
        "endpoints": [
            {
                "name": each.name,
                "url": _bare(each.url),
                "secrets": len(each.signing_secrets),
                "scheme": each.scheme,
                "providers": list(each.providers),
                "to": [mask(number) for number in each.to],
                "concurrency": each.concurrency or settings.delivery.concurrency,
                "timeout": each.timeout or settings.delivery.timeout,
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
        *_about_file(file, kinds),
        *_about_database(file.settings),
    ]


def _about_sources(settings: Settings) -> Iterator[str]:
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


def _about_providers(settings: Settings, kinds: Kinds) -> Iterator[str]:
    if not settings.providers:
        yield "there are no [[providers]]: every mail goes to quarantine"
    for each in settings.providers:
        believed = _with_senders(each)
        for warning in (
            *trust.warnings(believed, has_mailbox=bool(settings.imap), kinds=kinds),
            *_about_mail_services(believed, kinds),
        ):
            yield f"providers.{each.name}: {warning}"


def _with_senders(provider: ProviderSettings) -> ProviderSettings:
    """Return a provider's settings with the senders of its format, if it has none of its own."""
    name = provider.preset or provider.name
    if provider.senders or name not in PRESETS or (provider.template and not provider.preset):
        return provider
    return provider.model_copy(update={"senders": presets.settings(name).senders})


def _about_mail_services(provider: ProviderSettings, kinds: Kinds) -> Iterator[str]:
    """Warn of a shared mail service that vouches where the senders don't show the mistake."""
    if provider.senders:
        return
    for kind, value in trust.configured(provider.trust, kinds):
        for domain in kind.domains(value):
            if any(domain == each or domain.endswith(f".{each}") for each in _MAIL_SERVICES):
                yield (
                    f"whoever sends through {domain} can make messages up, and anyone can get an "
                    "account there: name the provider's own domain"
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
        for number in filter(is_national, each.to):
            yield (
                f"endpoints.{each.name}: to = {mask(number)} has no country code, and most "
                "providers' numbers have one: messages to it may all be filtered out (write +39…)"
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
    plain = list(_plain_secrets(file, kinds))
    if plain:
        yield f"{file.path} can be read by everybody and holds {', '.join(plain)}: chmod 640 it"


def _plain_secrets(file: ConfigFile, kinds: Kinds) -> Iterator[str]:
    """Name the secrets that are in the file itself."""
    for name, secrets in _tables(file, "endpoints", ("secret", "secrets")):
        values = secrets if isinstance(secrets, list) else [secrets]
        if any(isinstance(value, str) for value in values):
            yield f"the secret of endpoints.{name}"
    for name, login in _tables(file, "imap", ("password", "oauth")):
        yield from _plain_login(name, login)
    for name, policy in _tables(file, "providers", ("trust",)):
        for kind in kinds.values():
            if kind.secret and isinstance(policy, dict) and policy.get(kind.name):
                yield f"the {kind.secret} of providers.{name}"
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


def _bare(url: AnyHttpUrl) -> str:
    """Return a URL without its userinfo and query, which may be secret."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def _is_open(listen: str) -> bool:
    address = parse_listen(listen)
    return not (isinstance(address, Address) and address.is_loopback)
