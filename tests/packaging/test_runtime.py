"""What production installs follows from the one lock, and is exactly what the code needs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.building import PACKAGING, PROJECT, run

pytestmark = pytest.mark.processes

LOCK = (PROJECT / "requirements.lock").read_text()


def listed(*arguments: str) -> str:
    """Return what packaging/runtime.py prints."""
    return run(sys.executable, PACKAGING / "runtime.py", *arguments)


def names(pins: str) -> set[str]:
    """Return the packages in lines of a lock."""
    return set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE))


def required(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> set[str]:
    """Return what an installed package with some of its extras needs here, however indirectly."""
    found = set()
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
        )
        other = canonicalize_name(requirement.name)
        key = (other, ",".join(sorted(requirement.extras)))
        if wanted and key not in seen:
            seen.add(key)
            found |= {other} | required(other, frozenset(requirement.extras), seen)
    return found


def test_is_what_pip_would_install() -> None:
    """The list is the closure of our dependencies and extras, by the packages' own metadata."""
    assert names(listed()) == required("smsbridge", frozenset({"postgres", "demo"}), set())


def test_is_part_of_the_lock() -> None:
    """Each pin is there with version, marker and all hashes as in the lock."""
    pins = re.split(r"^(?=[\w.-]+==)", listed(), flags=re.MULTILINE)[1:]
    assert len(pins) > 30
    assert all(pin in LOCK for pin in pins)
    assert pins == sorted(pins, key=LOCK.index)


def test_the_rest_is_all_that_is_left_out() -> None:
    """What runs and what only development needs are the whole lock, and nothing is in both."""
    rest = set(listed("--rest").split())
    assert rest | names(listed()) == names(LOCK)
    assert not rest & names(listed())
    assert {"mypy", "ruff", "pytest", "flit-core", "hypothesis"} <= rest


def test_a_package_can_be_added() -> None:
    """What builds is installed by the same lock."""
    assert names(listed("flit-core")) == names(listed()) | {"flit-core"}


def test_versions_are_constraints() -> None:
    """Pip refuses hashes in constraints, so each line is a version, with its marker if any."""
    lines = listed("--versions").splitlines()
    assert {Requirement(line).name for line in lines} == names(listed())
    assert [line for line in lines if "--hash" in line or "\\" in line] == []


def test_the_code_imports_nothing_else() -> None:
    """Every module of bridge can be imported without any development tool."""
    rest = [name.replace("-", "_") for name in listed("--rest").split()]
    script = (
        "import importlib, pkgutil, sys\n"
        f"for name in {rest!r}: sys.modules[name] = None\n"
        "import bridge\n"
        "for each in pkgutil.walk_packages(bridge.__path__, 'bridge.'):\n"
        "    if '.versions.' not in each.name and each.name != 'bridge.store.migrations.env':\n"
        "        importlib.import_module(each.name)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True)
