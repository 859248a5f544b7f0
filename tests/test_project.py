"""The project around the code: its lock and its Makefile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
LOCK = (PROJECT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())

# "name==1.2 ; marker \" and its indented lines of hashes.
PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)[^\n]*\\\n(?P<hashes>(?:    --hash=.*\n)+)", re.MULTILINE
)


def pins() -> dict[str, str]:
    """Return what the lock pins: canonical name and version."""
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(LOCK)}


def wanted() -> list[Requirement]:
    """Return every requirement of pyproject.toml, of extras, groups and the build as well."""
    project = PYPROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
        PYPROJECT["build-system"]["requires"],
    ]
    return [Requirement(line) for lines in lists for line in lines]


class TestLock:
    """What `make` installs, on any machine and from any mirror."""

    def test_names_no_host(self) -> None:
        """The lock holds no URL, index, path or option, so that any mirror serves it."""
        lines = [line for line in LOCK.splitlines() if not line.startswith("    --hash=sha256:")]

        assert [line for line in lines if re.search(r"://|--|\s@\s|file:|/", line)] == []

    def test_every_pin_has_hashes(self) -> None:
        """No line of the lock is without a hash, as pip's --require-hashes asks."""
        named = re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE)

        assert len(pins()) == len(named) > 0

    @pytest.mark.parametrize("requirement", wanted(), ids=str)
    def test_holds_each_requirement(self, requirement: Requirement) -> None:
        """Each requirement of pyproject.toml is locked at a version within its range."""
        version = pins()[canonicalize_name(requirement.name)]

        assert requirement.specifier.contains(version, prereleases=False)


def test_decisions_name_every_dependency() -> None:
    """Each package that is installed with smsbridge has its reason in docs/decisions.md."""
    project = PYPROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    told = (PROJECT / "docs" / "decisions.md").read_text().lower()

    assert [
        name
        for lines in lists
        for name in (Requirement(line).name for line in lines)
        if name not in told
    ] == []


class TestMake:
    """`make` says what is wrong in a sentence, and lists what it can do."""

    @pytest.mark.parametrize("version", ["3.10", "nothing that runs"])
    @pytest.mark.processes
    def test_refuses_an_old_python(self, version: str, tmp_path: Path) -> None:
        """A Python that is too old, or none at all, is refused by its version."""
        python = tmp_path / "python"
        if version == "3.10":
            # This Python, made to believe that it is an older one.
            python.write_text(
                '#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.10.9" && exit\n'
                f'exec {sys.executable} -c "import sys; sys.version_info = (3, 10, 9); $2"\n'
            )
            python.chmod(0o755)
        asked = subprocess.run(
            [PROJECT / "scripts" / "python"],
            env={**os.environ, "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert asked.returncode == 1
        assert asked.stdout == ""
        assert version in asked.stderr
        assert "needs Python 3.11 or newer" in asked.stderr

    @pytest.mark.processes
    def test_takes_the_python_it_is_told(self) -> None:
        """PYTHON chooses the interpreter."""
        asked = subprocess.run(
            [PROJECT / "scripts" / "python"],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=True,
        )

        assert asked.stdout.strip() == sys.executable
