"""Fuzz subject: posts declared in a config, with patterns, on values made against them.

What the config accepts must be read in time: a post is read on the event loop.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from pydantic import ValidationError

from benchmarks.against import odd_pattern, odd_text
from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Post, SmsMessage, Unreadable
from bridge.providers.posts import Posts, build_one

_NOW: Final = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
_NUMBER: Final = {"value": "+391234567890"}
_FORMATS: Final = ("epoch", "epoch_ms", "iso8601", "rfc2822", "gsm", "%Y-%m-%d %H:%M")
_SIZES: Final = (100,) * 4 + (2_000,) * 3 + (60_000, 200_000)  # characters
_PATHS: Final = ("$.a", "$.b[0]", "$.m[0].a", "$['a']", "@.a", "@.b")
_PLACES: Final[tuple[Callable[[random.Random], dict[str, Any]], ...]] = (
    lambda rng: {"json": rng.choice(_PATHS)},
    lambda rng: {"json": rng.choice(_PATHS), "inner": "$.a"},
    lambda rng: {"parameter": rng.choice("ab")},
    lambda _: {"header": "x-a"},
)


class Case(NamedTuple):
    """A provider's table in the config, and the request."""

    table: dict[str, Any]
    raw: bytes


class Loaded(NamedTuple):
    """The provider that a config makes of a table, None if it refuses it, and the request."""

    provider: Posts | None
    raw: bytes


def make(rng: random.Random) -> Case:
    """Make one case."""
    template: dict[str, Any] = {
        "from": _places(rng),
        "to": _places(rng) if rng.random() < 0.3 else _NUMBER,
        "body": _places(rng),
        "methods": ["POST", "GET"],
    }
    if rng.random() < 0.3:
        template |= {"date": _places(rng), "date_format": rng.sample(_FORMATS, 3)}
    if rng.random() < 0.3:
        template |= {"event": _places(rng), "events": ["a", "b", "SMS"]}
    if rng.random() < 0.3:
        rule = {"place": _place(rng), "why": "news"}
        template["ignore"] = [rng.choice((rule, {**rule, "matches": odd_pattern(rng)}))]
    if rng.random() < 0.3:
        template |= {"id": _places(rng), "answer": {"body": "{id}", "type": "text/plain"}}
    if '"@.' in json.dumps(template) or rng.random() < 0.2:
        template["each"] = "$.m[*]"
    post = {"token": "0123456789abcdef-token", "template": template}
    table = {"name": "acme", "time_zone": "Europe/Rome", "region": "IT", "post": post}
    return Case(table, posts.encode(_post(rng)))


def load(case: Case) -> Loaded:
    """Build the provider as `run` does when the daemon starts."""
    try:
        settings = ProviderSettings.model_validate(case.table)
        return Loaded(build_one(settings, "providers.0", PostsSettings()), case.raw)
    except (ValidationError, ConfigError):
        return Loaded(None, case.raw)


def run(case: Loaded) -> str:
    """Read the post, and answer it."""
    provider = case.provider
    if provider is None:
        return "no config"
    post = posts.decode(case.raw)
    if isinstance(post, Unreadable):
        return "undecodable"
    result = provider.read(provider.stored(post), _NOW)
    provider.answer(post)
    return "message" if isinstance(result, SmsMessage | tuple) else type(result).__name__.lower()


def _places(rng: random.Random) -> dict[str, Any] | list[dict[str, Any]]:
    """Make one place or two."""
    return _place(rng) if rng.random() < 0.7 else [_place(rng), _place(rng)]


def _place(rng: random.Random) -> dict[str, Any]:
    place = rng.choice(_PLACES)(rng)
    return {**place, "pattern": odd_pattern(rng)} if rng.random() < 0.4 else place


def _post(rng: random.Random) -> Post:
    """Make a form, a query or JSON, with such values, as large as the listener accepts."""
    a, b = (odd_text(rng, rng.choice(_SIZES)) for _ in "ab")
    headers = {"x-a": odd_text(rng, 100).replace("\n", " ").strip()}
    kind, wrapped, items = rng.random(), rng.random() < 0.5, rng.choice((1, 40))
    while True:
        post = _written(kind, a, b, headers, items=items, wrapped=wrapped)
        if len(post.body) <= PostsSettings().max_body:
            return post
        a, b = a[: len(a) // 2], b[: len(b) // 2]


def _written(
    kind: float, a: str, b: str, headers: dict[str, str], *, items: int, wrapped: bool
) -> Post:
    if kind < 0.1:
        return Post("GET", "/in/acme", urlencode({"a": a[:2_000], "b": b[:2_000]}), headers, b"")
    if kind < 0.3:
        body = urlencode({"a": a, "b": b}).encode()
        return Post("POST", "/in/acme", "", {"content-type": posts.FORM, **headers}, body)
    item = {"a": json.dumps({"a": a[:500]}) if wrapped else a[:500], "b": [b[:100]]}
    value = {"a": json.dumps({"a": a}) if wrapped else a, "b": [b], "m": [item] * items}
    body = json.dumps(value).encode()
    return Post("POST", "/in/acme", "", {"content-type": "application/json", **headers}, body)
