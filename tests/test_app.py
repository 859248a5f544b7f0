"""What is built from Settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bridge import app
from bridge.config.http import HttpSettings
from bridge.config.imap import ImapSettings
from bridge.config.settings import (
    EndpointSettings,
    ProviderSettings,
    Settings,
    SmtpSettings,
    StoreSettings,
    TrustSettings,
)
from bridge.errors import ConfigError


def test_a_mailbox_keeps_its_tokens_from_turn_to_turn() -> None:
    """A rotated refresh token is known to this object first: another one would use the old one."""
    settings = ImapSettings.model_validate(
        {
            "name": "inbox",
            "host": "imap.example.com",
            "username": "sms@example.com",
            "oauth": {"token_command": ["/bin/true"]},
        }
    )
    unused: Any = SimpleNamespace(clock=app.now, accept=None, mailboxes=SimpleNamespace(lead=print))
    source: Any = app._mailbox(settings, unused)
    one, another = source._make(), source._make()
    assert one is not another
    assert one._tokens is another._tokens is not None


class Broken(HttpSettings):
    """An address that only turns out to be unusable when the server is built."""

    def __getattribute__(self, name: str) -> Any:
        if name == "listen":
            raise ConfigError("http.listen", "is unusable")
        return super().__getattribute__(name)


def test_check_builds_every_part_that_run_builds(tmp_path: Path) -> None:
    """One list of parts: what is wrong with each of them is found, the web server's too."""
    missing = str(tmp_path / "missing.pem")
    settings = Settings(
        smtp=SmtpSettings(tls_certificate=missing, tls_key=missing),
        imap=(
            ImapSettings.model_validate(
                {"name": "inbox", "host": "h", "username": "u", "password": "p", "tls_ca": missing}
            ),
        ),
        providers=(ProviderSettings(name="agile", trust=TrustSettings(anyone=True)),),
        endpoints=(
            EndpointSettings.model_validate({"name": "crm", "url": "https://x", "secret": "x"}),
        ),
    ).model_copy(update={"http": Broken(), "store": StoreSettings.model_construct(url="not a URL")})
    assert [error.key for error in app.problems(settings)] == [
        "store.url",
        "providers.0.time_zone",
        "endpoints.0.secret",
        "smtp.tls_certificate",
        "imap.inbox.tls_ca",
        "http.listen",
    ]
