"""A provider from an installed package: found, built, and blamed by name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import providers
from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.model import SmsMessage
from bridge.providers import Provider, agile, plugins
from tests.patience import PATIENCE
from tests.providers.declaring import mail_of
from tests.providers.reading import ANYONE

pytestmark = pytest.mark.processes


PYPROJECT = """
[build-system]
requires = ["flit_core>=3.12,<5"]
build-backend = "flit_core.buildapi"

[project]
name = "{package}"
version = "1.2"
description = "A provider"

[project.entry-points."smsbridge.providers"]
{name} = "{module}:{factory}"
"""
GOOD = """
from datetime import UTC, datetime

from bridge.errors import ConfigError
from bridge.model import RawFields, SmsMessage


class Acme:
    def __init__(self, name):
        self.name = name

    def matches(self, email):
        return email.sender == "sms@acme.example"

    def read_email(self, email):
        moment = datetime(2026, 4, 8, tzinfo=UTC)
        return SmsMessage(self.name, "1", "2", email.text, moment, RawFields("1", "2", None))


def build(settings, key):
    if settings.region is None:
        raise ConfigError(f"{key}.region", "acme wants a region")
    return Acme(settings.name)
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Build a package with flit and pip, and put it on this process's path."""
    site = tmp_path / "site"

    def installed(
        code: str, *, package: str = "acme-sms", name: str = "acme", factory: str = "build"
    ) -> None:
        module = f"{package.replace('-', '_')}_{abs(hash(str(tmp_path)))}"
        source = tmp_path / package
        source.mkdir()
        text = PYPROJECT.format(package=package, name=name, module=module, factory=factory)
        text += f'\n[tool.flit.module]\nname = "{module}"\n'
        (source / "pyproject.toml").write_text(text)
        (source / f"{module}.py").write_text(textwrap.dedent(code))
        options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
        pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(site)]
        subprocess.run([*pip, str(source)], check=True, timeout=PATIENCE, capture_output=True)

    monkeypatch.syspath_prepend(str(site))
    return installed


def made(**more: object) -> Provider:
    table = {"name": "acme", "trust": ANYONE, "region": "IT", **more}
    (provider,) = providers.build([ProviderSettings.model_validate(table)])
    return provider


def test_a_packages_provider_reads_like_a_built_in_one(install: Install) -> None:
    """The config names it as it names a preset, under whatever name."""
    install(GOOD)
    assert [(each.name, each.package) for each in plugins.installed()] == [("acme", "acme-sms 1.2")]
    provider = made(name="mine", preset="acme")
    message = provider.read_email(mail_of("Hi"))
    assert isinstance(message, SmsMessage)
    assert (message.provider, message.body) == ("mine", "Hi")
    assert providers.choose([provider], mail_of("Hi")) is provider


@pytest.mark.parametrize(
    ("code", "more", "says"),
    [
        ("import nothing_there", {}, "cannot be loaded (ModuleNotFoundError: No module named"),
        ("x = 1", {}, "cannot be loaded (AttributeError"),
        ("def build(settings, key): raise KeyError(settings)", {}, "cannot make it (KeyError)"),
        ("def build(settings): ...", {}, "cannot make it (TypeError)"),
        ("def build(settings, key): return 3", {}, "made something without name, matches, read"),
        (GOOD.replace("Acme(settings.name)", "Acme('other')"), {}, "must call it 'acme'"),
        (GOOD, {"region": None}, "acme-sms 1.2 says: acme wants a region"),
        (GOOD, {"template": {}, "preset": "acme"}, "acme is written in Python"),
    ],
)
def test_a_packages_fault_is_a_config_error_that_names_it(
    install: Install, code: str, more: dict[str, object], says: str
) -> None:
    """Nothing that a package does at load is a traceback, and the sentence says whose it is."""
    install(code)
    with pytest.raises(ConfigError) as caught:
        made(**more)
    assert caught.value.key.startswith("providers.0")
    assert says in caught.value.problem
    assert "acme" in caught.value.problem


def test_a_package_never_takes_the_place_of_a_built_in_provider(install: Install) -> None:
    """Installing something must not change how a company's mails are read."""
    install(GOOD, name="agile")
    provider = made(name="agile", time_zone="Europe/Rome")
    assert type(provider) is type(agile.build(_agile(), "providers.0"))


def _agile() -> ProviderSettings:
    return ProviderSettings.model_validate(
        {"name": "agile", "time_zone": "Europe/Rome", "trust": ANYONE}
    )


def test_two_packages_of_one_name_are_told(install: Install) -> None:
    """Which of the two would be meant is nobody's to guess."""
    install(GOOD)
    install(GOOD, package="acme-other")
    with pytest.raises(ConfigError) as caught:
        made()
    assert "acme-other 1.2 and acme-sms 1.2" in caught.value.problem


def test_a_name_that_nobody_offers_is_told_with_the_nearest(install: Install) -> None:
    """Packages' names are among those that may have been meant."""
    install(GOOD)
    with pytest.raises(ConfigError) as caught:
        made(name="acmee")
    assert "did you mean 'acme'" in caught.value.problem
