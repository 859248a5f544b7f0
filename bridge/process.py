"""Names a process so that no other one is taken for it, and whoever runs this one."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_STARTED: Final = 19  # the field of /proc/PID/stat, counted behind the name


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its id may be given to another one, or be that of another container.

    `started` is the time of its start in ticks since the machine's.
    """

    pid: int
    started: int

    @classmethod
    def named(cls, pid: int) -> Self | None:
        """Return the process that has this id here; None if there is none."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        return cls(pid, int(stat.rpartition(")")[2].split()[_STARTED]))

    def signal(self, number: int) -> None:
        """Send a signal; ProcessLookupError if it is not here, or PermissionError."""
        if Process.named(self.pid) != self:
            raise ProcessLookupError
        os.kill(self.pid, number)


def user_name() -> str:
    """Return who runs this process; behind sudo, who called that."""
    user = os.geteuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return os.environ.get("SUDO_USER") or name
