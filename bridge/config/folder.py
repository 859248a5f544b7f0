"""Resolves relative paths in a config: against the folder of the config file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Validators can't take it as a parameter: `load` sets it during validation, and settings built
# without a file (tests, the demo) keep relative paths.
_folder: ContextVar[Path | None] = ContextVar("config_folder", default=None)


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Resolve relative paths against `folder` while settings are validated inside."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def anchored(path: Path) -> Path:
    """Make a config path independent of the working directory."""
    folder = _folder.get()
    return path if folder is None else folder / path
