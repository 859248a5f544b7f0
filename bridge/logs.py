"""One line an event on standard error: JSON for machines, plain text on a terminal.

Numbers are masked and texts and secrets dropped here once more, whatever a caller passes:
redaction by field name is the last resort, not the plan. Libraries' log records and warnings
leave by the same door.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, Protocol, TextIO

from bridge.errors import BridgeError
from bridge.log_sink import MOST_WAITING, LogSink

_NUMBER_FIELDS: Final = frozenset(
    {"from", "to", "sender", "recipient", "recipients", "number", "envelope_from", "rcpt"}
)
_HIDDEN_FIELDS: Final = frozenset(
    {
        "answer", "authorization", "body", "content", "password", "raw", "secret", "secrets",
        "signature", "subject", "text", "token",
    }
)  # fmt: skip
_GUARDED: Final = _NUMBER_FIELDS | _HIDDEN_FIELDS
_AS_THEY_ARE: Final = frozenset({int, float, bool, type(None)})
_HIDDEN: Final = "[hidden]"
_MAX_TEXT: Final = 4000  # characters of one value; a stack is cut by frames instead
_MAX_FRAMES: Final = 30  # of each exception in a chain

# Libraries put addresses and numbers into their sentences: seven digits in a row are masked.
# An address is only tried where a word begins: from each letter, it would be quadratic.
_ADDRESS: Final = re.compile(r"(?<![^\s@<>\"'(),;:])[^\s@<>\"'(),;:]++@[^\s@<>\"'(),;:]+")
_DIGITS: Final = re.compile(r"\+?\d{7,}")

# Errors whose text names types, files or our own sentences. Any other's text may quote a value
# (`int("+39…")`, a KeyError's key, a driver's parameters), so its class and stack must do.
_TELLING: Final = (BridgeError, OSError, TypeError, AttributeError, NameError, ImportError)

# These print what passes through them (commands with secret recipients, bodies, tokens, URLs)
# below WARNING; psycopg warns of errors that it raises as well, in words of its own.
_TALKATIVE: Final = {
    "mail.log": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "aioimaplib": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "psycopg": logging.ERROR,
}

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PLAIN: Final = re.compile(r"[\w.,:;/@+*<>\[\]()%-]+", re.ASCII)


class LogChoice(Protocol):
    """What `configure` needs to know: `bridge.config.settings.LogSettings` has it."""

    @property
    def level(self) -> Literal["debug", "info", "warning", "error"]:
        """The least level that is written."""
        ...

    @property
    def format(self) -> Literal["auto", "json", "console"]:
        """How a line looks; auto is console on a terminal, else JSON."""
        ...


def mask(number: str) -> str:
    """Hide the middle of a number (`+39******4567`) or an address (`s***@example.com`)."""
    name, at, domain = number.rpartition("@")
    if at:
        return f"{name[:1]}***@{domain}"
    if len(number) < 10:  # short codes and sender IDs: two ends would give away nearly all
        return "***"
    return f"{number[:3]}{'*' * (len(number) - 7)}{number[-4:]}"


class Logger:
    """Writes the lines of one room: a constant event name, and everything else as fields."""

    __slots__ = ("_room",)

    def __init__(self, room: str) -> None:
        self._room = room

    def debug(self, event: str, **fields: object) -> None:
        """Write what only somebody who looks for a fault wants to see."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write what happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write what an operator may have to look at."""
        self._write("warning", event, fields)

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        """Write what an operator must look at; with an exception's place, not its values."""
        self._write("error", event, fields, exc_info)

    def exception(self, event: str, **fields: object) -> None:
        """Write the exception that is being handled, with its place."""
        self._write("error", event, fields, sys.exc_info()[1])

    def _write(
        self,
        level: str,
        event: str,
        fields: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        if _LEVELS[level] < _output.level:
            return
        arranged: dict[str, object] = {
            "ts": _now(), "level": level, "event": event, "room": self._room
        }  # fmt: skip
        for name, value in fields.items():
            # For nearly every field, what `_value` would return is the value.
            plain = type(value) in _AS_THEY_ARE or (type(value) is str and len(value) <= _MAX_TEXT)
            arranged[name] = value if plain and name not in _GUARDED else _value(name, value)
        if error is not None:
            arranged["stack"] = stack(error)
        _output.write(arranged)


def logger(room: str) -> Logger:
    """Return the logger of a room: `log.info("arrival.stored", arrival=12)`."""
    return Logger(room)


def _standard_error() -> TextIO:
    # None in a process that began with it closed.
    return sys.stderr or Path(os.devnull).open("w")


class _Output:
    """The stream that lines go to, and how they look; replaced by `configure`."""

    def __init__(self) -> None:
        self.stream = _standard_error()
        self.sink: LogSink | None = None  # for a stream that must not be waited for
        self.render = _json_line
        # Until `configure`: warnings and errors only, so that a command's output stays its own.
        self.level = logging.WARNING
        self._lock = threading.RLock()  # garbage that is collected while a line is written logs

    def write(self, fields: Mapping[str, object]) -> None:
        """Write one line with one call; a broken stderr must not take the daemon down."""
        text = self.render(fields)
        if self.sink is not None:
            self.sink.write(text)
            return
        try:
            with self._lock:
                self.stream.write(text + "\n")
                self.stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, full, nobody reads, or see above
            return


class _LibraryLines(logging.Handler):
    """Turns the log records of libraries into our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be formatted is named instead of raised."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = "a record that cannot be formatted"
        fields: dict[str, object] = {
            "ts": _now(),
            "level": record.levelname.lower(),
            "event": "library",
            "room": record.name,
            "message": _without_numbers(message)[:_MAX_TEXT],
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["stack"] = stack(record.exc_info[1])
        _output.write(fields)


def configure(settings: LogChoice, stream: TextIO | None = None) -> None:
    """Send our lines and those of libraries to `stream` (standard error) as the config says."""
    before, _output.stream = _output.stream, stream if stream is not None else _standard_error()
    if _output.sink is None or _output.stream is not before:  # else lines may wait in it
        _output.sink = LogSink.of(_output.stream, _lines_dropped)
    as_json = settings.format == "json" or (
        settings.format == "auto" and not _output.stream.isatty()
    )
    _output.render = _json_line if as_json else _console_line
    _output.level = _LEVELS[settings.level]

    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(_LibraryLines())
    root.setLevel(logging.WARNING)
    for name, level in _TALKATIVE.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)
    # Each place warns once: a warning in the line that every mail takes must not fill the disk.
    if not sys.warnoptions:
        warnings.simplefilter("default")


def _lines_dropped(count: int) -> str:
    return _output.render(
        {"ts": _now(), "level": "warning", "event": "log.dropped", "room": "logs", "lines": count}
    )


def flush(seconds: float = 0.0) -> int:
    """Write lines that wait for a reader that stalled; return how many were dropped since last.

    Waits at most so many seconds.
    """
    if _output.sink is None:
        return 0
    _output.sink.flush(seconds)
    return _output.sink.count_dropped()


def problem() -> str | None:
    """Describe what is wrong with the log; None if each line is written at once."""
    if _output.sink is None or not _output.sink.waiting:
        return None
    return (
        f"nobody reads the log: {_output.sink.waiting} bytes wait, and lines are dropped beyond "
        f"{MOST_WAITING}; is the program or the journal behind standard error stuck?"
    )


def stack(error: BaseException) -> str:
    """Describe where an error came from: classes and places, oldest call first, without values."""
    return "\n".join(_stack(error, set()))


def _stack(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _stack(before, seen)
        yield "which led to:"
    for frame in traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
    text = _without_numbers(str(error))[:_MAX_TEXT] if isinstance(error, _TELLING) else ""
    yield f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if id(inner) not in seen:
                yield "of which one is:"
                yield from _stack(inner, seen)


def _without_numbers(text: str) -> str:
    """Mask what looks like a number or an address in a sentence that is not ours."""
    text = _ADDRESS.sub(lambda found: mask(found[0]), text)
    return _DIGITS.sub(lambda found: mask(found[0]), text)


def _now() -> str:
    """Return the time, in UTC with milliseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_date(seconds)}.{nanoseconds // 1_000_000:03d}Z"


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _value(name: str, value: object) -> object:
    """Return what a line may hold of a field: hidden, masked, or made printable."""
    if name in _HIDDEN_FIELDS:
        return _HIDDEN
    match value:
        case None | bool() | int() | float():
            return value if name not in _NUMBER_FIELDS else mask(str(value))
        case str():
            # StrEnum is a str too, and is written as its value.
            text = mask(value) if name in _NUMBER_FIELDS else str(value)
            return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
        case Mapping():
            return {str(key): _value(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_value(name, inner) for inner in value]
        case date():  # datetime is one
            return value.isoformat()
        case Path():
            return str(value)
        case BaseException():
            return type(value).__qualname__
        case _:
            # Never repr(): a message's would print its text.
            return f"<{type(value).__name__}>"


# ASCII only: no escape sequence of a sender reaches a terminal, no surrogate breaks the stream.
_encode: Final = json.JSONEncoder(ensure_ascii=True, default=lambda _: _HIDDEN).encode


def _json_line(fields: Mapping[str, object]) -> str:
    return _encode(fields)


def _console_line(fields: Mapping[str, object]) -> str:
    rest = dict(fields)
    stack_lines = rest.pop("stack", None)
    moment = str(rest.pop("ts"))[11:23]
    head = f"{moment} {rest.pop('level')!s:<7} {rest.pop('room')!s:<9} {rest.pop('event')}"
    line = " ".join([head, *(f"{name}={_console(value)}" for name, value in rest.items())])
    return f"{line}\n{stack_lines}" if stack_lines else line


def _console(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return _encode(value)


_output: Final = _Output()
