"""Fuzz subject: patterns and templates of a config, run on text that was made against them.

Whatever the config accepts must be read in time, however odd the pattern and the text. A pattern
that the config refuses costs nothing later.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from benchmarks.against import odd_pattern, odd_text
from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.config.times import has_month_name
from bridge.errors import ConfigError
from bridge.mail.limits import MAX_SUBJECT
from bridge.model import Email, Ignored, SmsMessage
from bridge.providers import Provider
from bridge.providers.base import Explains
from tests.providers.reading import ANYONE

_FORMATS: Final = (
    "gsm", "iso8601", "epoch", "epoch_ms", "rfc2822", "%d %B %H:%M", "%b %d %H:%M %Z",
    "%Y年%m月%d日 %H:%M", "a%d.%m. %H:%M",
)  # fmt: skip
_MONTHS: Final = ("a", "b", "-", "ab", "aab", "à", "x@", "SMS", "From", "a b", "<", "aa")
_ENCODINGS: Final = ("base64", "percent", "form", "xml")
_NUMBER: Final = {"value": "+391234567890"}
_PLACES: Final[tuple[Callable[[random.Random], dict[str, Any]], ...]] = (
    lambda rng: {"text": odd_pattern(rng)},
    lambda rng: {"text": odd_pattern(rng)},
    lambda rng: {"subject": odd_pattern(rng)},
    lambda rng: {"header": "to", "pattern": odd_pattern(rng)},
    lambda rng: {"label": rng.choice(("From", "a", "SMS", ["from", "ab"]))},
    lambda rng: {"line": rng.choice((1, 2, 3, -1, -2, 5_000))},
    lambda rng: {"address": rng.choice(("from", "to"))},
    lambda rng: {"json": rng.choice(("/a/0", "/a/1", "/b/a"))},
)
_IGNORED: Final[tuple[Callable[[random.Random], dict[str, Any]], ...]] = (
    lambda rng: {"text": odd_pattern(rng)},
    lambda rng: {"subject": odd_pattern(rng), "text": odd_pattern(rng)},
    lambda rng: {"headers": {"subject": odd_pattern(rng), "to": odd_pattern(rng)}},
    lambda rng: {"sender": "@acme.example", "text": odd_pattern(rng)},
)
_PLAIN: Final = "text/plain; charset=utf-8"
_TYPES: Final = (_PLAIN, _PLAIN, _PLAIN, "text/html; charset=utf-8")
_MULTIPART: Final = 'multipart/mixed; boundary="="'
_SIZES: Final = (1_000,) * 6 + (20_000,) * 3 + (125_000,)  # characters
_HEADER_SIZES: Final = (100, 100, 2_000, 60_000)


class Case(NamedTuple):
    """A provider's table in the config, and the mail."""

    table: dict[str, Any]
    raw: bytes


class Loaded(NamedTuple):
    """The provider that a config makes of a table, None if it refuses it, and the mail."""

    provider: Provider | None
    raw: bytes


def make(rng: random.Random) -> Case:
    """Make one case."""
    attached = rng.random() < 0.3
    table = _table(rng, attached=attached)
    head = (
        "From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
        "Date: Wed, 8 Apr 2026 12:30:52 +0000\r\n"
        f"Content-Type: {_MULTIPART if attached else rng.choice(_TYPES)}\r\n"
        f"Subject: {_header(rng)[: MAX_SUBJECT // 4]}\r\nTo: {_header(rng)}\r\n\r\n"
    )
    text = odd_text(rng, rng.choice(_SIZES))
    if rng.random() < 0.1:
        text = json.dumps({"a": [text, 1], "b": {"a": text}})
    return Case(table, (head + (_parts(rng, text) if attached else text)).encode())


def load(case: Case) -> Loaded:
    """Build the provider as `run` does when the daemon starts."""
    try:
        provider = providers.build_one(ProviderSettings.model_validate(case.table), "providers.0")
    except (ValidationError, ConfigError):
        return Loaded(None, case.raw)
    return Loaded(provider, case.raw)


def run(case: Loaded) -> str:
    """Read the mail."""
    provider = case.provider
    if provider is None:
        return "no config"
    email = mail.decode(case.raw)
    if not isinstance(email, Email):
        return "undecodable"
    chosen = providers.choose([provider], email)
    if chosen is not provider:
        return "no provider"
    result = providers.read_signed(provider, email)  # as often as a mail is ever read
    if isinstance(provider, Explains):
        provider.explain(email)
    if isinstance(result, SmsMessage | tuple):
        return "message"
    return "ignored" if isinstance(result, Ignored) else "unreadable"


