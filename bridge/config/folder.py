"""The folder that a config's relative paths start from: the one that holds the config file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Validators have no parameter for it: `load` sets it around the validation, and settings that
# are built without a file (tests, the demo) keep relative paths as they are.
_folder: ContextVar[Path | None] = ContextVar("config_folder", default=None)


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Let relative paths start from `folder` while settings are validated inside."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def anchored(path: Path) -> Path:
    """Make a path of the config independent of the working directory."""
    folder = _folder.get()
    return path if folder is None else folder / path
