"""One line an event, and nothing in it that must not be seen."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from bridge import logs
from bridge.config.settings import LogSettings
from bridge.errors import StoreUnavailable
from tests.patience import PATIENCE

NUMBER = "+393301234567"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Send JSON lines into memory, and put the process's logging back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    logs.configure(LogSettings(level="debug", format="json"), stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before


def last(stream: io.StringIO) -> dict[str, Any]:
    line = stream.getvalue().splitlines()[-1]
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("whole", "masked"),
    [
        (NUMBER, "+39******4567"),
        ("393301234567", "393*****4567"),
        ("12345", "***"),
        ("AGILE", "***"),
        ("", "***"),
        ("someone@example.com", "s***@example.com"),
        ("+39******4567", "+39******4567"),
    ],
)
def test_a_masked_number_tells_two_ends_at_most(whole: str, masked: str) -> None:
    """Numbers keep their ends, short values and names of mailboxes nothing."""
    assert logs.mask(whole) == masked


def test_a_line_has_the_fixed_fields_first(lines: io.StringIO) -> None:
    """Time, level, event and room come first, then the fields as given."""
    logs.logger("ingest").info("arrival.stored", arrival=12, peer="192.0.2.1", ms=1.5)
    found = last(lines)
    assert list(found) == ["ts", "level", "event", "room", "arrival", "peer", "ms"]
    assert (found["level"], found["event"], found["room"]) == ("info", "arrival.stored", "ingest")
    assert datetime.fromisoformat(found["ts"]).utcoffset() is not None
    assert len(found["ts"]) == len("2026-04-08T12:30:53.104Z")


def test_known_fields_are_hidden_or_masked_wherever_they_are(lines: io.StringIO) -> None:
    """Whatever a caller passes by mistake, texts and secrets are hidden and numbers masked."""
    logs.logger("x").info(
        "e",
        body="News ON",
        secret="whsec_x",
        recipients=(NUMBER, "t0ken@example.com"),
        inner={"to": NUMBER, "text": "News ON", "list": [{"raw": b"News ON"}]},
        **{"from": NUMBER},
    )
    written = lines.getvalue()
    for hidden in (NUMBER, "News ON", "whsec_x", "t0ken"):
        assert hidden not in written
    assert last(lines)["from"] == "+39******4567"


def test_objects_are_named_not_printed(lines: io.StringIO) -> None:
    """An object's repr() may hold a message, so only its class is written."""

    class Message:
        def __repr__(self) -> str:
            return "News ON"

    logs.logger("x").info("e", what=Message(), raw_bytes=b"News ON", error=KeyError("News ON"))
    assert "News ON" not in lines.getvalue()
    assert last(lines)["what"] == "<Message>"


def test_an_exception_is_one_line_without_values(lines: io.StringIO) -> None:
    """The stack stands in one field; the text of errors that may quote a value is left out."""
    values = {}
    try:
        try:
            values[f"News ON from {NUMBER}"]
        except KeyError as error:
            raise StoreUnavailable("the database is locked") from error
    except StoreUnavailable:
        logs.logger("x").exception("boom")
    assert len(lines.getvalue().splitlines()) == 1
    found = last(lines)
    assert found["level"] == "error"
    assert "KeyError\nwhich led to:" in found["stack"]
    assert "StoreUnavailable: the database is locked" in found["stack"]
    assert "test_logs.py" in found["stack"]
    assert NUMBER not in found["stack"]


def test_a_group_of_exceptions_is_told_whole(lines: io.StringIO) -> None:
    """Every exception of a task group has its place in the stack."""
    group = ExceptionGroup("tasks", [ValueError("News ON"), OSError(28, "No space left")])
    logs.logger("x").error("boom", exc_info=group)
    stack = last(lines)["stack"]
    assert stack.count("of which one is:") == 2
    assert "No space left" in stack
    assert "News ON" not in stack


def test_libraries_and_warnings_leave_by_the_same_door(lines: io.StringIO) -> None:
    """Standard logging and warnings become our lines, with numbers and addresses masked."""
    logging.getLogger("some.library").warning("rcpt %s from %s", "t0ken@example.com", NUMBER)
    found = last(lines)
    assert (found["event"], found["room"], found["level"]) == ("library", "some.library", "warning")
    assert found["message"] == "rcpt t***@example.com from +39******4567"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in last(lines)["message"]


