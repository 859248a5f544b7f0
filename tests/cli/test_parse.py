"""`smsbridge parse` shows what a mail would become, without a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from bridge.cli.annotated_mail import _print_marked
from tests.cli.conftest import NUMBER, Ran, mail
from tests.documents import PROJECT, blocks

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
    assert data["source"] == "file"  # as `import` would store it
    schema = json.loads(
        resources.files("bridge.formats").joinpath("sms.received.schema.json").read_text()
    )
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
    assert "evidence was not checked" in ran.err
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


def test_it_says_where_each_value_was_found(smsbridge: Smsbridge, file: Path) -> None:
    """The JSON keeps its two keys and explains: provider, label, line, charset, webhook."""
    document = smsbridge("parse", file, "--json").document
    assert set(document) == {"outcome", "data", "explain"}
    explain = document["explain"]
    assert explain["provider"] == "agile"
    assert "smsin@agiletelecom.com" in explain["matched"]
    assert explain["found"][1] == {
        "field": "to", "where": "at the label To", "line": 2, "value": "+393331234333",
    }  # fmt: skip
    assert [each["field"] for each in explain["found"]] == ["from", "to", "date", "body"]
    assert explain["charset"] == {"used": "utf-8", "declared": "utf-8"}
    assert explain["webhook"]["id"] == document["data"]["id"]


def test_it_says_what_is_missing(smsbridge: Smsbridge) -> None:
    """A mail that a provider cannot read names the field, and shows what was found."""
    raw = mail().replace(b"\r\nFrom: +39", b"\r\nMittente: +39").replace(b"; charset=utf-8", b"")
    ran = smsbridge("parse", "-", "--json", stdin=raw + b"\xe8")
    explain = ran.document["explain"]
    assert (ran.code, explain["missing"], explain["webhook"]) == (1, ["from"], None)
    assert [each["field"] for each in explain["found"]] == ["to", "date", "body"]
    assert explain["charset"] == {"used": "windows-1252", "declared": None}
    assert explain["warnings"] == ["charset_undeclared"]
    text = smsbridge("parse", "-", stdin=raw).out
    assert "missing    from" in text
    assert "none is declared" in text


def test_the_mails_lines_are_shown_with_what_stands_on_them(smsbridge: Smsbridge) -> None:
    """In a pipe too each line names its fields; what would move a cursor is escaped."""
    out = smsbridge("parse", "-", stdin=mail(body="one\r\ntwo \x1b[2J")).out
    assert "   3 date | Date/Time: 20260408143052\n" in out
    assert "   4 body | Body: one\n   5 body | two \\x1b[2J\n" in out


def test_bytes_that_are_no_mail_are_explained_too(smsbridge: Smsbridge) -> None:
    """The explanation has all its keys, whatever it was given."""
    explain = smsbridge("parse", "-", "--json", stdin=b"").document["explain"]
    assert set(explain) == set(smsbridge("parse", "-", "--json", stdin=mail()).document["explain"])


def test_a_value_is_shown_on_its_own_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    """One that ends with its line is not on the next; an empty one is where it would be."""
    _print_marked("one\ntwo\n\nfour", [(0, 4, "body"), (8, 8, "from")])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("|")[0].split() for line in shown] == [
        ["1", "body"],
        ["2"],
        ["3", "from"],
        ["4"],
    ]


def test_a_saved_post_is_parsed(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """With a config whose provider has posts only; as docs/posts.md declares one."""
    page = (PROJECT / "docs" / "posts.md").read_text(encoding="utf-8")
    config = tmp_path / "posts.toml"
    config.write_text(blocks(page, "toml")[-1])
    config.chmod(0o600)
    shown = next(line for line in page.splitlines() if '{"type": "inbound"' in line)
    item = page.partition(shown)[2].splitlines()[1]
    body = f"{shown.strip()}{item.strip()}"
    saved = tmp_path / "post.http"
    head = "POST /in/acme HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
    saved.write_bytes(f"{head}{body}".encode())
    ran = smsbridge("parse", saved, "-c", config, "--json")
    assert ran.code == 0, ran.err
    data = ran.document["data"]
    assert (data["from"], data["to"], data["body"]) == ("+4915112345678", "+4930123456", "Hi")
    assert data["provider_message_id"] == "A-7"
    assert ran.document["explain"]["provider"] == "acme"
    assert smsbridge("parse", saved, "-c", config).code == 0
    saved.write_bytes(saved.read_bytes().replace(b'"text"', b'"txt"'))
    assert "body (@.text) is missing" in smsbridge("parse", saved, "-c", config, "--json").out
