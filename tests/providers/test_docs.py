"""What docs/adding-a-provider.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge import providers
from bridge.config.settings import ProviderSettings
from bridge.model import Ignored, SmsMessage, Unreadable
from bridge.providers import Provider
from tests.cli.conftest import Ran, smsbridge
from tests.providers.declaring import declared, mail_of
from tests.providers.reading import ANYONE

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-provider.md").read_text(encoding="utf-8")
__all__ = ["smsbridge"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_declared_provider_reads_the_mail_as_the_page_says(
    smsbridge: Any, tmp_path: Path
) -> None:
    """Config, mail and result are copied from the page and run by the command."""
    (mail,) = blocks("eml")
    (expected,) = blocks("json")
    (tmp_path / "config.toml").write_text(blocks("toml")[1], encoding="utf-8")
    (tmp_path / "mail.eml").write_bytes(mail.replace("\n", "\r\n").encode())
    assert smsbridge("check", "-c", tmp_path / "config.toml").code == 0
    ran: Ran = smsbridge("parse", "-c", tmp_path / "config.toml", tmp_path / "mail.eml", "--json")
    assert ran.code == 0, ran.out
    data = ran.document["data"]
    assert {key: data[key] for key in json.loads(expected)} == json.loads(expected)
    assert data["warnings"] == []


def test_the_reports_are_ignored() -> None:
    """The page's rule for mails that are no SMS holds."""
    (table,) = tomllib.loads(blocks("toml")[1])["providers"]
    (provider,) = providers.build([ProviderSettings.model_validate(table)])
    report = mail_of(subject="Delivery report for 7")
    assert provider.matches(report)
    assert provider.read_email(report) == Ignored("a delivery report", "acme")


def test_a_preset_with_a_key_laid_over_it_builds() -> None:
    """The short form at the page's top is a whole provider."""
    (table,) = tomllib.loads(blocks("toml")[0])["providers"]
    (provider,) = providers.build([ProviderSettings.model_validate(table)])
    message = provider.read_email(mail_of("Ya\n\n- 08123456789", "Kalkun New SMS"))
    assert isinstance(message, SmsMessage)
    assert (message.sender, message.recipient) == ("+628123456789", "+628110000001")


@pytest.fixture
def written() -> Provider:
    """Make the provider of the page's Python."""
    module: dict[str, Any] = {}
    (code,) = blocks("python")
    exec(compile(code, "docs/adding-a-provider.md", "exec"), module)
    table = {"name": "acme_bulk", "senders": ["sms@acme.example"], "region": "DE", "trust": ANYONE}
    made: Provider = module["build"](ProviderSettings.model_validate(table), "providers.0")
    return made


def test_the_provider_in_python_reads_its_line(written: Provider) -> None:
    """The class as printed is a provider."""
    email = mail_of('1775651452,0151 12345678,30099,"Hallo, du"')
    assert written.matches(email)
    message = written.read_email(email)
    assert isinstance(message, SmsMessage)
    assert (message.sender, message.body) == ("+4915112345678", "Hallo, du")


@pytest.mark.parametrize("text", ["", "a,b", "soon,1,2,x", "9" * 30 + ",1,2,x"])
def test_the_provider_in_python_does_not_raise(written: Provider, text: str) -> None:
    """What it cannot read it says."""
    assert isinstance(written.read_email(mail_of(text)), Unreadable)


def test_a_text_above_the_other_fields_ends_where_the_page_says() -> None:
    """What looks like the end of the text inside it is part of it."""
    (body,) = re.findall(r"`(body = \{ text = .*)` is greedy", PAGE)
    provider = declared(f"{body}\nfrom = {{ label = 'From' }}\nto = {{ label = 'To' }}\n")
    typed = "hi\n\nFrom: 666\nTo: 666"
    found = provider.read_email(mail_of(f"{typed}\n\nFrom: +4915112345678\nTo: 30099\n"))
    assert isinstance(found, SmsMessage)
    assert (found.sender, found.recipient, found.body) == ("+4915112345678", "30099", typed)
