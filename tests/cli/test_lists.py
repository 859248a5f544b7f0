"""Lists as an operator uses them: filters, pages, prefixes, and what failed last."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Filled, Ran, mail, store
from tests.patience import PATIENCE

Smsbridge = Callable[..., Ran]
Lister = Callable[..., list[str]]


def sql(config: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(config.with_name("bridge.db")) as database:
        database.execute(statement, values)
    database.close()


def failed(config: Path, delivery: int, number: int, status: int | None, detail: str) -> None:
    """Write a failed attempt."""
    sql(
        config,
        "INSERT INTO attempts (delivery_id, number, started_at, duration, result, lease_lost,"
        " status, error, detail, answer) VALUES (?, ?, 0, 0.5, 'retry', 0, ?, NULL, ?, ?)",
        delivery, number, status, detail, b"<html><body>" + b"oops " * 100,
    )  # fmt: skip
    sql(config, "UPDATE deliveries SET attempts = ? WHERE id = ?", number, delivery)


@pytest.fixture
def second(filled: Filled) -> str:
    """Store a second message, which is the newer one."""
    found = store(filled.config, mail("2", "100% Überraschung")).message_id
    assert found is not None
    return found


@pytest.fixture
def listed(smsbridge: Smsbridge, filled: Filled) -> Lister:
    """List the ids of the messages that filters match."""

    def run(*filters: str) -> list[str]:
        ran = smsbridge("messages", "list", *filters, "-c", filled.config, "--json")
        assert ran.code == 0, ran.err
        return [each["id"] for each in ran.document]

    return run


def test_messages_are_filtered(filled: Filled, second: str, listed: Lister) -> None:
    """By number or its end, text, state, endpoint and time of arrival; all must match."""
    first = filled.message_id
    both = [second, first]
    sql(filled.config, "UPDATE deliveries SET state = 'dead' WHERE id = 1")
    sql(filled.config, "UPDATE arrivals SET received_at = 0 WHERE message_id = ?", first)
    assert listed("--number", "+393301234567") == both
    assert listed("--number", "34567") == both
    assert listed("--number", "+39333123") == []
    assert listed("--number", "%") == []
    assert listed("--text", "news") == [first]
    assert listed("--text", "100%") == [second]
    assert listed("--state", "dead") == [first]
    assert listed("--state", "filtered", "--endpoint", "crm") == []
    assert listed("--state", "filtered", "--endpoint", "other") == both
    assert listed("--endpoint", "crm", "--text", "news") == [first]
    assert listed("--since", "2000-01-01") == [second]
    assert listed("--until", "2000-01-01") == [first]
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert listed("--since", yesterday, "--provider", "agile") == [second]


def test_a_message_shows_the_state_of_its_deliveries(
    smsbridge: Smsbridge, filled: Filled, second: str
) -> None:
    """Pending before held, dead, delivered and filtered; and when it arrived."""

    def state() -> Any:
        ran = smsbridge("messages", "list", "-n", "1", "-c", filled.config, "--json")
        return ran.document[0]["state"]

    assert state() == "pending"
    for each in ("held", "dead", "delivered", "filtered"):
        sql(filled.config, "UPDATE deliveries SET state = ? WHERE id = 3", each)
        assert state() == each
    ran = smsbridge("messages", "list", "-c", filled.config)
    assert ran.out.splitlines()[0].split() == [
        "arrival_id", "id", "state", "arrived_at", "provider", "to", "from",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["messages", "deliveries", "quarantine"])
def test_a_list_says_that_there_is_more(
    smsbridge: Smsbridge, filled: Filled, second: str, command: str
) -> None:
    """The note names the --before of the next page; a whole list has none."""
    store(filled.config, b"Subject: hello again\r\n\r\nno SMS")
    cut = smsbridge(command, "list", "-n", "1", "-c", filled.config)
    (key,) = [word for word in cut.err.replace(",", "").split() if word.isdigit()]
    assert "there are more: add --before" in cut.err
    rest = smsbridge(command, "list", "--before", key, "-c", filled.config)
    assert rest.out.splitlines()[1:] != cut.out.splitlines()[1:]
    assert "there are more" not in smsbridge(command, "list", "-c", filled.config).err
    pages = smsbridge(command, "list", "-n", "1", "-c", filled.config, "--json")
    assert len(pages.document) == 1


def test_a_message_is_found_by_the_beginning_of_its_id(
    smsbridge: Smsbridge, filled: Filled, second: str
) -> None:
    """A beginning that only one message has is enough; of two it is refused."""

    def show(wanted: str) -> Ran:
        return smsbridge("messages", "show", wanted, "-c", filled.config, "--json")

    pairs = enumerate(zip(filled.message_id, second, strict=True))
    common = second[: next(index for index, (one, other) in pairs if one != other)]
    assert show(second[: len(common) + 1]).document["data"]["id"] == second
    ran = show(common)
    assert (ran.code, "several messages begin with" in ran.err) == (2, True)
    for wrong in ("msg_X", "%", "", "_" * 30):
        assert show(wrong).code == 2


def test_a_message_is_found_by_the_id_in_the_250(smsbridge: Smsbridge, filled: Filled) -> None:
    """The id of "Stored as …" stands in our Received header, and leads to the message."""
    received = b"Received: from x by y (smsbridge)\r\n\twith ESMTP id 00ff12ab34cd56ef;\r\n"
    received += b"\tWed, 08 Apr 2026 14:30:53 +0200\r\n"
    stored = store(filled.config, received + mail("other", "another"))
    # A newer mail that was discarded has no raw bytes any more.
    gone = store(filled.config, mail("gone").replace(b"Body:", b"Nothing:")).arrival_id
    where = ("-c", filled.config)
    assert smsbridge("quarantine", "discard", str(gone), "--because", "spam", *where).code == 0
    ran = smsbridge("messages", "show", "00ff12ab34cd56ef", "-c", filled.config, "--json")
    assert ran.document["data"]["id"] == stored.message_id
    assert smsbridge("messages", "show", "00ff12ab34cd56e0", "-c", filled.config).code == 2


def test_a_message_is_found_by_the_number_of_its_arrival(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """A duplicate's number leads to its message, too; quarantine is named."""
    again = store(filled.config, mail()).arrival_id
    for arrival in ("1", str(again)):
        ran = smsbridge("messages", "show", arrival, "-c", filled.config, "--json")
        assert ran.document["data"]["id"] == filled.message_id
    ran = smsbridge("messages", "show", str(filled.quarantined), "-c", filled.config)
    assert (ran.code, f"quarantine show {filled.quarantined}" in ran.err) == (2, True)
    assert smsbridge("messages", "show", "99", "-c", filled.config).code == 2


