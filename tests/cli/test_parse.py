"""`smsbridge parse` shows what a mail would become, without a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import NUMBER, Ran, mail

Smsbridge = Callable[..., Ran]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a mail of agile's."""
    path = tmp_path / "mail.eml"
    path.write_bytes(mail())
    return path


def test_a_mail_becomes_the_data_of_the_webhook(smsbridge: Smsbridge, file: Path) -> None:
    """Without any config, the JSON is the webhook's data, as its schema says but for trust."""
    ran = smsbridge("parse", file, "--json")
    assert ran.code == 0
    assert ran.document["outcome"] == "message"
    data = ran.document["data"]
    assert (data["from"], data["body"], data["provider"]) == (NUMBER, "News ON", "agile")
    assert data["received_at"] == "2026-04-08T14:30:52+02:00"
    assert data["trust"] is None
    schema = json.loads(resources.files("bridge").joinpath("sms.received.schema.json").read_text())
    data["trust"] = {"by": "recipients", "detail": "x"}
    event = {"type": "sms.received", "timestamp": "2026-04-08T12:30:52Z", "data": data}
    jsonschema.validate(event, schema)


def test_standard_input_is_read(smsbridge: Smsbridge) -> None:
    """FILE - is standard input."""
    assert smsbridge("parse", "-", "--json", stdin=mail()).document["outcome"] == "message"


def test_the_text_says_with_what_it_was_read(smsbridge: Smsbridge, file: Path) -> None:
    """Stand-ins and the missing question of trust are told, beside the output."""
    ran = smsbridge("parse", file)
    assert ran.code == 0
    assert "Europe/Rome" in ran.err
    assert "trust was not asked for" in ran.err
    assert "News ON" in ran.out


def test_the_config_is_used_if_there_is_one(smsbridge: Smsbridge, file: Path, config: Path) -> None:
    """The config's providers read the mail: another time zone gives another time."""
    config.write_text(config.read_text().replace("Europe/Rome", "Europe/London"))
    data = smsbridge("parse", file, "--json", "-c", config).document["data"]
    assert data["received_at"] == "2026-04-08T14:30:52+01:00"


def test_what_is_no_message_is_exit_1_with_the_reason(smsbridge: Smsbridge) -> None:
    """A mail that would go to quarantine says why, and the exit code is 1."""
    ran = smsbridge("parse", "-", "--json", stdin=b"Subject: x\r\n\r\nhello")
    assert ran.code == 1
    assert ran.document["outcome"] == "quarantine"
    assert ran.document["reason"] == "no_sender"
    assert ran.document["detail"]
    ran = smsbridge("parse", "-", stdin=b"Subject: x\r\n\r\nhello")
    assert (ran.code, "no_sender" in ran.out) == (1, True)


def test_a_file_that_cannot_be_read_is_exit_2(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """A missing file, a folder and a config with a mistake are sentences."""
    for name, why in (("nowhere", "no such file"), (".", "is a directory")):
        ran = smsbridge("parse", tmp_path / name)
        assert (ran.code, why in ran.err) == (2, True)
    ran = smsbridge("parse", "-", "-c", tmp_path / "none.toml")
    assert (ran.code, "none.toml: no such file" in ran.err) == (2, True)
