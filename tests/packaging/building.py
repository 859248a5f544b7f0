"""Builds wheels and Debian packages from this checkout and what .venv has, without any network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from tests.patience import PATIENCE

PROJECT: Final = Path(__file__).parents[2]
PACKAGING: Final = PROJECT / "packaging"
EPOCH: Final = "1775651452"


def run(*command: str | Path, cwd: Path = PROJECT, **environment: str) -> str:
    """Run a command that must succeed; return its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * PATIENCE,
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def wheel(folder: Path, version: str | None = None) -> Path:
    """Build our wheel; with a version, from a copy of the project that has that version."""
    source = PROJECT
    if version is not None:
        source = folder / "source"
        for name in ("bridge", "packaging", "systemd", "README.md", "LICENSE", "pyproject.toml"):
            _copy(PROJECT / name, source / name)
        _copy(PROJECT / "config.example.toml", source / "config.example.toml")
        init = source / "bridge/__init__.py"
        text = re.sub(r'(?<=__version__ = ")[^"]*', version, init.read_text())
        init.write_text(text)
    run(sys.executable, "-m", "flit_core.wheel", source, "--outdir", folder)
    (built,) = folder.glob("*.whl")
    return built


def site_packages(folder: Path) -> Path:
    """Copy what the daemon needs at run time out of .venv, as pip would have installed it."""
    listed = run(sys.executable, PACKAGING / "runtime.py")
    for name in re.findall(r"^([\w.-]+)==", listed, re.MULTILINE):
        _copy_distribution(distribution(name), folder)
    return folder


def deb(wheel: Path, packages: Path, folder: Path) -> Path:
    """Build the Debian package, uncompressed: seconds instead of a minute."""
    built = run(
        sys.executable, PACKAGING / "deb.py", wheel, packages, folder, "--compression", "none"
    )
    return Path(built.strip())


def _copy_distribution(source: Distribution, folder: Path) -> None:
    assert source.files is not None
    for each in source.files:
        if ".." not in each.parts and "__pycache__" not in each.parts:
            target = folder / each
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(each.locate()), target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=ignored)
    else:
        shutil.copyfile(source, target)
