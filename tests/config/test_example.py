"""config.example.toml is the reference: it loads, names every setting, and equals the defaults."""

from __future__ import annotations

import base64
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from bridge import providers
from bridge.config.endpoints import EndpointSettings
from bridge.config.folder import beside
from bridge.config.imap import ImapSettings
from bridge.config.load import load
from bridge.config.settings import ProviderSettings, Settings, TrustSettings
from bridge.config.validation_errors import keys, tables

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
# Tables of which exactly one key is set: the comments name the others.
EXCLUDING = ("[providers.template.part]", "[providers.template.split]")
SECRET = "whsec_" + base64.b64encode(b"example-" * 4).decode()


@pytest.fixture
def uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Switch on every setting and every example, with the secrets in place."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in (
        "imap-password", "google-client", "google-refresh", "microsoft-client", "agile-token",
        "crm-pull-token", "twilio-auth-token", "acme-token", "acme-secret", "acme-password",
    ):  # fmt: skip
        (credentials / name).write_text("hunter2-hunter2-hunter2")
    monkeypatch.setenv("OTHERS_CLIENT_SECRET", "hunter2")
    (credentials / "crm-secret").write_text(SECRET)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (credentials / "archive-token").write_text("hunter2")
    monkeypatch.setenv("ARCHIVE_OLD_SECRET", SECRET)
    for name in ("OLD_SECRET", "OLD_API_KEY", "OLD_PASSWORD"):
        monkeypatch.setenv(name, "hunter2-hunter2-hunter2")
    secret = tmp_path / "archive-new.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    text = re.sub(r"^#(?=[\[a-z])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_equals_the_defaults() -> None:
    """The example as shipped gives the very settings that an empty config gives."""
    with beside(EXAMPLE.parent):
        defaults = Settings()
    assert load(EXAMPLE) == defaults


def test_the_example_names_every_setting(uncommented: Path) -> None:
    """Each field of each table stands in the example, switched on or commented out."""
    text = uncommented.read_text(encoding="utf-8")
    data = tomllib.loads(text)
    for header, model in tables():
        named = _keys(data, header)
        if header in EXCLUDING:
            named = {key for key in keys(model) if f"{{ {key} = " in text}
        assert set(keys(model)) <= named, header


def test_the_example_loads_with_all_examples_switched_on(uncommented: Path) -> None:
    """Taking away every comment mark leaves a config that works."""
    settings = load(uncommented)
    assert [provider.name for provider in settings.providers] == ["agile", "acme"]
    assert len(providers.build(settings.providers)) == 2
    crm, archive, old = settings.endpoints
    assert [secret.get_secret_value() for secret in crm.signing_secrets] == [SECRET]
    assert len(archive.signing_secrets) == 2
    assert (old.scheme, archive.login, old.login) == ("hex", "bearer", "basic")
    assert settings.smtp.tls_certificate == uncommented.parent / "tls/cert.pem"


def test_commented_settings_show_their_defaults(uncommented: Path) -> None:
    """Where an optional setting has a default, the commented line shows that default."""
    settings = load(uncommented)
    crm = settings.endpoints[0]
    for model, shown in (
        (EndpointSettings, crm),
        (TrustSettings, settings.providers[0].trust),
        (ProviderSettings, settings.providers[0]),
        (ImapSettings, settings.imap[0]),
    ):
        for name, field in model.model_fields.items():
            # These have no default that means anything: an example stands there.
            example_only = ("networks", "recipients", "dkim")
            if field.default in (None, PydanticUndefined) or name in example_only:
                continue
            assert getattr(shown, name) == field.default, f"{model.__name__}.{name}"
    assert crm.concurrency == settings.delivery.concurrency
    assert crm.timeout == settings.delivery.timeout


def test_every_setting_is_explained() -> None:
    """The line above each first mention of a setting is a comment that says what it is."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    header = ""
    explained = set()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\[", line):
            header = line.removeprefix("#")
        elif setting := re.match(r"#?([a-z_]+) = ", line):
            assert above.startswith("# ") or (header, setting[1]) in explained, line
            explained.add((header, setting[1]))


def _keys(data: object, header: str) -> set[str]:
    """Collect the keys that any table of this header has in the data."""
    found = [data]
    for part in header.strip("[]").split("."):
        inner: list[object] = []
        for table in found:
            assert isinstance(table, dict)
            value = table.get(part, [])
            inner += value if isinstance(value, list) else [value]
        found = inner
    return {key for table in found if isinstance(table, dict) for key in table}


def test_tables_lists_them_all() -> None:
    """The table list that this test walks is not empty by accident."""
    headers = {header for header, _ in tables()}
    assert {"[store]", "[[providers]]", "[providers.trust]", "[[endpoints]]"} <= headers
    assert all(issubclass(model, BaseModel) for _, model in tables())
