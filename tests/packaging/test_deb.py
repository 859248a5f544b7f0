"""The Debian package, unpacked into a folder: what is in it, that it runs, that it is reproducible.

`make package-test` installs, upgrades and removes it in a bare Debian with systemd.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import __version__
from bridge.signing.standard_webhooks import generate_secret
from tests.chaos.mails import sms_mails
from tests.packaging.building import PACKAGING, deb, run
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.programs import need
from tests.servers.receiver import Receiver

pytestmark = pytest.mark.processes

PYTHON = f"python3.{sys.version_info.minor}"
SCRIPTS = ("postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def root(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the package."""
    folder = tmp_path_factory.mktemp("root")
    run("dpkg-deb", "--extract", package, folder)
    return folder


@pytest.fixture
def running(root: Path, tmp_path: Path) -> Iterator[tuple[Daemon, Receiver]]:
    """Run the daemon of the package by its own command, and take its webhooks."""
    if not Path(f"/usr/bin/{PYTHON}").exists():
        need(PYTHON)
        pytest.skip(f"the package runs on Debian's {PYTHON}, which is missing")
    secret = generate_secret()
    command = root / "opt/smsbridge/bin/smsbridge"
    with Receiver(secret) as receiver:
        config = Config({"crm": receiver.url}, secret).write(tmp_path)
        with Daemon(
            config, python=root / "opt/smsbridge/bin/python", command=("-I", str(command))
        ) as daemon:
            yield daemon.start(), receiver


def field(package: Path, name: str) -> str:
    """Return a field of the package's control file."""
    return run("dpkg-deb", "--field", package, name).strip()


def test_the_daemon_runs_from_it(running: tuple[Daemon, Receiver], root: Path) -> None:
    """The unpacked package takes mails and delivers webhooks, and uses no other packages."""
    daemon, receiver = running
    for mail in sms_mails("packaged", 4):
        assert daemon.send(mail.sender, [MAILBOX], mail.raw)[0] == 250
    assert receiver.wait_for_ids(4)
    receiver.assert_honest()
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    compiled = {line.split()[-1] for line in maps.splitlines() if "site-packages" in line}
    assert compiled
    assert [path for path in compiled if not path.startswith(str(root))] == []


def test_is_the_same_to_the_byte(
    package: Path, our_wheel: Path, installed: Path, tmp_path: Path
) -> None:
    """Built again, under another umask and of files with other times, it is equal."""
    os.utime(installed / "aiosmtpd/__init__.py", (1, 1))
    before = os.umask(0o077)
    try:
        again = deb(our_wheel, installed, tmp_path)
    finally:
        os.umask(before)
    assert filecmp.cmp(package, again, shallow=False)
    assert again.name == package.name


def test_says_what_it_is(package: Path) -> None:
    """Version and dependencies are those of the code and of the compiled modules in it."""
    assert field(package, "Version") == f"{__version__}-1"
    depends = field(package, "Depends")
    minor = sys.version_info.minor
    assert f"python3 (>= 3.{minor}~), python3 (<< 3.{minor + 1})" in depends
    assert re.match(r"libc6 \(>= 2\.\d+\)", depends)
    assert 50_000 < int(field(package, "Installed-Size")) < 200_000


def test_holds_what_an_administrator_looks_for(root: Path) -> None:
    """Command, units, account, man page, completions and examples are where Debian has them."""
    usr = root / "usr"
    assert (usr / "bin/smsbridge").readlink() == Path("/opt/smsbridge/bin/smsbridge")
    there = {str(path.relative_to(usr)) for path in usr.rglob("*") if path.is_file()}
    assert {
        "lib/systemd/system/smsbridge.service",
        "lib/systemd/system/smsbridge.socket",
        "lib/sysusers.d/smsbridge.conf",
        "share/man/man1/smsbridge.1.gz",
        "share/bash-completion/completions/smsbridge",
        "share/smsbridge/config.example.toml",
        "share/smsbridge/prometheus-rules.yml",
        "share/smsbridge/sms.received.schema.json",
        "share/doc/smsbridge/copyright",
        "share/doc/smsbridge/changelog.Debian.gz",
        "share/doc/smsbridge/docs/deployment.md",
    } <= there
    assert not (root / "etc").exists()  # the administrator's


def test_holds_nothing_compiled(package: Path) -> None:
    """What Python compiles is made by postinst, and differs from build to build."""
    assert "__pycache__" not in run("dpkg-deb", "--contents", package)


def test_holds_what_runs_and_nothing_else(root: Path) -> None:
    """The packages in it are those of the run-time list; the bill of materials names them all."""
    modules = root / f"opt/smsbridge/lib/{PYTHON}/site-packages"
    held = {
        re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()
        for path in modules.glob("*.dist-info")
    }
    listed = re.findall(
        r"^([\w.-]+)==", run(sys.executable, PACKAGING / "runtime.py"), re.MULTILINE
    )
    assert held == {*listed, "smsbridge"}

    bill = json.loads((root / "usr/share/doc/smsbridge/sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["purl"] == f"pkg:pypi/smsbridge@{__version__}"
    assert {each["name"] for each in bill["components"]} == set(listed)
    versions = {each["name"]: each["version"] for each in bill["components"]}
    assert (
        f"\nsqlalchemy=={versions['sqlalchemy']} "
        in (PACKAGING.parent / "requirements.lock").read_text()
    )
    licenses = {each["name"]: each.get("licenses") for each in bill["components"]}
    assert licenses["sqlalchemy"] == [{"expression": "MIT"}] or licenses["sqlalchemy"] == [
        {"license": {"name": "MIT"}}
    ]
    assert len([name for name in licenses if licenses[name]]) > len(licenses) - 3


@pytest.mark.parametrize("name", SCRIPTS)
def test_its_scripts_are_valid(name: str, package: Path, tmp_path: Path) -> None:
    """Each maintainer script stops at its first error, and the shell can read it."""
    run("dpkg-deb", "--control", package, tmp_path / "control")
    script = tmp_path / "control" / name
    assert script.stat().st_mode & 0o777 == 0o755
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    run("sh", "-n", script)


def test_an_unknown_call_changes_nothing() -> None:
    """Postinst refuses an argument that dpkg never gives."""
    done = subprocess.run(
        ["sh", PACKAGING / "debian/postinst", "unknown"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "unknown argument: unknown" in done.stderr
