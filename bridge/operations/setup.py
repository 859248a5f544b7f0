"""Writes a first config, its signing secret and a systemd drop-in, with the right modes."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bridge import providers
from bridge.config.endpoints import DEFAULT_SCHEME
from bridge.config.settings import ProviderSettings
from bridge.config.validation_errors import path_of, problem_of
from bridge.errors import ConfigError, NotPossible
from bridge.providers import PRESETS
from bridge.signing import SCHEMES

_PRIVATE: Final = 0o600
_GROUP_READS: Final = 0o640
_FOLDER: Final = 0o750
_OPEN_FOLDER: Final = 0o755  # everybody may see how a service is set up
_STATE_FOLDER: Final = 0o700
_READABLE: Final = 0o644


@dataclass(frozen=True, slots=True)
class ProviderAnswers:
    """What an operator says about the provider; None: not said.

    `trust` maps kinds of evidence to their values, `to` is the operator's own number, for formats
    whose mails don't name it.
    """

    format: str
    trust: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    time_zone: str | None = None
    region: str | None = None
    senders: Sequence[str] | None = None
    to: str | None = field(default=None, repr=False)

    def table(self) -> dict[str, object]:
        """Return the `[[providers]]` table."""
        said: dict[str, object] = {
            "time_zone": self.time_zone, "region": self.region, "senders": self.senders,
        }  # fmt: skip
        table = {"name": self.format, **{key: value for key, value in said.items() if value}}
        if self.to:
            # Laid over the built-in format, which the config then has to name.
            table |= {"preset": self.format, "template": {"to": {"value": self.to}}}
        return {**table, "trust": {kind: list(values) for kind, values in self.trust.items()}}


@dataclass(frozen=True, slots=True)
class Answers:
    """What an operator says about everything."""

    provider: ProviderAnswers
    endpoint: str
    url: str = field(repr=False)
    listen: str
    http: str
    store: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where files are written, for whom, and with which names.

    `user` is the daemon's account: files belong to its group; None: they are the operator's own.
    `units` is systemd's folder for a drop-in, None for none; `command` starts the daemon.
    """

    folder: Path
    user: str | None = None
    units: Path | None = None
    command: str = "smsbridge"

    @property
    def config(self) -> Path:
        """The config file."""
        return self.folder / "config.toml"

    def secret(self, endpoint: str) -> Path:
        """Return the file of an endpoint's signing secret."""
        if self.user is None:
            return self.folder / f"{endpoint}.secret"
        return self.folder / "secrets" / endpoint

    @property
    def drop_in(self) -> Path | None:
        """The drop-in of the unit."""
        return self.units and self.units / "smsbridge.service.d" / "init.conf"


def provider_problem(answers: ProviderAnswers) -> ConfigError | None:
    """Return what is missing or wrong, with its key in the table (`time_zone`, `template.to`)."""
    if answers.format not in PRESETS:
        return ConfigError("name", f"{answers.format!r} is no built-in format")
    try:
        settings = ProviderSettings.model_validate(answers.table())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        first["loc"] = ("providers", 0, *first["loc"])
        _, _, *key = path_of(first)
        # An element of a list: the list was given wrong.
        return ConfigError(".".join(str(part) for part in key if part != 0), problem_of(first))
    try:
        providers.build_one(settings, "")
    except ConfigError as error:
        return ConfigError(error.key.removeprefix("."), error.problem)
    return None


def write(answers: Answers, place: Place) -> list[Path]:
    """Write the files, or none; return their paths, the config first.

    The modes: 600, or 640 and the daemon's group if there is a `user`; a missing folder of an
    SQLite store is made, and given to that user. Raises NotPossible if a file exists already, the
    user does not, or a file cannot be written.
    """
    owner = _owner(place.user)
    mode = _PRIVATE if owner is None else _GROUP_READS
    group = None if owner is None else owner.pw_gid
    secret = place.secret(answers.endpoint)
    files = [
        (place.config, config_text(answers, secret.relative_to(place.folder)), mode, group),
        (secret, SCHEMES[DEFAULT_SCHEME].generate_secret() + "\n", mode, group),
    ]
    if place.drop_in is not None:
        files.append((place.drop_in, _drop_in_text(place), _READABLE, None))
    for path, *_ in files:
        if path.exists():
            raise NotPossible(f"{path} exists already: nothing is overwritten; remove it first")
    written: list[Path] = []
    try:
        for path, text, mode, group in files:
            _make_folder(path.parent, group, _OPEN_FOLDER if path == place.drop_in else _FOLDER)
            _create(path, text, mode, group, written)
        if owner is not None:
            _make_state_folder(answers.store, owner)
    except OSError as error:
        remove(written)
        raise NotPossible(f"{error.filename}: {(error.strerror or 'failed').lower()}") from None
    return written


def remove(paths: Sequence[Path]) -> None:
    """Remove the files of a failed `write`, or of one whose config turned out to be invalid."""
    for path in paths:
        path.unlink(missing_ok=True)


def config_text(answers: Answers, secret: Path) -> str:
    """Return the config as TOML; `secret` as the config's folder sees it."""
    table = answers.provider.table()
    trust = table.pop("trust")
    template = table.pop("template", None)
    assert isinstance(trust, dict)
    lines = [
        "# Written by `smsbridge init`. config.example.toml explains every setting.",
        "[store]",
        _line("url", answers.store),
        "",
        "[smtp]",
        _line("listen", [answers.listen] if answers.listen else []),
        "",
        "[http]",
        _line("listen", answers.http),
        "",
        "[[providers]]",
        *(_line(key, value) for key, value in table.items()),
        *(
            [f"template = {{ to = {{ value = {_toml(answers.provider.to)} }} }}"]
            if template
            else []
        ),
        "[providers.trust]",
        *(_line(key, True if key == "anyone" else value) for key, value in trust.items()),
        "",
        "[[endpoints]]",
        _line("name", answers.endpoint),
        _line("url", answers.url),
        f"secret = {{ file = {_toml(str(secret))} }}",
    ]
    return "\n".join(lines) + "\n"


def _drop_in_text(place: Place) -> str:
    return (
        "# Written by `smsbridge init`: this installation, and this config.\n"
        f"[Service]\nExecStart=\nExecStart={place.command} run -c {place.config}\n"
        "ExecReload=\nExecReload=/bin/true\n"
        f"ExecReload={place.command} reload --pid ${{MAINPID}} -c {place.config}\n"
    )


def _line(key: str, value: object) -> str:
    return f"{key} = {_toml(value)}"


def _toml(value: object) -> str:
    """Format a string, a bool or a list of strings; JSON's are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _owner(user: str | None) -> pwd.struct_passwd | None:
    if user is None:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise NotPossible(
            f"there is no account {user!r}: create it first, as docs/deployment.md shows"
        ) from None


def _make_folder(folder: Path, group: int | None, mode: int) -> None:
    if folder.is_dir():
        return
    folder.mkdir(mode=mode, parents=True)
    if group is not None:
        os.chown(folder, -1, group)


def _make_state_folder(url: str, owner: pwd.struct_passwd) -> None:
    """Make an SQLite store's folder, which systemd would make at the first start only."""
    _, sqlite, path = url.partition("sqlite:///")
    folder = Path(path).parent
    if sqlite and folder.is_absolute() and not folder.exists():
        folder.mkdir(mode=_STATE_FOLDER, parents=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def _create(path: Path, text: str, mode: int, group: int | None, written: list[Path]) -> None:
    """Create a file that did not exist, private from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    written.append(path)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