def _table(rng: random.Random, *, attached: bool) -> dict[str, Any]:
    """Make a table with any of a template's options."""
    table: dict[str, Any] = {"name": "acme", "preset": None, "trust": ANYONE, "template": {}}
    template = table["template"]
    template["from"] = _some(rng)
    template["to"] = _some(rng) if rng.random() < 0.3 else _NUMBER
    template["body"] = rng.choice((_place, _body))(rng)
    for option in _OPTIONS:
        if rng.random() < 0.25:
            template.update(option(rng))
    if "date" in template:
        table["time_zone"] = "Europe/Rome"
    if attached:
        template["part"] = rng.choice(({"file": odd_pattern(rng)}, "plain", "html"))
    if rng.random() < 0.2:
        table["labels"] = {"from": ["a", "From"], "body": ["SMS"]}
    if rng.random() < 0.15:
        table["subject"] = odd_pattern(rng)
        template["recipient"] = odd_pattern(rng)
    else:
        table["senders"] = ["@acme.example"]
    return table


def _split(rng: random.Random) -> dict[str, Any]:
    pattern = odd_pattern(rng)
    return {"split": rng.choice((pattern, {"between": pattern}, {"head": pattern}))}


def _date(rng: random.Random) -> dict[str, Any]:
    joined = {"join": [_place(rng), _place(rng)]}
    formats = rng.sample(_FORMATS, 3)
    return {
        "date": rng.choice((joined, {"line": 2}, {"label": "Date"}, _some(rng))),
        "date_format": formats,
        "zones": {"A": "+02:00", "AB": "-05:30"},
        **({"months": _MONTHS} if any(map(has_month_name, formats)) else {}),
    }


def _ignore(rng: random.Random) -> dict[str, Any]:
    rules = rng.sample(_IGNORED, rng.choice((1, 2)))
    return {"ignore": [{"why": "news", **rule(rng)} for rule in rules]}


_OPTIONS: Final[tuple[Callable[[random.Random], dict[str, Any]], ...]] = (
    lambda rng: {"id": _some(rng)},
    lambda rng: {"footers": [odd_pattern(rng) for _ in range(rng.choice((1, 1, 2)))]},
    lambda rng: {"headers": {"to": rng.choice((odd_pattern(rng), "."))}},
    _split,
    _date,
    _ignore,
)


def _some(rng: random.Random) -> dict[str, Any] | list[dict[str, Any]]:
    """Make one place or several."""
    return rng.choice((_place, _place, lambda rng: [_place(rng), _place(rng)]))(rng)


def _place(rng: random.Random) -> dict[str, Any]:
    """Make a place of any kind but those of a body."""
    place: dict[str, Any] = rng.choice(_PLACES)(rng)
    if "pattern" not in place and rng.random() < 0.2 and not {"text", "subject"} & set(place):
        place["pattern"] = odd_pattern(rng)
    if rng.random() < 0.2:
        place["encoded"] = rng.choice(_ENCODINGS)
    return place


def _body(rng: random.Random) -> dict[str, Any]:
    place = rng.choice(({"after_blank": True}, {"all": True}, {"after": odd_pattern(rng)}))
    return {**place, "encoded": rng.choice(_ENCODINGS)} if rng.random() < 0.3 else place


def _parts(rng: random.Random, text: str) -> str:
    """Put text into one attached file or forty, with such names, and behind them as it is."""
    files = rng.choice((1, 1, 40))
    parts = [f"Content-Type: {_PLAIN}\r\n\r\n{text}"]
    for _ in range(files):
        name = _header(rng)[:900].replace('"', "")
        parts.append(
            f"Content-Type: text/{rng.choice(('plain', 'html', 'x'))}\r\n"
            f'Content-Disposition: attachment; filename="{name}"\r\n\r\n{text[: 400_000 // files]}'
        )
    return "".join(f"--=\r\n{part}\r\n" for part in reversed(parts)) + "--=--\r\n"


def _header(rng: random.Random) -> str:
    return odd_text(rng, rng.choice(_HEADER_SIZES)).replace("\n", " ")
