"""The wheel: what is in it, that it can be installed, and that it is the same each time."""

from __future__ import annotations

import filecmp
import sys
import zipfile
from pathlib import Path

import pytest

from bridge import __version__
from tests.packaging.building import PACKAGING, PROJECT, run, wheel

pytestmark = pytest.mark.processes

FILES = PACKAGING / "files"


def test_carries_all_that_is_installed(our_wheel: Path) -> None:
    """Every file of bridge and of packaging/files is in it, and of ours nothing else."""
    with zipfile.ZipFile(our_wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "bridge").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    data = our_wheel.name.removesuffix("-py3-none-any.whl") + ".data/data/"
    assert held == code | {data + path for path in files}
    assert {"share/man/man1/smsbridge.1", "lib/systemd/system/smsbridge.service"} <= files
    assert {"share/smsbridge/config.example.toml", "share/smsbridge/prometheus-rules.yml"} <= files
    assert "bridge/formats/sms.received.schema.json" in code


def test_is_the_same_to_the_byte(our_wheel: Path, tmp_path: Path) -> None:
    """Two builds of the same source are equal."""
    assert filecmp.cmp(our_wheel, wheel(tmp_path), shallow=False)


def test_an_earlier_version_can_be_built(our_wheel: Path, tmp_path: Path) -> None:
    """`make package-test` upgrades from one: the same files under another version."""
    with zipfile.ZipFile(wheel(tmp_path, "0.0.9")) as before, zipfile.ZipFile(our_wheel) as now:
        held = [name.replace("0.0.9", __version__) for name in before.namelist()]
        assert sorted(held) == sorted(now.namelist())


def test_can_be_installed(our_wheel: Path, installed: Path, tmp_path: Path) -> None:
    """Installed in a virtual environment as pipx does, the command runs and its files are there."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    run(
        sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "--quiet",
        "--no-index", "--no-deps", "--no-compile", our_wheel,
    )  # fmt: skip

    parsed = run(
        environment / "bin/smsbridge", "providers", "list", "--json",
        cwd=tmp_path, PYTHONPATH=str(installed),
    )  # fmt: skip

    assert '"didww"' in parsed
    there = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    assert [path for path in there if not (environment / path).is_file()] == []
    assert not any(path.is_symlink() for path in (environment / "share").rglob("*"))
