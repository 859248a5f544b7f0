"""The highest number of an arrival that was committed, kept outside of the database's file.

After a kill SQLite takes over its log up to the first frame that is damaged, and nothing in the
file tells that there was more. So the number stands in a file of its own, `NAME.acknowledged`, and
is written behind each commit and before anybody is told of it.

It is written, not synced: that costs 2 µs a commit instead of another sync, and outlives the
process, not a power cut. After one it may be behind, and says less. It is never ahead of the log,
which is synced before: whatever it names and is missing was lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from zlib import crc32

from bridge import logs

log = logs.logger("store")

SUFFIX: Final = ".acknowledged"
_PRIVATE: Final = 0o600
_SIZE: Final = 64  # bytes, more than there are


class Witness:
    """The file beside one database; several processes may write it, each only ever upwards."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.path = database.with_name(database.name + SUFFIX)
        self._file: int | None = None
        self._failed = False

    def read(self) -> int | None:
        """Return the number; None if there is none, or it can't be read or believed."""
        try:
            return _number(self.path.read_bytes()[:_SIZE])
        except OSError:
            return None

    def note(self, newest: int) -> None:
        """Write the number if it is higher. What fails is logged once: mail must go on."""
        try:
            if self._file is None:
                self._file = self._open()
            if newest > (_number(os.pread(self._file, _SIZE, 0)) or 0):
                os.pwrite(self._file, _line(newest), 0)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning(
                    "store.witness_failed",
                    detail=f"{self.path}: {error.strerror}; a lost end of the database's log would "
                    "not be noticed",
                )

    def _open(self) -> int:
        """Open the file; one that root makes is the owner's of the database."""
        opened = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
        if os.geteuid() == 0:
            owner = self._database.stat()
            os.fchown(opened, owner.st_uid, owner.st_gid)
        return opened

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(number: int) -> bytes:
    text = b"%019d" % number
    return b"%s %08x\n" % (text, crc32(text))


def _number(line: bytes) -> int | None:
    """Read a line; a flipped bit in it must be no false alarm."""
    text = line[:19]
    if not text.isdigit() or line[: len(text) + 10] != _line(int(text)):
        return None
    return int(text)
