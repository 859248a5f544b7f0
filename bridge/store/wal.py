"""Tells whether the write-ahead log beside a database file is that file's own.

SQLite doesn't: it replays a log that a killed process left into whatever file has the database's
name by then. Of a backup that was copied there nothing remains, or a mixture of both.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoint, 2 salts, 2 checksums
_FRAME: Final = struct.Struct(">6I")  # page, pages after a commit else 0, 2 salts, 2 checksums
_MAGIC: Final = {0x377F0682, 0x377F0683}
_WRITE_VERSION: Final = 18  # offset in the database's header: 2 in WAL mode, else 1
_NO_LOG: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class _Page:
    """One page as a frame of the log has it."""

    number: int
    commits: bool
    content: bytes


def log_is_foreign(database: Path, *, at_rest: bool) -> bool:
    """Return whether the log beside a database has transactions of another file.

    `at_rest`: nobody has the database open, so that the log's pages can be compared with the
    file's, too. False means that nothing speaks for it. Raises OSError.
    """
    log = database.with_name(f"{database.name}-wal")
    try:
        with log.open("rb") as pages, database.open("rb") as file:
            if not any(page.commits for page in _pages(pages)):
                return False  # nothing would be replayed
            file.seek(_WRITE_VERSION)
            if file.read(1) == _NO_LOG:
                return True  # like our backups, it was never in WAL mode since it was made
            # A file that was written after its log was written by a checkpoint, from the log.
            changed_later = database.stat().st_mtime_ns > log.stat().st_mtime_ns
            return at_rest and changed_later and not _share_a_page(pages, file)
    except FileNotFoundError:
        return False


def _share_a_page(log: BinaryIO, database: BinaryIO) -> bool:
    """Return whether any page of the file is what some frame of the log says."""
    versions: dict[int, set[bytes]] = {}
    size = 0
    for page in _pages(log):
        size = len(page.content)
        versions.setdefault(page.number, set()).add(hashlib.sha256(page.content).digest())
    for number, known in versions.items():
        database.seek((number - 1) * size)
        if hashlib.sha256(database.read(size)).digest() in known:
            return True
    return False


def _pages(log: BinaryIO) -> Iterator[_Page]:
    """Yield the pages of the log's frames, up to the end of what was written last."""
    log.seek(0)
    header = log.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return
    magic, _, size, _, *salts, _, _ = _HEADER.unpack(header)
    if magic not in _MAGIC or not 512 <= size <= 65536:
        return
    while len(frame := log.read(_FRAME.size)) == _FRAME.size:
        number, after_commit, *frame_salts, _, _ = _FRAME.unpack(frame)
        content = log.read(size)
        # Frames with other salts are left from before the log was begun anew.
        if frame_salts != salts or len(content) < size:
            return
        yield _Page(number, after_commit > 0, content)
