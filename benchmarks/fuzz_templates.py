"""Fuzz subject: patterns and templates of a config, run on text that was made against them.

Whatever the config accepts must be read in time, however odd the pattern and the text. A pattern
that the config refuses costs nothing later.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import Email, SmsMessage
from bridge.providers.base import Explains
from tests.providers.reading import ANYONE

_ATOMS: Final = (
    "a", "b", "-", "=", " ", ".", r"\s", r"\S", r"\w", r"\d", r"[^\n]", "[a-z]", r"[^<>\s]", r"\n",
    "From", "SMS", "x?", "(?:a|b)", "(?:a|a)", "(?s:.)", r"\b", "^", "$", r"\pL", "à",
    r"[\x00-\x{10ffff}]",
)  # fmt: skip
_REPEATS: Final = ("", "", "*", "+", "?", "*?", "+?", "{2}", "{5,}", "{0,50}", "{1000}")
_SHAPES: Final = (
    "{0}{1}{2}", "({0}{1})+{2}", "(?:{0}+)+{1}", "(?:{0}|{1})*{2}", "^{0}{1}$",
    "(?P<value>{0}){1}{2}",
    "{0}.*{1}.*{2}", "{0}.*?{1}|{2}", "(?:(?:{0}*)*)*{1}", "(?s){0}.*{1}", "({0}{1}{2}){{5,}}",
)  # fmt: skip
_TEXTS: Final = (
    "a", "b", "-", "=", " ", "\t", "\n", "a\n", "-\n", "-----\n", "ab", "aab", "a b ", "From: a\n",
    "From: ", "from\n\n", "SMS", "1", "+391234567890", "à", "\u3000", "x@", "<", "\u202e", "a: b\n",
)  # fmt: skip
_FORMATS: Final = (
    "gsm", "iso8601", "epoch", "%d %B %H:%M", "%b %d %H:%M %Z", "%Y年%m月%d日 %H:%M",
    "a%d.%m. %H:%M",
)  # fmt: skip
_MONTHS: Final = ("a", "b", "-", "ab", "aab", "à", "x@", "SMS", "From", "a b", "<", "aa")
_ENCODINGS: Final = ("base64", "percent", "form", "xml")
_PLAIN: Final = "text/plain; charset=utf-8"
_MULTIPART: Final = 'multipart/mixed; boundary="="'
_SIZES: Final = (1_000,) * 6 + (20_000,) * 3 + (125_000,)  # characters
_HEADER_SIZES: Final = (100, 100, 2_000, 60_000)


class Case(NamedTuple):
    """A provider's table in the config, and the mail."""

    table: dict[str, Any]
    raw: bytes


def make(rng: random.Random) -> Case:
    """Make one case."""
    places = [{"text": _pattern(rng)}, {"subject": _pattern(rng)}, {"label": "From"}, {"line": 1}]
    table: dict[str, Any] = {
        "name": "acme",
        "preset": None,
        "trust": ANYONE,
        "template": {
            "from": rng.choice([*places, {"header": "to", "pattern": _pattern(rng)}]),
            "to": {"value": "+391234567890"},
            "body": rng.choice(
                [{"after_blank": True}, {"all": True}, {"after": _pattern(rng)}, *places[:1]]
            ),
        },
    }
    template = table["template"]
    if rng.random() < 0.3:
        template["footers"] = [_pattern(rng)]
    if rng.random() < 0.3:
        template["split"] = {rng.choice(("between", "head")): _pattern(rng)}
    if rng.random() < 0.3:
        template["body"] = {**template["body"], "encoded": rng.choice(_ENCODINGS)}
    if rng.random() < 0.3:
        template["date"] = rng.choice([{"join": rng.sample(places, 2)}, {"line": 2}])
        template["date_format"] = ["%d %B %H:%M", *rng.sample(_FORMATS, 2)]
        template["months"] = _MONTHS
        template["zones"] = {"A": "+02:00", "AB": "-05:30"}
        table["time_zone"] = "Europe/Rome"
    attached = rng.random() < 0.3
    if attached:
        template["part"] = rng.choice(({"file": _pattern(rng)}, "plain", "html"))
    if rng.random() < 0.2:
        template["ignore"] = [{"why": "news", "text": _pattern(rng)}]
    if rng.random() < 0.3:
        table["subject"] = _pattern(rng)
        template["recipient"] = _pattern(rng)
    else:
        table["senders"] = ["@acme.example"]
    head = (
        "From: sms@acme.example\r\nMessage-ID: <1@acme.example>\r\n"
        "Date: Wed, 8 Apr 2026 12:30:52 +0000\r\n"
        f"Content-Type: {_MULTIPART if attached else _PLAIN}\r\n"
        f"Subject: {_header(rng)}\r\nTo: {_header(rng)}\r\n\r\n"
    )
    text = _text(rng, rng.choice(_SIZES))
    return Case(table, (head + (_parts(rng, text) if attached else text)).encode())


def run(case: Case) -> str:
    """Build the provider as `run` does, and read the mail."""
    try:
        provider = providers.build_one(ProviderSettings.model_validate(case.table), "providers.0")
    except (ValidationError, ConfigError):
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
    return "message" if isinstance(result, SmsMessage | tuple) else "unreadable"


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


def _pattern(rng: random.Random) -> str:
    pieces = [rng.choice(_ATOMS) + rng.choice(_REPEATS) for _ in range(3)]
    pattern = rng.choice(_SHAPES).format(*pieces)
    if rng.random() < 0.2:
        at = rng.randrange(len(pattern))
        pattern = pattern[:at] + rng.choice("()[]{}*+?|\\.^$a") + pattern[at + rng.randint(0, 2) :]
    return pattern


def _text(rng: random.Random, size: int) -> str:
    """Make text that nearly matches: a few pieces, repeated, with another end."""
    text = ""
    while len(text) < size:
        piece = "".join(rng.choice(_TEXTS) for _ in range(rng.randint(1, 3)))
        text += piece * rng.choice((1, 3, size // len(piece) + 1))
    return text[:size] + rng.choice(("", "!", "\n", "!\n", "\n\n"))


def _header(rng: random.Random) -> str:
    return _text(rng, rng.choice(_HEADER_SIZES)).replace("\n", " ")
