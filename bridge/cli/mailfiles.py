"""Mails from files: single ones, folders of them, mbox files and Maildirs, one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bridge.cli.outcome import MAX_BYTES
from bridge.errors import NotPossible

_SUFFIXES: Final = (".eml", ".mbox")
_LINE: Final = 64 * 1024  # bytes read at a time: a line may be as long as the file
_QUOTED: Final = re.compile(rb">+From ")


@dataclass(frozen=True, slots=True)
class MailFile:
    """One mail: its place for people, its bytes (None: over the bound), its share of the file."""

    name: str
    raw: bytes | None
    size: int


def find(paths: Sequence[Path]) -> dict[Path, int]:
    """Give all files that these paths mean, with their sizes.

    A path means itself, a Maildir's mails, or a folder's *.eml and *.mbox. Raises NotPossible
    where it is not there, or holds no mail.
    """
    return {file: size for path in paths for file, size in _files(path).items()}


def _files(path: Path) -> dict[Path, int]:
    try:
        if not path.is_dir():
            return {path: path.stat().st_size}
        if (path / "cur").is_dir() and (path / "new").is_dir():  # a Maildir; tmp is not there yet
            found = [each for name in ("cur", "new") for each in (path / name).iterdir()]
        else:
            found = [each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES]
        sizes = {each: each.stat().st_size for each in sorted(found) if each.is_file()}
    except OSError as error:
        raise NotPossible(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if not sizes:
        raise NotPossible(f"{path}: no mail is in it (*.eml, *.mbox, or a Maildir's cur and new)")
    return sizes


def mails(file: Path) -> Iterator[MailFile]:
    """Read a file's mails: it is an mbox if it begins with `From `, else one mail.

    Raises NotPossible where it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(5)
            stream.seek(0)
            if start == b"From ":
                yield from _mbox(file, stream)
                return
            raw = stream.read(MAX_BYTES + 1)
            fits = len(raw) <= MAX_BYTES
            yield MailFile(str(file), raw if fits else None, file.stat().st_size)
    except OSError as error:
        raise NotPossible(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None


def _mbox(file: Path, stream: BinaryIO) -> Iterator[MailFile]:
    """Split an mbox at each `From ` that follows a blank line, undoing its quoting by `>`."""
    number, size, kept = 0, 0, 0
    pieces: list[bytes] = []
    at_line_start = after_blank = True
    for line in iter(lambda: stream.readline(_LINE), b""):
        if at_line_start and after_blank and line.startswith(b"From "):
            if number:
                yield _mail(file, number, pieces, kept, size)
            number, size, kept, pieces = number + 1, len(line), 0, []
        else:
            size += len(line)
            if kept <= MAX_BYTES:
                quoted = at_line_start and _QUOTED.match(line)
                pieces.append(line[1:] if quoted else line)
                kept += len(line)
        after_blank = at_line_start and not line.strip(b"\r\n")
        at_line_start = line.endswith(b"\n")
    yield _mail(file, number, pieces, kept, size)


def _mail(file: Path, number: int, pieces: list[bytes], kept: int, size: int) -> MailFile:
    if len(pieces) > 1 and not pieces[-1].strip(b"\r\n"):
        pieces = pieces[:-1]  # the blank line in front of the next `From ` is the mbox's
    raw = b"".join(pieces) if kept <= MAX_BYTES else None
    return MailFile(f"{file}#{number}", raw, size)
