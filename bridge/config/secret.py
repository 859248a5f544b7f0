"""Resolves a secret: a systemd credential, a file, an environment variable, or plain text."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path
from typing import Final

from bridge.config.folder import anchored

_PLACES: Final = ("credential", "file", "env")
_HOW: Final = 'a string, { credential = "…" }, { file = "…" } or { env = "…" }'
_MAX_BYTES: Final = 64 * 1024  # a secret is short; /dev/zero is not one


def read_secret(value: object) -> object:
    """Resolve `{ credential = … }`, `{ file = … }` or `{ env = … }` to the secret's text.

    A plain string is returned unchanged. One trailing newline of a file is removed. Raises
    ValueError, whose text never contains the secret.
    """
    if isinstance(value, str):
        if not value:
            raise ValueError(f"is empty: a secret is {_HOW}")
        return value
    if not isinstance(value, dict):
        raise ValueError(f"must be {_HOW}")  # noqa: TRY004 - pydantic collects ValueErrors
    if len(value) != 1:
        raise ValueError(f"must name one place: {_HOW}")
    ((place, name),) = value.items()
    if place not in _PLACES:
        near = difflib.get_close_matches(place, _PLACES, n=1)
        meant = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown place {place!r}{meant}: a secret is {_HOW}")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{place} must be a name in quotes")
    match place:
        case "credential":
            return _credential(name)
        case "file":
            return _private_file(anchored(Path(name)))
        case _:
            return _environment(name)


def _credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ValueError(
            f"credential {name!r}: systemd passed no credentials "
            f"(LoadCredential={name}:/path in the unit)"
        )
    if "/" in name or name in {".", ".."}:
        raise ValueError(f"credential {name!r}: a credential's name can't contain a slash")
    # systemd sets owner and mode of its own folder: nobody else can read it.
    return _text(Path(folder) / name, f"credential {name!r}")


def _private_file(path: Path) -> str:
    called = f"file {str(path)!r}"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ValueError(f"{called}: {_why(error)}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{called}: is not a file")
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ValueError(f"{called} is open to others: chmod 600 it")
    return _text(path, called)


def _environment(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise ValueError(f"environment variable {name!r} is not set")
    return found


def _text(path: Path, called: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{called}: {_why(error)}") from None
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{called}: is too long for a secret")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{called}: is not text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{called}: is empty")
    return text


def _why(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return (reason or "cannot be opened").lower()
