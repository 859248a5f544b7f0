"""The types of the config's values: durations, sizes, addresses, networks, names, secrets.

Each takes what an operator may write, and says in a sentence what it wants instead. Validators
raise ValueError, never TypeError: pydantic collects the former only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr

from bridge import letters
from bridge.config.address import parse_listen
from bridge.config.folder import anchored
from bridge.config.secret import read_secret

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_BYTES: Final = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4}
_SIZE: Final = re.compile(r"(\d+)\s*(b|kib|mib|gib|tib)", re.ASCII | re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_REGION: Final = re.compile(r"[A-Z]{2}")
_ADDRESS_OR_DOMAIN: Final = re.compile(r"[^\s@<>]*@[^\s@<>]+")
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_HOST: Final = re.compile(r"[a-z0-9_.:-]{1,253}")
_NOT_IN_URL: Final = re.compile(r"[\s?#@]")
_MAX_LABEL: Final = 100
DESTINATION_KINDS: Final = ("public", "private", "loopback")
MAX_SECONDS: Final = 366 * 86400.0
_MAX_AGE: Final = 100 * MAX_SECONDS


def _seconds(value: object) -> object:
    """Parse `"20s"`, `"5m"`, `"6h"`, `"7d"` as seconds; plain numbers are seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('must be a number of seconds, or like "20s", "5m", "6h", "7d"')
    return float(found[1]) * _UNITS[found[2]]


def _size(value: object) -> object:
    """Parse `"10MiB"` as bytes; plain whole numbers are bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must be at least 0")
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('must be a whole number of bytes, or like "64KiB", "10MiB", "1GiB"')
    return int(found[1]) * _BYTES[found[2].lower()]


def _not_zero(size: ByteSize) -> ByteSize:
    if size == 0:
        raise ValueError("must be more than 0")
    return size


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no IANA time zone (like Europe/Rome)") from None
    return name


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name: lower-case letters, digits, - and _, at most 63 of them"
        )
    return name


def _region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is no region: two capital letters, like IT (ISO 3166)")
    return region


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _address_or_domain(text: str) -> str:
    if not _ADDRESS_OR_DOMAIN.fullmatch(text):
        # Not repeated: a recipient may be a secret.
        raise ValueError('must be an address ("sms@example.com") or a domain ("@example.com")')
    return letters.lower(text)


def _address(text: str) -> str:
    text = _address_or_domain(text)
    if text.startswith("@"):
        raise ValueError("must be a whole address: what stands before its @ is the evidence")
    return text


def _domain(text: str) -> str:
    text = letters.lower(text.strip())
    if not _DOMAIN.fullmatch(text):
        raise ValueError(
            f'{text!r} is no domain like "example.com" (letters beyond ASCII as xn--…, no @, no *)'
        )
    return text


def _network(value: object) -> object:
    """Parse a network; pydantic's union would report an error per address family."""
    if not isinstance(value, str):
        raise ValueError('must be a network in quotes, like "192.0.2.0/24" or "::1/128"')  # noqa: TRY004
    try:
        return ip_network(value)
    except ValueError as error:
        hint = ": some bits after the prefix are set" if "host bits" in str(error) else ""
        raise ValueError(f'{value!r} is no network like "192.0.2.0/24"{hint}') from None


def _destination(value: object) -> object:
    if value in DESTINATION_KINDS:
        return value
    try:
        return _network(value)
    except ValueError:
        kinds = ", ".join(f'"{each}"' for each in DESTINATION_KINDS)
        raise ValueError(f'must be {kinds}, or a network in quotes like "192.0.2.0/24"') from None


def _host(text: str) -> str:
    bare = letters.lower(text.strip()).removeprefix("*.")
    if not bare or not _HOST.fullmatch(bare):
        raise ValueError(
            f'{text!r} is no host like "crm.example.com", nor all of a domain like "*.example.com"'
        )
    return letters.lower(text.strip())


def _label(text: str) -> str:
    if not text.strip() or "\n" in text or len(text) > _MAX_LABEL:
        raise ValueError(f"must be text from the mail: one line, 1 to {_MAX_LABEL} characters")
    return text


def _public_url(url: str) -> str:
    if _NOT_IN_URL.search(url):
        raise ValueError("must be scheme, host and path alone")
    parts = urlsplit(url)  # and `port` raises ValueError for what is none
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be a URL such as https://sms.example.com")
    return url.rstrip("/")


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that was most likely meant, if any is close."""
    by_form = {_form(name): name for name in known}
    found = difflib.get_close_matches(_form(word), by_form, n=1, cutoff=0.7)
    return by_form[found[0]] if found else None


def _form(word: str) -> str:
    return word.lower().replace("-", "_")


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=MAX_SECONDS)]
PositiveSeconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=MAX_SECONDS)]
Age = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=_MAX_AGE)]
Size = Annotated[ByteSize, BeforeValidator(_size)]
PositiveSize = Annotated[ByteSize, BeforeValidator(_size), AfterValidator(_not_zero)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Name = Annotated[str, AfterValidator(_name)]
Region = Annotated[str, AfterValidator(_region)]
Label = Annotated[str, AfterValidator(_label)]
Zone = Annotated[str, AfterValidator(_zone)]
Secret = Annotated[SecretStr, BeforeValidator(read_secret)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Destination = Annotated[
    Literal["public", "private", "loopback"] | IPv4Network | IPv6Network,
    BeforeValidator(_destination),
]
Host = Annotated[str, AfterValidator(_host)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Listen = Annotated[str, AfterValidator(_listen)]
AddressOrDomain = Annotated[str, AfterValidator(_address_or_domain)]
FullAddress = Annotated[str, AfterValidator(_address)]
Domain = Annotated[str, AfterValidator(_domain)]
ConfigPath = Annotated[Path, AfterValidator(anchored)]
