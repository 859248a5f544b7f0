"""A kind of evidence is one declaration and one line in the registry; all else follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from bridge import mail, trust
from bridge.config.imap import ImapSettings
from bridge.config.load import ConfigFile
from bridge.config.settings import ProviderSettings, Settings, TrustSettings
from bridge.errors import TrustUnavailable
from bridge.model import Arrival, Email, SourceKind, Trust, Unreadable
from bridge.operations.plan import describe, warnings
from bridge.trust.base import Absent, Kind, Later, Names, UnansweredError
from tests.origins import smtp

RAW = b"From: sms@acme.example\r\n\r\ntext"
ARRIVAL = Arrival(smtp(peer="192.0.2.7"), "smtp", RAW, datetime(2026, 4, 8, tzinfo=UTC))


# What the file of a new kind would hold: a peer whose name the DNS vouches for.


async def _weigh(
    _arrival: Arrival, _email: Email, hosts: tuple[str, ...], names: Names | None
) -> Trust | Absent | Later:
    assert names is not None
    for host in hosts:
        try:
            if b"trusted" in await names.txt(host):
                return Trust("hosts", host)
        except UnansweredError:
            return Later("the DNS did not answer")
    return Absent("no host is trusted")


def _describe(hosts: tuple[str, ...]) -> Iterator[str]:
    yield f"host {' or '.join(hosts)}"


def _who(hosts: tuple[str, ...]) -> str:
    return f"whoever runs {hosts[0]}"


def _guards(_hosts: tuple[str, ...]) -> tuple[str, ...]:
    return ("the DNS vouches for it",)


def _warnings(hosts: tuple[str, ...]) -> Iterator[str]:
    if len(hosts) > 1:
        yield "hosts names more than one"


def _domains(hosts: tuple[str, ...]) -> tuple[str, ...]:
    return hosts


HOSTS: Final[Kind[tuple[str, ...]]] = Kind(
    name="hosts",
    proves="a listed host sent it",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    warnings=_warnings,
    domains=_domains,
    sources=lambda _: frozenset({SourceKind.SMTP}),
    needs_dns=True,
    secret="secret host",
)
KINDS = {**trust.KINDS, "hosts": HOSTS}  # the one line


class WithHosts(TrustSettings):
    """The config's table with the new kind's key."""

    hosts: tuple[str, ...] = ()


class Dns:
    """Answers as it is made to."""

    def __init__(self, *records: bytes, answers: bool = True) -> None:
        self._records = records
        self._answers = answers

    async def txt(self, _name: str) -> tuple[bytes, ...]:
        if not self._answers:
            raise UnansweredError(lasting=False)
        return self._records


def settings(*hosts: str, mailbox: bool = False) -> Settings:
    provider = ProviderSettings(
        name="agile",
        time_zone="Europe/Rome",
        senders=("@acme.example",),
        trust=WithHosts(hosts=hosts),
    )
    inbox = ImapSettings.model_validate(
        {"name": "inbox", "host": "imap.acme.example", "username": "sms", "password": "x"}
    )
    return Settings(providers=(provider,), imap=(inbox,) if mailbox else ())


async def weigh(names: Names) -> Trust | Unreadable:
    email = mail.decode(RAW)
    assert isinstance(email, Email)
    return await trust.weigh(ARRIVAL, email, WithHosts(hosts=("mx.acme.example",)), names, KINDS)


async def test_it_is_weighed() -> None:
    """Its evidence counts, its absence is named, and a DNS without an answer defers the mail."""
    assert await weigh(Dns(b"trusted")) == Trust("hosts", "mx.acme.example")
    absent = await weigh(Dns())
    assert isinstance(absent, Unreadable)
    assert absent.detail == "hosts: no host is trusted"
    with pytest.raises(TrustUnavailable, match="hosts: the DNS did not answer"):
        await weigh(Dns(answers=False))


def test_it_gets_a_dns_client() -> None:
    """A kind that needs the DNS gets a client; a config without such a kind gets none."""
    assert trust.names_for([WithHosts(hosts=("mx.acme.example",))], 0, KINDS) is not None
    assert trust.names_for([WithHosts(anyone=True)], 0, KINDS) is None


def test_check_describes_it() -> None:
    """`check` prints the kind's own words."""
    (provider,) = describe(settings("mx.acme.example"), KINDS)["providers"]
    assert provider["trust"] == ["host mx.acme.example"]


def test_check_warns_of_it(tmp_path: Path) -> None:
    """`check` prints its warnings, those that follow from its declaration included."""
    path = tmp_path / "config.toml"
    path.touch(0o644)
    data = {"providers": [{"name": "agile", "trust": {"hosts": ["a.acme.example"]}}]}
    chosen = settings("a.acme.example", "esp.example", mailbox=True)
    found = warnings(ConfigFile(path, chosen, data, ""), KINDS)
    for words in (
        "providers.agile: hosts names more than one",
        "providers.agile: SMTP-only evidence (hosts) isn't available for mailboxes",
        "providers.agile: whoever sends through esp.example can make messages up",
        "the secret host of providers.agile",
    ):
        assert [each for each in found if words in each], words


@pytest.mark.parametrize("kind", trust.KINDS.values(), ids=lambda kind: kind.name)
def test_the_docs_say_what_each_kind_proves(kind: Kind[object]) -> None:
    """The table of docs/evidence.md has each kind, in the words that it declares."""
    page = Path(__file__).parents[2] / "docs" / "evidence.md"
    assert f"| `{kind.name}` | {kind.proves} |" in page.read_text(encoding="utf-8")


def test_heavy_imports_happen_at_the_start() -> None:
    """What a kind preloads is loaded once, when the daemon starts, not with the first mail."""
    loaded: list[str] = []
    kind = replace(HOSTS, preload=lambda: loaded.append("hosts"))
    trust.names_for([WithHosts(hosts=("mx.acme.example",))] * 2, 0, {"hosts": kind})
    assert loaded == ["hosts"]


def test_check_says_what_it_proves() -> None:
    """`check` lists the kinds in use with what each proves, and no others."""
    assert describe(settings("mx.acme.example"), KINDS)["evidence"] == [
        {"kind": "hosts", "proves": "a listed host sent it", "providers": ["agile"]}
    ]
