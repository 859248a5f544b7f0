"""The commands that look into the store, or change it, on a real SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import NUMBER, Filled, Ran, mail, store

Smsbridge = Callable[..., Ran]


def test_a_list_of_messages_masks_numbers_and_leaves_texts_out(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """Neither the table nor the JSON of a list shows a number or a text, unless --reveal."""
    for form in ((), ("--json",)):
        ran = smsbridge("messages", "list", "-c", filled.config, *form)
        assert ran.code == 0
        assert filled.message_id in ran.out
        assert "+39******4567" in ran.out
        assert NUMBER not in ran.out
        assert "News ON" not in ran.out
        ran = smsbridge("messages", "list", "-c", filled.config, "--reveal", *form)
        assert NUMBER in ran.out
        assert "News ON" in ran.out


def test_the_keys_of_lists_are_stable(smsbridge: Smsbridge, filled: Filled) -> None:
    """The JSON of each list has the keys that its --help promises, and ISO times."""
    (message,) = smsbridge("messages", "list", "-c", filled.config, "--json").document
    assert list(message) == [
        "id", "arrival_id", "provider", "from", "to", "received_at", "bridged_at",
        "provider_message_id", "arrived_at", "state",
    ]  # fmt: skip
    assert message["received_at"] == "2026-04-08T12:30:52+00:00"
    deliveries = smsbridge("deliveries", "list", "-c", filled.config, "--json").document
    assert {each["endpoint"]: each["state"] for each in deliveries} == {
        "crm": "pending",
        "other": "filtered",
    }
    for command in ("messages", "deliveries", "quarantine"):
        (first, *_) = smsbridge(command, "list", "-c", filled.config, "--json").document
        told = smsbridge(command, "list", "--help").out
        assert [key for key in first if f'"{key}"' not in told] == []


def test_show_gives_a_message_whole(smsbridge: Smsbridge, filled: Filled) -> None:
    """One message shows the webhook's data, its arrivals and its deliveries."""
    ran = smsbridge("messages", "show", filled.message_id, "-c", filled.config, "--json")
    document = ran.document
    assert document["data"]["body"] == "News ON"
    assert document["data"]["from"] == NUMBER
    assert [each["outcome"] for each in document["arrivals"]] == ["message"]
    assert len(document["deliveries"]) == 2
    ran = smsbridge("messages", "show", filled.message_id, "-c", filled.config)
    assert NUMBER in ran.out