def test_deliveries_show_their_last_error(smsbridge: Smsbridge, filled: Filled) -> None:
    """The newest attempt counts: its detail, else its status; a success clears it."""

    def error() -> Any:
        ran = smsbridge("deliveries", "list", "--endpoint", "crm", "-c", filled.config, "--json")
        return ran.document[0]["last_error"]

    assert error() is None
    failed(filled.config, 1, 1, None, "no connection: Connection refused")
    assert error() == "no connection: Connection refused"
    failed(filled.config, 1, 2, 503, "")
    assert error() == "answered 503"
    assert "answered 503" in smsbridge("deliveries", "list", "-c", filled.config).out
    sql(filled.config, "UPDATE attempts SET result = 'delivered', status = 200 WHERE number = 2")
    assert error() is None


def test_what_waits_behind_another_delivery_says_so(smsbridge: Smsbridge, config: Path) -> None:
    """In lists, beside its message, alone and summed up for the endpoint."""
    config.write_text(
        config.read_text().replace('name = "crm"', 'name = "crm"\norder = "conversation"')
    )
    store(config, mail("1"))
    second = store(config, mail("2", "and this")).message_id
    assert second is not None
    listed = smsbridge("deliveries", "list", "--endpoint", "crm", "-c", config, "--json").document
    assert [(each["behind"], each["next_at"] is None) for each in listed] == [
        (listed[1]["id"], True),
        (None, False),
    ]
    behind = f"waits behind delivery {listed[1]['id']}"
    for words in (("deliveries", "list"), ("messages", "show", second)):
        assert behind in smsbridge(*words, "-c", config).out
    alone = smsbridge("deliveries", "show", str(listed[0]["id"]), "-c", config)
    assert ["behind", str(listed[1]["id"])] in [line.split() for line in alone.out.splitlines()]
    endpoints = smsbridge("endpoints", "list", "-c", config, "--json").document
    assert [(each["pending"], each["behind"]) for each in endpoints] == [(2, 1), (0, 0)]


def test_reparse_ends_in_totals(smsbridge: Smsbridge, filled: Filled) -> None:
    """After the list of what was parsed again stands how many became what."""
    ran = smsbridge("quarantine", "reparse", "--all", "-c", filled.config)
    assert ran.out.splitlines()[-2:] == ["totals", "quarantine  1"]


