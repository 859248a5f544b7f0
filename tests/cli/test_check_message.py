"""Where a mail would go (`check --message FILE`), and which messages went nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli.demo_mails import agile
from bridge.config.settings import StoreSettings
from bridge.metrics import REGISTRY
from bridge.store import Database
from tests.cli.conftest import SECRET, Ran

Smsbridge = Callable[..., Ran]

ENDPOINT = """
[[endpoints]]
name = "{name}"
url = "https://{name}.internal"
secret = "{secret}"
{filters}
"""
PROVIDER = """
[store]
min_free = 0
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
trust = { networks = ["192.0.2.1/32"] }
"""


def write(config: Path, **filters: str) -> None:
    tables = (
        ENDPOINT.format(name=name, secret=SECRET, filters=each) for name, each in filters.items()
    )
    config.write_text(PROVIDER + "".join(tables))


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    path = tmp_path / "mail.eml"
    path.write_bytes(agile(1, "+393301234567", "20260408143052", "STOP").as_bytes())
    return path


def test_a_mail_is_shown_with_its_way(smsbridge: Smsbridge, config: Path, mail: Path) -> None:
    """Each endpoint says whether it would get the message, and by which condition not."""
    write(
        config,
        crm="",
        optout='filter = [{ opt = "out" }]',
        orders="filter = [{ body_pattern = 'order' }, { source = 'file' }]",
    )
    ran = smsbridge("check", "-c", config, "--message", mail, "--json")
    assert ran.code == 0
    (message,) = ran.document["message"]["messages"]
    assert message["provider"] == "agile"
    assert [(each["name"], each["wanted"]) for each in message["endpoints"]] == [
        ("crm", True),
        ("optout", True),
        ("orders", False),
    ]
    assert message["endpoints"][2]["reason"].endswith("1 (body_pattern), 2 (source)")
    as_file = smsbridge("check", "-c", config, "--message", mail, "--source", "file", "--json")
    assert as_file.document["message"]["messages"][0]["endpoints"][2]["wanted"]
    text = smsbridge("check", "-c", config, "--message", mail).out
    assert message["id"] in text
    assert "2 (source)" in text
    assert "3301234567" not in ran.out + text


def test_a_mail_that_goes_nowhere_is_found_wrong(
    smsbridge: Smsbridge, config: Path, mail: Path, tmp_path: Path
) -> None:
    """Exit 1 if no endpoint wants it, or it is no message; 2 if there is no such file."""
    write(config, orders="filter = [{ body_pattern = 'order' }]")
    assert smsbridge("check", "-c", config, "--message", mail).code == 1
    write(config)
    assert smsbridge("check", "-c", config, "--message", mail).code == 1
    mail.write_text("From: somebody@example.org\n\nHello\n")
    ran = smsbridge("check", "-c", config, "--message", mail, "--json")
    assert (ran.code, ran.document["message"]["outcome"]) == (1, "quarantine")
    assert "quarantine" in smsbridge("check", "-c", config, "--message", mail).out
    assert smsbridge("check", "-c", config, "--message", tmp_path / "none.eml").code == 2


def test_what_went_nowhere_is_counted_and_found(
    smsbridge: Smsbridge, config: Path, tmp_path: Path
) -> None:
    """A stored message that no endpoint wanted is in a list of its own, each time counted once."""
    write(config, orders="filter = [{ body_pattern = 'order' }]")
    url = f"sqlite:///{tmp_path}/bridge.db"
    Database.open(StoreSettings(url=url, min_free=0), migrate=True).close()
    folder = tmp_path / "mails"
    folder.mkdir()
    for number, text in enumerate(("order 1", "hello", "order 2")):
        mail = agile(number, "+393301234567", f"2026040814305{number}", text)
        (folder / f"{number}.eml").write_bytes(mail.as_bytes())

    def count() -> float:
        return (
            REGISTRY.get_sample_value("smsbridge_unwanted_messages_total", {"provider": "agile"})
            or 0.0
        )

    before = count()
    for _ in range(2):  # the second time they are duplicates
        assert smsbridge("import", "-c", config, "--trusted", folder).code == 0
    assert count() == before + 1
    everything = smsbridge("messages", "list", "-c", config, "--reveal", "--json").document
    assert len(everything) == 3
    (found,) = smsbridge(
        "messages", "list", "-c", config, "--unwanted", "--reveal", "--json"
    ).document
    assert found["body"] == "hello"
    shown = smsbridge("messages", "show", "-c", config, found["id"], "--json").document
    assert [(each["state"], each["reason"]) for each in shown["deliveries"]] == [
        ("filtered", "the endpoint's filter doesn't match: body_pattern")
    ]
