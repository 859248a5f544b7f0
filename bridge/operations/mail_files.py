"""Reads mails from files: mbox of any size, Maildir, .eml, folders; one in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from bridge.errors import NotPossible

MAX_MAIL: Final = 64 * 1024**2  # far more than any mail with an SMS
_SUFFIXES: Final = {".eml", ".mbox"}
_CHUNK: Final = 64 * 1024  # bytes; an endless line must not fill the memory
# "From sender Thu Apr  9 14:30:52 2026", as programs write it. A body line that begins with "From "
# but has no time isn't a separator.
_SEPARATOR: Final = re.compile(rb"From .*\d:\d\d.*\d{4}")
# Accepted without a blank line before it, which some programs omit, if a header follows.
_SURE_SEPARATOR: Final = re.compile(
    rb"From \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d(?::\d\d)? "
    rb"(?:\S+ )?\d{4}(?: [+-]\d{4})?\s*\Z"
)
_HEADER: Final = re.compile(rb"[!-9;-~]+:")
_QUOTED: Final = re.compile(rb">+From ")
_BLANK: Final = (b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class FileMail:
    """A mail from a file: its bytes, or why it can't be read.

    `number` counts the mails of an mbox from 1. `consumed` is the number of bytes read for it.
    """

    path: Path
    number: int | None
    raw: bytes | None = field(repr=False)
    consumed: int
    problem: str | None = None

    @property
    def name(self) -> str:
        """The mail's name for operators."""
        return str(self.path) if self.number is None else f"{self.path}, mail {self.number}"


def find_files(paths: Sequence[Path]) -> list[Path]:
    """List the files that contain mails, in the order in which they are read.

    Raises NotPossible for a missing path or a folder without mails.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = _in_folder(path)
            if not inside:
                raise NotPossible(f"{path}: is no Maildir, and there is no .eml or .mbox in it")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise NotPossible(f"{path}: no such file or directory")
    return found


def total_size(files: Sequence[Path]) -> int:
    """Return the total number of bytes, for the progress bar."""
    return sum(_size(path) for path in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # moved by a mail client; `read_mails` reports it


def read_mails(path: Path, limit: int = MAX_MAIL) -> Iterator[FileMail]:
    """Yield the mails of one file; a mail that is unreadable or too large has a `problem`."""
    try:
        with path.open("rb") as stream:
            if stream.peek(5)[:5] == b"From ":
                yield from _mbox(path, stream, limit)
            else:
                yield _single(path, stream, limit)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        yield FileMail(path, None, None, 0, why)


def read_one(path: Path, stream: BinaryIO, limit: int = MAX_MAIL) -> bytes:
    """Read a single mail, which may be in an mbox, from a stream.

    Raises NotPossible if it is over the limit, or one of several.
    """
    mail = _single(path, stream, limit)
    if mail.raw is None:
        raise NotPossible(f"{path}: {mail.problem}")
    if not mail.raw.startswith(b"From "):
        return mail.raw
    first, *more = _mbox(path, BytesIO(mail.raw), limit)
    if more:
        raise NotPossible(
            f"{path}: holds {len(more) + 1} mails, and one is wanted: `smsbridge providers try "
            f"{path}` reads them all"
        )
    assert first.raw is not None, "the whole file is within the limit"
    return first.raw


def _in_folder(folder: Path) -> list[Path]:
    """Find Maildirs (and their subfolders), .eml and .mbox files, at any depth."""
    found: list[Path] = []
    # Files in tmp are still being written; they are moved to new when complete.
    for box in sorted({each.parent for name in ("cur", "new") for each in folder.rglob(name)}):
        for name in ("new", "cur"):
            inside = box / name
            if inside.is_dir():
                found += sorted(each for each in inside.iterdir() if each.is_file())
    known = set(found)
    found += sorted(
        each
        for each in folder.rglob("*")
        if each.suffix.lower() in _SUFFIXES and each not in known and each.is_file()
    )
    return found


def _single(path: Path, stream: BinaryIO, limit: int) -> FileMail:
    raw = stream.read(limit + 1)
    if len(raw) > limit:
        return FileMail(path, None, None, len(raw), _too_large(limit))
    return FileMail(path, None, raw, len(raw))


class _Growing:
    """One mail of an mbox, line by line."""

    def __init__(self, number: int, limit: int) -> None:
        self.number = number
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
        else:
            self._parts.append(part)

    def end(self, path: Path, consumed: int) -> FileMail:
        if self._size > self._limit:
            return FileMail(path, self.number, None, consumed, _too_large(self._limit))
        raw = b"".join(self._parts)
        # The blank line before the next separator belongs to the mbox, not to the mail.
        for blank in (b"\r\n\r\n", b"\n\n"):
            if raw.endswith(blank):
                raw = raw[: -len(blank) // 2]
                break
        return FileMail(path, self.number, raw, consumed)


def _mbox(path: Path, stream: BinaryIO, limit: int) -> Iterator[FileMail]:
    """Split an mbox at its "From " lines, and unquote body lines by one ">".

    In an mboxo file, a mail's own ">From " loses its ">", as in every reader. Content-Length
    (mboxcl) is ignored.
    """
    mail = _Growing(1, limit)
    consumed = len(stream.readline())  # the first separator, in any form
    line_begins = after_blank = True
    doubtful = b""  # a separator, if a header follows
    while chunk := stream.readline(_CHUNK):
        begins, line_begins = line_begins, chunk.endswith(b"\n")
        if doubtful:
            if _HEADER.match(chunk):
                yield mail.end(path, consumed)
                consumed = 0
                mail = _Growing(mail.number + 1, limit)
            else:
                mail.add(doubtful)
            consumed += len(doubtful)
            doubtful = b""
        if begins and after_blank and _SEPARATOR.match(chunk):
            yield mail.end(path, consumed)
            consumed = len(chunk)
            mail = _Growing(mail.number + 1, limit)
            continue
        if begins and _SURE_SEPARATOR.match(chunk):
            doubtful, after_blank = chunk, False
            continue
        consumed += len(chunk)  # counted, since a pipe has no position
        after_blank = begins and chunk in _BLANK
        mail.add(chunk[1:] if begins and _QUOTED.match(chunk) else chunk)
    mail.add(doubtful)
    yield mail.end(path, consumed + len(doubtful))


def _too_large(limit: int) -> str:
    return f"is over {limit // 1024**2} MiB: this is no mail with an SMS"