@pytest.mark.processes
def test_a_terminal_of_80_columns_breaks_no_id(filled: Filled, environment: dict[str, str]) -> None:
    """On a real terminal every line fits, ids and times are whole words, attempts are blocks."""
    failed(filled.config, 1, 1, 503, "")

    def on_terminal(*arguments: str) -> list[str]:
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *arguments, "-c", str(filled.config)],
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
            env={**environment, "COLUMNS": "80"},
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # EIO: the other side is closed
            pass
        os.close(ours)
        assert process.wait(PATIENCE) == 0
        return shown.decode().splitlines()

    begin = filled.message_id[:18]
    for arguments in (("messages", "list"), ("deliveries", "list")):
        lines = on_terminal(*arguments)
        assert max(map(len, lines)) <= 80
        assert any(begin in line.split() for line in lines)
    lines = on_terminal("deliveries", "show", "1")
    assert "attempt 1" in lines
    assert max(map(len, lines)) <= 80


@contextmanager
def following(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that ends by Ctrl-C, and end it in any case."""
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", *arguments],
        stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        finally:
            process.kill()


@pytest.mark.processes
@pytest.mark.parametrize("command", ["messages", "deliveries", "quarantine"])
def test_a_list_is_followed(filled: Filled, environment: dict[str, str], command: str) -> None:
    """What is there comes first, then each new row when it comes; Ctrl-C ends it."""
    arguments = [command, "list", "--follow", "-n", "1", "-c", str(filled.config)]
    with following(environment, *arguments) as process:
        assert process.stdout is not None
        head, first = (process.stdout.readline().split() for _ in range(2))
        assert head[0] in ("id", "arrival_id")
        store(filled.config, mail("2", "Second"))
        store(filled.config, b"Subject: hello again\r\n\r\nno SMS")
        new = process.stdout.readline().split()
        assert int(new[0]) > int(first[0])


@pytest.mark.processes
def test_a_followed_list_is_lines_of_json(filled: Filled, environment: dict[str, str]) -> None:
    """One document a line, as a pipe wants it."""
    arguments = ["messages", "list", "--follow", "--json", "-c", str(filled.config)]
    with following(environment, *arguments) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == filled.message_id
        new = store(filled.config, mail("2", "Second")).message_id
        assert json.loads(process.stdout.readline())["id"] == new


def test_what_cannot_be_followed_is_refused(smsbridge: Smsbridge, filled: Filled) -> None:
    """A message arrives before it has the state that was asked for."""
    ran = smsbridge("messages", "list", "--follow", "--state", "dead", "-c", filled.config)
    assert (ran.code, "--follow goes with no --state" in ran.err) == (2, True)
    ran = smsbridge("deliveries", "list", "--follow", "--before", "9", "-c", filled.config)
    assert (ran.code, "--follow goes with no --before" in ran.err) == (2, True)


def test_what_is_due_at_an_endpoint_with_a_rate_waits_for_it(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """The list, the delivery itself and the status say so; what waits for a retry does not."""
    text = filled.config.read_text().replace('name = "crm"', 'name = "crm"\nrate = "30 / m"')
    filled.config.write_text(text)
    sql(filled.config, "UPDATE deliveries SET leased_by = NULL, due_at = 0 WHERE endpoint = 'crm'")
    ran = smsbridge("deliveries", "list", "--endpoint", "crm", "-c", filled.config, "--json")
    (delivery,) = ran.document
    assert delivery["waits_for_rate"] == "30/m"
    shown = smsbridge("deliveries", "show", str(delivery["id"]), "-c", filled.config, "--json")
    assert shown.document["delivery"]["waits_for_rate"] == "30/m"
    shown = smsbridge("deliveries", "list", "--endpoint", "crm", "-c", filled.config)
    assert "its turn: the endpoint's rate is 30/m" in " ".join(shown.out.split())
    problems = smsbridge("status", "-c", filled.config, "--json").document["problems"]
    assert any("its rate lets out 30/m" in each for each in problems)
    later = 4_000_000_000_000_000
    sql(filled.config, "UPDATE deliveries SET due_at = ? WHERE endpoint = 'crm'", later)
    ran = smsbridge("deliveries", "list", "--endpoint", "crm", "-c", filled.config, "--json")
    assert ran.document[0]["waits_for_rate"] is None
    problems = smsbridge("status", "-c", filled.config, "--json").document["problems"]
    assert not any("its rate" in each for each in problems)


def test_an_endpoint_that_is_mistyped_is_told(smsbridge: Smsbridge, filled: Filled) -> None:
    """Nothing to show may mean that all is well, or that nobody is called so."""
    ran = smsbridge("deliveries", "list", "--endpoint", "crn", "-c", filled.config)
    assert ran.code == 0
    assert "the config has no endpoint 'crn', but crm" in ran.err
    known = ("--endpoint", "crm", "--state", "dead")
    none = smsbridge("deliveries", "list", *known, "-c", filled.config)
    assert none.err.strip() == "no deliveries"
