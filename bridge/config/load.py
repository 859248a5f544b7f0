"""Finds and loads the config file, and reports all problems at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bridge.config.folder import beside
from bridge.config.lines import key_lines, line_of
from bridge.config.settings import Settings
from bridge.config.validation_errors import path_of, problem_of, unknown_key
from bridge.errors import ConfigError, ConfigErrors

ENVIRONMENT: Final = "SMSBRIDGE_CONFIG"
PLACES: Final = (Path("config.toml"), Path("/etc/smsbridge/config.toml"))

_MAX_BYTES: Final = 1024**2
_POSITION: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)")
_UNCLOSED: Final = "the closing quote of a string is missing"
# Parser messages that aren't clear to an operator.
_SYNTAX: Final[Mapping[str, str]] = {
    "Illegal character '\\n'": _UNCLOSED,
    'Expected "\'"': _UNCLOSED,
    "Invalid value": "a value is expected here; strings need quotes",
    "Cannot overwrite a value": "this key is there twice",
    "Invalid statement": "a key, a [table] or a # comment is expected here",
    "Expected newline or end of document after a statement": (
        "the line should end here; strings need quotes, comments begin with #"
    ),
}
_DECLARED_TWICE: Final = re.compile(r"Cannot declare \((.*?),?\) twice")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A loaded config: the settings, and the file's text to find the line of a key."""

    path: Path
    settings: Settings
    data: Mapping[str, object]  # the parsed TOML: secrets are not resolved
    text: str

    def locate(self, error: ConfigError) -> ConfigErrors:
        """Prefix an error that was found after loading with its file and line.

        The error's key names one of several tables by index or by name.
        """
        key = tuple(int(part) if part.isdigit() else part for part in error.key.split(".") if part)
        tables = self.data.get(str(key[0])) if len(key) > 1 else None
        if isinstance(tables, list) and isinstance(key[1], str):
            names = [table.get("name") for table in tables if isinstance(table, dict)]
            if key[1] in names:
                key = (key[0], names.index(key[1]), *key[2:])
        return ConfigErrors(_sentences(self.path, self.text, self.data, [(key, error.problem)]))


def find_config(explicit: Path | None) -> Path | None:
    """Return the config's path: `-c`, else `SMSBRIDGE_CONFIG`, else the first that exists.

    None if there is none. A file that is named but missing is returned, for `load` to reject:
    never silently another one.
    """
    if explicit is not None:
        return explicit
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    return next((place for place in PLACES if _may_exist(place)), None)


def _may_exist(place: Path) -> bool:
    """Say whether a file is there; one in a folder that we may not look into counts as there."""
    try:
        return place.exists()
    except PermissionError:
        return True


def load(path: Path) -> Settings:
    """Load and validate a config; raises ConfigErrors with one line per problem."""
    return load_file(path).settings


def load_file(path: Path) -> ConfigFile:
    """Like `load`, but keep the text, to locate errors that are found later."""
    text = _read(path)
    data = _parse(path, text)
    # pydantic-settings would take keys that begin with _ as its own options.
    private = [key for key in data if key.startswith("_")]
    problems: list[tuple[tuple[str | int, ...], str]] = [
        ((key,), unknown_key((key,))) for key in private
    ]
    settings: Settings | None = None
    try:
        with beside(path.absolute().parent):
            settings = Settings.model_validate(
                {key: value for key, value in data.items() if key not in private}
            )
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems += [(path_of(each), problem_of(each)) for each in found]
    if settings is None or problems:
        raise ConfigErrors(_sentences(path, text, data, problems))
    return ConfigFile(path, settings, data, text)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        if isinstance(error, PermissionError):
            why += ": run this as the daemon's user, as in `sudo -u smsbridge smsbridge …`"
        raise ConfigErrors([f"{path}: {why}"]) from None
    if len(content) > _MAX_BYTES:
        raise ConfigErrors([f"{path}: is over 1 MiB: is this a config file?"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([f"{path}: line {line}: is not UTF-8 text"]) from None


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([f"{path}: {_syntax_problem(str(error), text)}"]) from None
    except ValueError:  # Python converts no more digits than 4,300
        raise ConfigErrors([f"{path}: a number has thousands of digits"]) from None
    except RecursionError:
        raise ConfigErrors([f"{path}: lists or tables are nested too deep"]) from None


def _syntax_problem(message: str, text: str) -> str:
    """Locate a TOML syntax error; never quotes the text, which may be a secret."""
    found = _POSITION.fullmatch(message)
    if found is None:
        return f"is not TOML: {message}"
    line, column = found[2], found[3]
    if found[4]:
        where = f"line {text.count(chr(10)) + 1} (the end)"
    else:
        where = f"line {line}, column {column}"
    problem = _SYNTAX.get(found[1], found[1][:1].lower() + found[1][1:])
    if twice := _DECLARED_TWICE.fullmatch(found[1]):
        name = ".".join(part.strip().strip("'\"") for part in twice[1].split(","))
        problem = f"the table [{name}] is there twice"
    return f"{where}: is not TOML: {problem}"


def _sentences(
    path: Path,
    text: str,
    data: Mapping[str, object],
    problems: Iterable[tuple[tuple[str | int, ...], str]],
) -> list[str]:
    lines = key_lines(text)
    problems = [(_as_written(key, data), problem) for key, problem in problems]
    placed = [(line_of(key, lines), key, problem) for key, problem in problems]
    placed.sort(key=lambda each: each[0] or 0)
    return [
        ": ".join(
            part
            for part in (str(path), f"line {line}" if line else "", _shown(key, data), problem)
            if part
        )
        for line, key, problem in placed
    ]


def _as_written(key: tuple[str | int, ...], data: object) -> tuple[str | int, ...]:
    """Drop list indexes where a single table or string was written instead of a list."""
    written: list[str | int] = []
    for part in key:
        if isinstance(part, int) and not isinstance(data, list):
            continue
        written.append(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(written)


def _shown(key: tuple[str | int, ...], data: object) -> str:
    """Format a path for operators: `endpoints.crm.url`, or `endpoints[0].url`."""
    shown = ""
    for part in key:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
        name = data.get("name") if isinstance(data, dict) else None
        if isinstance(part, str):
            shown += f".{part}" if shown else part
        elif isinstance(name, str) and name.isprintable():
            shown += f".{name}"
        else:
            shown += f"[{part}]"
    return shown
