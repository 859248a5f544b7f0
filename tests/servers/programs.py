"""The real programs that tests run, the Debian package of each, and what to do without one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

PACKAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bash": "bash",
        "chromium": "chromium",
        "curl": "curl",
        "dkimproxy-sign": "libmail-dkim-perl",
        "dkimsign": "python3-dkim",
        "dpkg-deb": "dpkg",
        "doveadm": "dovecot-imapd",
        "dovecot": "dovecot-imapd",
        "faketime": "faketime",
        "lmtp": "dovecot-lmtpd",
        "node": "nodejs",
        "opendkim": "opendkim",
        "opendkim-testmsg": "opendkim-tools",
        "openssl": "openssl",
        "pg_ctl": "postgresql",
        "pg_dump": "postgresql-client",
        "pg_restore": "postgresql-client",
        "postfix": "postfix",
        "prometheus": "prometheus",
        "promtool": "prometheus",
        "swaks": "swaks",
        "systemd-analyze": "systemd",
        "systemd-socket-activate": "systemd",
    }
)


def find(program: str) -> Path | None:
    """Find a program, also where Debian keeps what is not for everybody's PATH."""
    folders = [*os.get_exec_path(), "/usr/sbin", "/sbin"]
    folders.append("/usr/lib/dovecot")
    # The newest PostgreSQL first; the folders are named 15, 16, 17.
    folders += map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None


def need(program: str) -> Path:
    """Return the program, else skip the test by that name; under CI, where none may skip, fail."""
    found = find(program)
    if found is not None:
        return found
    missing = f"{program} is missing (Debian package {PACKAGES[program]}; make servers)"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
