"""Prints the part of requirements.lock that the daemon and its commands need at run time.

`python packaging/runtime.py > runtime.txt` leaves out what only development needs; names of
packages as arguments add those. `--versions` prints no hashes, as pip wants its constraints, and
`--rest` the names of what was left out. There is no second lock file that could disagree: each pin
in the lock names the packages that require it (`# via`), and what follows from there is what pip
installs for smsbridge with all its extras.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LOCK = Path(__file__).parents[1] / "requirements.lock"

# What uv calls our dependencies and extras; those of a group are "smsbridge (pyproject.toml:dev)".
_PROJECT = "smsbridge (pyproject.toml)"
_PIN = re.compile(r"^([\w.-]+)==\S.*\n(?: .*\n)+", re.MULTILINE)


class Pin(NamedTuple):
    """One package of the lock."""

    name: str
    text: str  # its lines in the lock: version, marker, hashes, and what requires it
    required_by: frozenset[str]


def pins(lock: str) -> list[Pin]:
    """Read a lock file."""
    return [Pin(each[1], each[0], frozenset(_required_by(each[0]))) for each in _PIN.finditer(lock)]


def runtime(lock: str, *more: str) -> list[Pin]:
    """Return the pins that dependencies, extras and `more` lead to, in the lock's order."""
    everything = pins(lock)
    needed = {_PROJECT, *more}
    while found := {pin.name for pin in everything if pin.required_by & needed} - needed:
        needed |= found
    return [pin for pin in everything if pin.name in needed]


def _required_by(text: str) -> Iterator[str]:
    _, _, comments = text.partition("    # via")
    for line in comments.splitlines():
        name = line.strip().removeprefix("#").strip()
        if name:
            yield name


if __name__ == "__main__":
    lock = LOCK.read_text(encoding="utf-8")
    match sys.argv[1:]:
        case ["--rest"]:
            needed = runtime(lock)
            print("\n".join(pin.name for pin in pins(lock) if pin not in needed))
        case ["--versions"]:
            print("\n".join(pin.text.partition(" \\\n")[0] for pin in runtime(lock)))
        case more:
            print("".join(pin.text for pin in runtime(lock, *more)), end="")
