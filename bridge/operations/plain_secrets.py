"""Names the secrets that stand in the config file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from bridge.config.load import ConfigFile
from bridge.trust import Kinds


def plain_secrets(file: ConfigFile, kinds: Kinds) -> Iterator[str]:
    """Name the secrets that are in the file itself."""
    yield from _of_endpoints(file)
    for name, login in _tables(file, "imap", ("password", "oauth")):
        yield from _of_login(name, login)
    for name, policy in _tables(file, "providers", ("trust",)):
        for kind in kinds.values():
            if kind.secret and isinstance(policy, dict) and policy.get(kind.name):
                yield f"the {kind.secret} of providers.{name}"
    for name, post in _tables(file, "providers", ("post",)):
        yield from _of_post(name, post)
    store = file.data.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    if isinstance(url, str) and urlsplit(url).password:
        yield "the password of store.url"


def _of_endpoints(file: ConfigFile) -> Iterator[str]:
    for key in ("secret", "pull_token"):
        for name, given in _tables(file, "endpoints", (key, f"{key}s")):
            values = given if isinstance(given, list) else [given]
            if any(isinstance(value, str) for value in values):
                yield f"the {key} of endpoints.{name}"
    for name, failover in _tables(file, "endpoints", ("failover",)):
        yield from _of_failover(name, failover if isinstance(failover, dict) else {})
    for key in ("bearer", "password"):
        for name, value in _tables(file, "endpoints", (key,)):
            if isinstance(value, str):
                yield f"the {key} of endpoints.{name}"
    for name, value in _tables(file, "endpoints", ("url", "proxy")):
        if isinstance(value, str) and urlsplit(value).password:
            yield f"a password in a URL of endpoints.{name}"


def _of_failover(name: str, failover: Mapping[str, object]) -> Iterator[str]:
    secrets = failover.get("secrets")
    values = [failover.get("secret"), *(secrets if isinstance(secrets, list) else [])]
    if any(isinstance(value, str) for value in values):
        yield f"the failover's secret of endpoints.{name}"
    url = failover.get("url")
    if isinstance(url, str) and urlsplit(url).password:
        yield f"a password in the failover's URL of endpoints.{name}"


def _of_login(name: str, login: object) -> Iterator[str]:
    if isinstance(login, str):
        yield f"the password of imap.{name}"
    elif isinstance(login, dict):
        for key in ("client_secret", "refresh_token"):
            if isinstance(login.get(key), str):
                yield f"the {key} of imap.{name}.oauth"


def _of_post(name: str, post: object) -> Iterator[str]:
    settings = post if isinstance(post, dict) else {}
    for key in ("token", "secret", "password"):
        if any(
            isinstance(value, str) for value in (settings.get(key), *settings.get(f"{key}s", ()))
        ):
            yield f"the {key} of providers.{name}.post"


def _tables(file: ConfigFile, table: str, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    items = file.data.get(table)
    for item in items if isinstance(items, list) else []:
        for key in keys:
            if key in item:
                yield item["name"], item[key]
