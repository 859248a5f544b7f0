"""Installs the servers that the tests need and that are missing: `python -m tests.servers.install`.

Never fails: where it cannot install, it says so, and the tests concerned skip by name (under CI
they fail).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.servers.programs import PACKAGES, find

_INSTALL = Path(__file__).parents[2] / "scripts" / "apt-install"


def missing() -> list[str]:
    """Name the packages whose programs are not there."""
    return sorted({package for program, package in PACKAGES.items() if find(program) is None})


def main() -> None:
    """Install what is missing, with one line of progress."""
    packages = missing()
    if not packages:
        return
    _say(f"installing for the tests: {', '.join(packages)} ...")
    if subprocess.run([_INSTALL, *packages], check=False).returncode:
        _say("the tests that need them will be skipped (under CI: fail).")


def _say(sentence: str) -> None:
    sys.stderr.write(f"smsbridge: {sentence}\n")


if __name__ == "__main__":
    main()
