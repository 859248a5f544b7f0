"""The unit files: systemd finds nothing wrong with them, and they leave an attacker little."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from bridge.config.settings import DeliverySettings
from tests.patience import PATIENCE
from tests.servers.programs import need

pytestmark = pytest.mark.processes

FILES = Path(__file__).parents[2] / "packaging" / "files" / "lib"
UNITS = FILES / "systemd" / "system"
BINARY = re.compile(r"^(Exec\w+=)smsbridge ", re.MULTILINE)
ACCOUNT = FILES / "sysusers.d" / "smsbridge.conf"
MOST_EXPOSED = 1.5  # of 10; a unit with nothing set scores 9.6


def read(name: str) -> configparser.ConfigParser:
    """Read a unit; a key that comes twice keeps its last value."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / name)
    return unit


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Copy the units, with a program that exists here, as systemd asks for it."""
    for name in ("smsbridge.service", "smsbridge.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(BINARY.sub(r"\1/bin/true ", text))
    return tmp_path


def test_systemd_verifies_both_units(installed: Path) -> None:
    """`systemd-analyze verify` is silent: no unknown key, no bad value, no missing program."""
    verified = subprocess.run(
        [
            need("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no",
            installed / "smsbridge.service", installed / "smsbridge.socket",
        ],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip

    assert verified.stdout + verified.stderr == ""
    assert verified.returncode == 0


def test_the_service_is_hardly_exposed(installed: Path) -> None:
    """`systemd-analyze security` rates the service 1.5 or better without any help of the admin."""
    rated = subprocess.run(
        [
            need("systemd-analyze"), "security", "--offline=true", "--no-pager",
            f"--threshold={int(MOST_EXPOSED * 10)}", installed / "smsbridge.service",
        ],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for smsbridge\.service: ([\d.]+)", rated.stdout)

    assert level is not None, rated.stdout + rated.stderr
    assert float(level[1]) <= MOST_EXPOSED
    assert rated.returncode == 0


def test_it_is_never_left_dead() -> None:
    """However often and however fast it fails, systemd starts it again."""
    service = read("smsbridge.service")

    assert service["Service"]["Restart"] == "always"
    assert service["Unit"]["StartLimitIntervalSec"] == "0"
    assert read("smsbridge.socket")["Socket"]["TriggerLimitIntervalSec"] == "0"


def test_a_stop_leaves_time_to_drain() -> None:
    """Systemd waits longer than the daemon takes at most: the grace and ten seconds."""
    service = read("smsbridge.service")["Service"]

    assert float(service["TimeoutStopSec"]) >= DeliverySettings().grace + 20
    assert service["KillMode"] == "mixed"  # SIGTERM once, to the daemon itself


def test_the_service_runs_with_and_without_the_socket() -> None:
    """The service doesn't require the socket, and the socket starts the service of its name."""
    service = read("smsbridge.service")
    text = (UNITS / "smsbridge.service").read_text()

    assert not re.search(r"^(Requires|BindsTo|Sockets)=", text, re.MULTILINE)
    assert service["Install"]["WantedBy"] == "multi-user.target"
    assert read("smsbridge.socket")["Socket"]["FileDescriptorName"] == "smtp"


def test_the_account_of_the_service_is_made() -> None:
    """The user that the unit names is the one that systemd-sysusers makes."""
    user = read("smsbridge.service")["Service"]["User"]

    assert re.search(rf"^u {user} - ", ACCOUNT.read_text(), re.MULTILINE)