def test_talkative_libraries_stay_silent_below_warning(lines: io.StringIO) -> None:
    """What prints commands, bodies and tokens is not heard, even if we are at debug."""
    for name in (
        "mail.log",
        "aiohttp.access",
        "aioimaplib.aioimaplib",
        "httpx",
        "sqlalchemy.engine",
    ):
        logging.getLogger(name).info("RCPT TO:<t0ken@example.com>")
    assert lines.getvalue() == ""


def test_the_driver_does_not_warn_of_what_it_raises(lines: io.StringIO) -> None:
    """An error of PostgreSQL is a sentence of ours, and not a second line of psycopg's."""
    logging.getLogger("psycopg").warning("error ignored in rollback on <connection>: gone")
    assert lines.getvalue() == ""


def test_a_reload_keeps_the_lines_that_wait(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config is taken over while nobody reads: no line is lost, no descriptor leaks."""
    for name in ("stream", "sink", "level"):
        monkeypatch.setattr(logs._output, name, getattr(logs._output, name))
    reading, writing = os.pipe()
    with os.fdopen(reading) as there, os.fdopen(writing, "w") as stream:
        logs.configure(LogSettings(format="json"), stream)
        sink = logs._output.sink
        logs.configure(LogSettings(format="json", level="debug"), stream)
        assert logs._output.sink is sink
        logs.logger("x").debug("e")
        assert json.loads(there.readline())["event"] == "e"
        assert logs.problem() is None
        assert logs.flush() == 0


def test_no_field_breaks_out_of_its_line(lines: io.StringIO) -> None:
    """Line ends, escape sequences and lone surrogates are escaped, on a console too."""
    for form in ("json", "console"):
        logs.configure(LogSettings(level="debug", format=form), lines)  # type: ignore[arg-type]
        before = len(lines.getvalue().splitlines())
        logs.logger("x").warning("e", peer="a\nb\x1b[31m\udcff\u2028")
        written = lines.getvalue()
        assert len(written.splitlines()) == before + 1
        assert "\x1b" not in written


def test_a_console_line_reads_as_text(lines: io.StringIO) -> None:
    """The console form is one plain line, and the stack follows it as it is."""
    logs.configure(LogSettings(level="debug", format="console"), lines)
    logs.logger("ingest").info("arrival.stored", arrival=12, detail="two words")
    assert lines.getvalue().endswith(
        'info    ingest    arrival.stored arrival=12 detail="two words"\n'
    )


def test_a_broken_stream_does_not_stop_the_daemon(lines: io.StringIO) -> None:
    """A closed standard error loses the line and nothing else."""
    logs.configure(LogSettings(format="json"), lines)
    lines.close()
    logs.logger("x").error("e")
    logs.configure(LogSettings(format="json"), io.StringIO())


def test_a_stream_that_logs_itself_is_not_waited_for() -> None:
    """Garbage that is collected while a line is written to a file logs: its line comes first."""

    class Logging(io.StringIO):
        def write(self, text: str) -> int:
            if "outer" in text:
                logs.logger("x").error("inner")
            return super().write(text)

    stream = Logging()
    logs.configure(LogSettings(format="json"), stream)
    try:
        logs.logger("x").error("outer")
    finally:
        logs.configure(LogSettings(format="json"), io.StringIO())
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["inner", "outer"]


@pytest.mark.processes
def test_a_closed_standard_error_is_no_reason_to_stop() -> None:
    """Some supervisors start a daemon without one: its lines are lost and nothing else."""
    script = (
        "import sys; assert sys.stderr is None\n"
        "from bridge import logs\n"
        "from bridge.config.settings import LogSettings\n"
        "logs.logger('x').warning('before'); logs.configure(LogSettings())\n"
        "logs.logger('x').warning('after')\n"
        "print('done')\n"
    )
    ran = subprocess.run(  # the script is ours
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script],
        stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ran.stdout == "done\n"


@pytest.mark.processes
def test_level_and_form_of_a_fresh_process() -> None:
    """Below the level nothing is written; before configure only warnings are, on stderr."""
    script = (
        "from bridge import logs\n"
        "from bridge.config.settings import LogSettings\n"
        "log = logs.logger('x')\n"
        "log.info('before.info'); log.warning('before.warning')\n"
        "logs.configure(LogSettings(level='error'))\n"
        "log.warning('after.warning'); log.error('after.error')\n"
        "import logging; logging.getLogger('x').warning('%d', 'no number')\n"
    )
    ran = subprocess.run(  # the script is ours
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    events = [json.loads(line)["event"] for line in ran.stderr.splitlines()]
    assert (ran.stdout, events) == ("", ["before.warning", "after.error", "library"])
    assert "cannot be formatted" in ran.stderr