def test_show_escapes_what_would_move_a_cursor(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """A text with an escape sequence reaches the terminal escaped."""
    path = tmp_path / "mail.eml"
    path.write_bytes(mail(body="red \x1b[31m alert"))
    ran = smsbridge("parse", path)
    assert "\x1b" not in ran.out
    assert "\\x1b[31m" in ran.out


def test_what_is_not_there_is_told(smsbridge: Smsbridge, filled: Filled) -> None:
    """A wrong id is one sentence and exit code 2."""
    for arguments in (
        ("messages", "show", "msg_X"),
        ("deliveries", "show", "99"),
        ("deliveries", "retry", "99"),
        ("quarantine", "show", "99"),
        ("quarantine", "reparse", "99"),
        ("endpoints", "hold", "nobody"),
    ):
        ran = smsbridge(*arguments, "-c", filled.config)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert ran.err.startswith("smsbridge: ")
        assert ran.err.count("\n") == 1


def test_a_delivery_is_held_and_goes_again(smsbridge: Smsbridge, filled: Filled) -> None:
    """Holding an endpoint holds its deliveries; resume and retry make them pending."""

    def state() -> str:
        found = smsbridge("deliveries", "list", "-c", filled.config, "--endpoint", "crm", "--json")
        return str(found.document[0]["state"])

    ran = smsbridge("endpoints", "hold", "crm", "-c", filled.config, "--json")
    assert ran.document == {"held": 1}
    assert state() == "held"
    (crm, _) = smsbridge("endpoints", "list", "-c", filled.config, "--json").document
    assert (crm["held"], crm["held_deliveries"]) == ("held by the operator", 1)
    assert crm["state"] == "paused"
    assert crm["since"].endswith("Z")
    ran = smsbridge("endpoints", "resume", "crm", "-c", filled.config, "--json")
    assert ran.document == {"resumed": 1}
    assert state() == "pending"
    smsbridge("endpoints", "hold", "crm", "-c", filled.config)
    held = ("deliveries", "retry", "--state", "held", "-c", filled.config)
    assert smsbridge(*held, "--dry-run", "--json").document == {"deliveries": 1}
    assert smsbridge(*held, "--dry-run").out == "1 delivery would be retried\n"
    assert state() == "held"
    ran = smsbridge(*held, "--json")
    assert ran.document == {"retried": 1}
    assert state() == "pending"
    ids = ("deliveries", "retry", "99", "--dry-run", "-c", filled.config)
    assert "there is no delivery 99" in smsbridge(*ids).err


def test_show_gives_a_delivery_with_its_attempts(smsbridge: Smsbridge, filled: Filled) -> None:
    """One delivery shows its state and what was tried; none yet is said."""
    ran = smsbridge("deliveries", "show", "1", "-c", filled.config, "--json")
    assert ran.document["attempts"] == []
    assert ran.document["data"]["id"] == filled.message_id
    assert "none yet" in smsbridge("deliveries", "show", "1", "-c", filled.config).err


def test_retry_wants_one_way_of_naming(smsbridge: Smsbridge, filled: Filled) -> None:
    """Neither nothing nor two ways at once name what to try again."""
    for arguments in ((), ("1", "--state", "dead")):
        ran = smsbridge("deliveries", "retry", *arguments, "-c", filled.config)
        assert ran.code == 2
        assert "name either ids" in ran.err


def test_quarantine_gives_the_raw_mail_back(smsbridge: Smsbridge, filled: Filled) -> None:
    """The list says why and hides addresses; show has them, and --raw gives the bytes."""
    ran = smsbridge("quarantine", "list", "-c", filled.config, "--json")
    (row,) = ran.document
    assert (row["id"], row["reason"]) == (filled.quarantined, "no_sender")
    assert "t0ken" not in ran.out
    ran = smsbridge("quarantine", "show", str(filled.quarantined), "-c", filled.config, "--json")
    assert ran.document["recipients"] == ["t0ken@example.com"]
    ran = smsbridge("quarantine", "show", str(filled.quarantined), "-c", filled.config, "--raw")
    assert ran.out == "Subject: hello\r\n\r\nno SMS"


def test_reparse_tells_what_stays(smsbridge: Smsbridge, filled: Filled) -> None:
    """What still cannot be read stays in quarantine, and the exit code says so."""
    ran = smsbridge("quarantine", "reparse", "--all", "-c", filled.config, "--json")
    assert ran.code == 1
    (row,) = ran.document
    assert (row["arrival_id"], row["outcome"]) == (filled.quarantined, "quarantine")


def test_reparse_of_a_wrong_id_beside_a_right_one_changes_nothing(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """A list with a typo in it is refused before the first of it is parsed."""
    right = str(filled.quarantined)
    ran = smsbridge("quarantine", "reparse", right, "99", "-c", filled.config, "--json")
    assert (ran.code, ran.out) == (2, "")
    shown = smsbridge("quarantine", "show", right, "-c", filled.config, "--json").document
    assert shown["reparsed_at"] is None


def test_reparse_after_a_fix_of_the_config_makes_the_message(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """A mail that was quarantined for want of a provider becomes its message, with deliveries."""
    config = filled.config.read_text()
    without = config.replace('name = "agile"', 'name = "agile"\nsenders = ["x@example.com"]')
    filled.config.write_text(without)
    arrival = store(filled.config, mail("2", "Second")).arrival_id
    filled.config.write_text(config)
    ran = smsbridge("quarantine", "reparse", str(arrival), "-c", filled.config, "--json")
    assert ran.code == 0
    (row,) = ran.document
    assert row["outcome"] == "message"
    shown = smsbridge("messages", "show", row["message_id"], "-c", filled.config, "--json").document
    assert shown["data"]["body"] == "Second"
    assert {each["endpoint"]: each["state"] for each in shown["deliveries"]} == {
        "crm": "pending",
        "other": "filtered",
    }
    again = smsbridge("quarantine", "reparse", str(arrival), "-c", filled.config, "--json")
    assert (again.code, again.document[0]["outcome"]) == (1, "refused")


def test_the_audit_proves_the_ledger_and_finds_a_hole(smsbridge: Smsbridge, filled: Filled) -> None:
    """A whole ledger is exit 0; one with a row torn out is exit 1 and says which rule broke."""
    ran = smsbridge("audit", "-c", filled.config, "--json")
    assert ran.code == 0
    assert ran.document["ok"] is True
    assert smsbridge("audit", "-c", filled.config).code == 0

    with sqlite3.connect(filled.config.parent / "bridge.db") as database:
        database.execute("DELETE FROM deliveries WHERE endpoint = 'crm'")
    database.close()
    ran = smsbridge("audit", "-c", filled.config, "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert "WRONG" in smsbridge("audit", "-c", filled.config).out


def test_a_store_that_is_not_there_is_told(smsbridge: Smsbridge, config: Path) -> None:
    """Commands never make a database: they say that the daemon does."""
    ran = smsbridge("messages", "list", "-c", config)
    assert ran.code == 2
    assert "does not exist yet" in ran.err
    assert not (config.parent / "bridge.db").exists()


@pytest.mark.parametrize("command", ["messages", "deliveries", "quarantine"])
def test_lists_go_on_from_an_id(smsbridge: Smsbridge, filled: Filled, command: str) -> None:
    """--limit and --before walk through a list without gap or repeat."""
    whole = smsbridge(command, "list", "-c", filled.config, "--json").document
    key = "arrival_id" if command == "messages" else "id"
    walked: list[object] = []
    before: tuple[str, ...] = ()
    while page := smsbridge(
        command, "list", "-n", "1", *before, "-c", filled.config, "--json"
    ).document:
        walked += page
        before = ("--before", str(page[-1][key]))
    assert walked == whole


def test_a_full_disk_stops_reparse_as_it_stops_import(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """Below `min_free` no operation writes arrivals; the quarantined one stays as it is."""
    text = filled.config.read_text()
    filled.config.write_text(text.replace("min_free = 0", f"min_free = {2**62}"))
    (tmp_path / "mail.eml").write_bytes(mail("9"))
    for command in (
        ("quarantine", "reparse", str(filled.quarantined)),
        ("import", str(tmp_path / "mail.eml")),
    ):
        ran = smsbridge(*command, "-c", filled.config)
        assert (ran.code, "min_free" in ran.err) == (2, True), ran
    filled.config.write_text(text)
    ran = smsbridge("quarantine", "show", str(filled.quarantined), "-c", filled.config, "--json")
    assert ran.document["reparsed_at"] is None


def test_a_change_that_refuses_itself_is_one_sentence(smsbridge: Smsbridge, filled: Filled) -> None:
    """A wrong id is the operator's mistake: no log line stands beside the sentence."""
    ran = smsbridge("deliveries", "retry", "99", "-c", filled.config)
    assert (ran.code, ran.err) == (2, "smsbridge: there is no delivery 99\n")
    ran = smsbridge("endpoints", "hold", "cmr", "-c", filled.config)
    assert (ran.code, ran.err) == (2, "smsbridge: no endpoint 'cmr'\n")


def test_reparse_of_a_purged_arrival_changes_nothing(smsbridge: Smsbridge, filled: Filled) -> None:
    """One without raw bytes is refused before any other is touched, and --all passes it by."""
    purged = store(filled.config, b"Subject: purged\r\n\r\nno SMS").arrival_id
    with sqlite3.connect(filled.config.with_name("bridge.db")) as connection:
        connection.execute("UPDATE arrivals SET raw = x'', purged_at = 1 WHERE id = ?", [purged])
    connection.close()
    both = (str(filled.quarantined), str(purged))
    ran = smsbridge("quarantine", "reparse", *both, "-c", filled.config)
    assert (ran.code, "purged" in ran.err) == (2, True)
    shown = smsbridge("quarantine", "show", both[0], "-c", filled.config, "--json").document
    assert shown["reparsed_at"] is None
    ran = smsbridge("quarantine", "reparse", "--all", "-c", filled.config, "--json")
    assert [each["arrival_id"] for each in ran.document] == [filled.quarantined]
    raw = smsbridge("quarantine", "show", both[1], "--raw", "-c", filled.config)
    assert (raw.code, "purged" in raw.err) == (2, True)
