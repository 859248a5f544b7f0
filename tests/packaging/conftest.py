"""What the tests of packages share: one copy of the run-time packages, one wheel, one package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.building import deb, site_packages, wheel
from tests.servers.programs import need


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the run-time packages."""
    return site_packages(tmp_path_factory.mktemp("installed") / "site-packages")


@pytest.fixture(scope="session")
def our_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def package(installed: Path, our_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the Debian package."""
    need("dpkg-deb")
    return deb(our_wheel, installed, tmp_path_factory.mktemp("package"))
