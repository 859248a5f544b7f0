"""Versions: the code's is the newest of CHANGELOG.md, and scripts/release makes the next."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from tests.documents import page
from tests.packaging.building import PROJECT, run

pytestmark = pytest.mark.processes

CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- A thing.

## [0.1.0] - 2026-01-02

### Added

- Everything.
"""
DEPLOYMENT = (
    "apt-get install ./smsbridge_0.1.0-1_amd64.deb\npipx install smsbridge-0.1.0-py3-none\n"
)
WHO = {
    f"GIT_{role}_{what}": "a@example.com"
    for role in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as something that can be compared."""
    return tuple(map(int, version.split(".")))


def test_the_versions_of_the_changelog_descend_to_the_codes() -> None:
    """Each has a date, the newest comes first, and the code has that one."""
    headings = re.findall(r"^## (.*)$", page("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", each) for each in headings[1:]]
    assert None not in dated
    versions = [each[1] for each in dated if each]
    assert versions == sorted(versions, key=numbers, reverse=True)
    assert not versions or versions[0] == __version__


def test_the_documents_the_command_and_the_packages_have_the_codes_version(
    our_wheel: Path,
) -> None:
    """What is installed, what is printed and what the pages say to download is one version."""
    pages = "".join(page(name) for name in ("README.md", "docs/deployment.md"))
    assert set(re.findall(r"smsbridge[-_](\d[\d.]*\d)", pages)) == {__version__}
    printed = run(sys.executable, "-m", "bridge", "--version")
    assert printed == f"smsbridge {__version__}\n"
    assert our_wheel.name == f"smsbridge-{__version__}-py3-none-any.whl"


def test_this_very_checkout_can_be_released(tmp_path: Path) -> None:
    """The script makes a release of the project as it is, whose wheel has the new version."""
    newest = max(
        [__version__, *re.findall(r"^## \[(\d[\d.]*)\]", page("CHANGELOG.md"), re.MULTILINE)],
        key=numbers,
    )
    following = ".".join([*newest.split(".")[:2], str(numbers(newest)[2] + 1)])
    checkout = Checkout(tmp_path)
    for name in (
        "CHANGELOG.md", "README.md", "LICENSE", "pyproject.toml", "config.example.toml", "bridge",
        "docs", "packaging",
    ):  # fmt: skip
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, checkout.folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(PROJECT / name, checkout.folder)
    (checkout.folder / ".gitignore").write_text("__pycache__\n")
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "--message", "as it is")

    released = checkout.release(following)

    assert released.returncode == 0, released.stderr
    (tmp_path / "built").mkdir()
    run(sys.executable, "-m", "flit_core.wheel", checkout.folder, "--outdir", tmp_path / "built")
    (built,) = (tmp_path / "built").iterdir()
    assert built.name == f"smsbridge-{following}-py3-none-any.whl"
    deployment = (checkout.folder / "docs/deployment.md").read_text()
    assert f"smsbridge_{following}-1_amd64.deb" in deployment
    text = checkout.git("tag", "--list", "--format=%(contents)", f"v{following}")
    assert text.startswith(f"smsbridge {following}\n\n### ")


class Checkout:
    """A small git repository with what scripts/release touches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        (folder / "bridge").mkdir()
        (folder / "docs").mkdir()
        (folder / "docs/deployment.md").write_text(DEPLOYMENT)
        shutil.copy(PROJECT / "scripts/release", folder / "scripts")
        (folder / "bridge/__init__.py").write_text('"""It."""\n\n__version__ = "0.1.0"\n')
        (folder / "CHANGELOG.md").write_text(CHANGELOG)
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "first")

    def git(self, *arguments: str) -> str:
        """Run git; return its output."""
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, env=WHO | PATH, capture_output=True, text=True,
            check=True,
        ).stdout  # fmt: skip

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/release."""
        return subprocess.run(
            [sys.executable, self.folder / "scripts/release", *arguments],
            env=WHO | PATH, capture_output=True, text=True, check=False,
        )  # fmt: skip


PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null"}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Make a repository."""
    return Checkout(tmp_path)


def test_a_release_dates_the_section_and_tags_the_commit(checkout: Checkout) -> None:
    """CHANGELOG, version and tag are of one version, and the tag tells the changes."""
    assert checkout.release("0.2.0").returncode == 0

    changelog = (checkout.folder / "CHANGELOG.md").read_text()
    assert re.search(
        r"## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing\.\n\n"
        r"## \[0\.1\.0\] - 2026-01-02\n",
        changelog,
    )
    assert '__version__ = "0.2.0"\n' in (checkout.folder / "bridge/__init__.py").read_text()
    shown = (checkout.folder / "docs/deployment.md").read_text()
    assert shown == DEPLOYMENT.replace("0.1.0", "0.2.0")
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("describe", "--exact-match") == "v0.2.0\n"
    text = checkout.git("tag", "--list", "--format=%(contents)", "v0.2.0")
    assert text.strip() == "smsbridge 0.2.0\n\n### Added\n\n- A thing."


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("0.1.0", "0.1.0 is not newer than 0.1.0"),
        ("0.0.9", "not newer"),
        ("v0.2.0", "usage"),
        ("0.2", "usage"),
    ],
)
def test_a_wrong_version_is_refused(version: str, reason: str, checkout: Checkout) -> None:
    """What is no newer version is refused, and nothing is changed."""
    refused = checkout.release(version)
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert checkout.git("status", "--porcelain") + checkout.git("tag") == ""


def test_a_release_of_nothing_is_refused(checkout: Checkout) -> None:
    """A second release at once has no changes to tell."""
    checkout.release("0.2.0")
    assert "nothing under [Unreleased]" in checkout.release("0.3.0").stderr


def test_an_unclean_checkout_is_refused(checkout: Checkout) -> None:
    """What is tagged is what is committed."""
    (checkout.folder / "new").touch()
    assert "not committed" in checkout.release("0.2.0").stderr
