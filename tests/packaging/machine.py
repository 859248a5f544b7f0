"""A bare Debian 12 with systemd, booted in namespaces of its own; its only network is loopback."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Final, Self

import pytest

from tests.patience import PATIENCE

# What the package depends on; the rest of the system is what debootstrap calls minimal.
_PACKAGES: Final = "systemd-sysv,python3,libstdc++6,ca-certificates"

_ENVIRONMENT: Final = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
)


def make_root(folder: Path, *packages: str) -> Path:
    """Fetch a minimal Debian 12 from the mirror that apt uses here, with more packages; minutes."""
    included = ",".join((_PACKAGES, *packages))
    run_here(
        "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={included}", "bookworm",
        str(folder),
    )  # fmt: skip
    folder.chmod(0o755)
    # Nothing that would ask a network that isn't there.
    for unit in (
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "systemd-networkd-wait-online.service",
    ):
        (folder / "etc/systemd/system" / unit).symlink_to("/dev/null")
    return folder


def run_here(*command: str) -> str:
    """Run a command on this machine; return its output."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Machine:
    """The booted system; use it in a `with`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Boot it."""
        self._process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
             "--link-journal=no", "--console=pipe", "--machine=smsbridge-test", "--boot",
             f"--directory={self.root}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            self._leader = int(children.read_text().split()[0]) if children.read_text() else 0
            if (
                self._leader
                and self.run("systemctl", "is-active", "multi-user.target", ok=False) == 0
            ):
                return self
            time.sleep(0.2)
        self.__exit__()
        pytest.fail("the system did not boot")

    def __exit__(self, *_: object) -> None:
        """End it, with everything that runs in it."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for started in self._started:
            # What it ran has ended with the machine, but stopped before, and so nsenter did.
            started.kill()
            started.wait()

    def command(self, *words: str) -> list[str]:
        """Return the command line, for this machine, that runs `words` inside."""
        inside = ["nsenter", "--target", str(self._leader), "--all"]
        return [*inside, "env", "--ignore-environment", "--chdir=/", *_ENVIRONMENT, *words]

    def start(self, *words: str, output: Path) -> subprocess.Popen[bytes]:
        """Start a command inside, its output to a file of this machine."""
        with output.open("wb") as file:
            started = subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self._started.append(started)
        return started

    def run(self, *words: str, ok: bool = True) -> int:
        """Run a command inside; return its exit code, which must be 0 if `ok`."""
        done = self._run(*words)
        assert not ok or done.returncode == 0, (
            f"{words}:\n{done.stdout}{done.stderr}{self.journal()}"
        )
        return done.returncode

    def output(self, *words: str) -> str:
        """Run a command inside; return what it prints, errors included."""
        done = self._run(*words)
        return done.stdout + done.stderr

    def sh(self, script: str) -> str:
        """Run a shell script inside that must succeed; return what it prints."""
        done = self._run("sh", "-ec", script)
        assert done.returncode == 0, f"{script}:\n{done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    def journal(self, lines: int = 20) -> str:
        """Return the last lines of the service."""
        return self._run("journalctl", "-u", "smsbridge", f"-n{lines}", "--no-pager").stdout

    def files(self) -> set[str]:
        """Return every path of the root file system."""
        found = self.sh("find / -xdev -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/*'")
        return set(found.splitlines())

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
