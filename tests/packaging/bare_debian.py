"""The package's whole life in a bare Debian 12 with its own systemd: `make package-test`, as root.

Not part of `make test`: it fetches a Debian system from a mirror.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bridge import __version__
from tests.documents import blocks, indented, page
from tests.packaging.building import PACKAGING, deb, site_packages, wheel
from tests.packaging.load import MAILBOX
from tests.packaging.machine import Machine, make_root, run_here
from tests.patience import PATIENCE

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
INIT = re.search(
    r"^    sudo (smsbridge init --systemd .*\\\n.*)$", page("docs/deployment.md"), re.MULTILINE
)
assert INIT
HERE_INIT = (
    INIT[1]
    .replace("@sms.example.com", MAILBOX)
    .replace("https://crm.internal/", "http://127.0.0.1:9000/")
)
# What the administrator does, as docs/deployment.md says it, but with addresses of this test.
SET_UP = f"""
{HERE_INIT} --listen systemd:smtp
runuser -u smsbridge -- smsbridge check
systemctl enable --now smsbridge.socket smsbridge.service
"""
# The recipe from the backup to the start after its restoration; sudo isn't in a bare root.
RESTORE = [
    line.replace("sudo -u smsbridge", "runuser -u smsbridge --").removeprefix("sudo ")
    for line in indented(page("docs/deployment.md").partition("## Backup and restore")[2])
    if re.search("smsbridge (backup|restore)|systemctl (stop|start)", line)
]
assert len(RESTORE) == 4
INSIDE = "/opt/smsbridge/lib/python3.11/site-packages"
ALL_MODULES = f"""
import importlib, pathlib, psycopg  # the latter before its compiled part
for path in sorted(pathlib.Path("{INSIDE}").rglob("*.so")):
    name = ".".join(path.relative_to("{INSIDE}").parts).split(".cpython")[0].split(".abi3")[0]
    if ".libs" not in str(path):
        importlib.import_module(name.removesuffix(".so"))
        print(name)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the package of the version before, and of this one."""
    folder = tmp_path_factory.mktemp("packages")
    installed = site_packages(folder / "site-packages")
    (folder / "before").mkdir()
    (folder / "now").mkdir()
    return [
        deb(wheel(folder / "before", "0.0.9"), installed, folder),
        deb(wheel(folder / "now"), installed, folder),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fetch a bare Debian."""
    made = make_root(tmp_path_factory.mktemp("debian") / "root")
    try:
        yield made
    finally:
        run_here("rm", "-rf", "--one-file-system", str(made))


class Image:
    """The container's image, built on this Debian instead of Docker's, in a store of its own."""

    def __init__(self, folder: Path, root: Path, package: Path) -> None:
        """Build it."""
        self._store = folder / "store"
        shutil.copytree(PACKAGING / "container", folder / "context")
        shutil.copy(package, folder / "context/smsbridge.deb")
        base = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", base, str(root), "/")
        self._buildah("commit", "--quiet", base, "docker.io/library/debian:bookworm-slim")
        self._buildah(
            "build", "--isolation", "chroot", "--network", "host", "--pull-never", "--quiet",
            "--tag", "smsbridge", str(folder / "context"),
        )  # fmt: skip
        self._container = self._buildah("from", "--pull-never", "localhost/smsbridge")

    def run(self, *command: str, volumes: Sequence[str] = ()) -> str:
        """Run a command in a container of it; return what it prints."""
        mounted = [word for volume in volumes for word in ("--volume", volume)]
        return self._buildah(
            "run", "--isolation", "chroot", *mounted, self._container, "--", *command
        )

    def _buildah(self, *words: str) -> str:
        places = ["--root", f"{self._store}/root", "--runroot", f"{self._store}/run"]
        return run_here("buildah", *places, "--storage-driver", "vfs", *words).strip()


@pytest.fixture(scope="module")
def image(
    root: Path, packages: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    """Build the container's image."""
    folder = tmp_path_factory.mktemp("image")
    yield Image(folder, root, packages[1])
    run_here("rm", "-rf", "--one-file-system", str(folder))


@pytest.fixture(scope="module")
def machine(root: Path, image: Image, packages: list[Path]) -> Iterator[Machine]:
    """Boot a bare Debian with both packages, the receiver of the README and the load in /root."""
    for number, package in enumerate(packages):
        shutil.copy(package, root / f"root/{number}.deb")
    shutil.copy(HERE / "load.py", root / "root")
    (receiver,) = (each for each in blocks(page("README.md"), "python") if "ThreadingHTTP" in each)
    (root / "root/receiver.py").write_text(receiver)
    with Machine(root) as booted:
        yield booted


def test_lintian_finds_no_error(packages: list[Path]) -> None:
    """Debian's own checker has no error, but that this build is not compressed."""
    # pytest's folders are closed to the user that lintian may change to.
    run_here(
        "lintian", "--allow-root", "--fail-on", "error", "--suppress-tags",
        "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball",
        str(packages[1]),
    )  # fmt: skip


def test_the_container_runs(image: Image, tmp_path: Path) -> None:
    """The image takes its example config and a secret from the engine, as its own user."""
    (tmp_path / "crm").write_text(image.run("smsbridge", "secret"))
    checked = image.run(
        "sh", "-c", "id -un; smsbridge check --json",
        volumes=[
            f"{PACKAGING}/container/config.toml:/etc/smsbridge/config.toml:ro",
            f"{tmp_path}/crm:/run/secrets/crm:ro",
        ],
    )  # fmt: skip
    user, _, answer = checked.partition("\n")
    assert user == "smsbridge"
    assert json.loads(answer)["ok"] is True


def test_its_whole_life(machine: Machine, tmp_path: Path) -> None:
    """Installed, set up, upgraded under load, rolled back, removed, purged: no mail is lost."""
    before = machine.files()

    machine.run("dpkg", "-i", "/root/0.deb")
    assert machine.output("smsbridge", "--version") == "smsbridge 0.0.9\n"
    assert machine.run("systemctl", "is-active", "smsbridge.service", ok=False) != 0
    machine.sh(SET_UP)
    machine.start(
        "sh", "-c",
        "mkdir -p /tmp/r && cd /tmp/r && "
        "SMSBRIDGE_SECRET=$(cat /etc/smsbridge/secrets/crm) exec python3 /root/receiver.py",
        output=tmp_path / "receiver",
    )  # fmt: skip
    said_within(tmp_path / "receiver", "waiting for webhooks")
    tested = machine.sh(
        "cd / && runuser -u smsbridge -- smsbridge send-test --json --text 'a test'"
    )
    assert json.loads(tested)["ok"] is True
    delivered_within(machine, {"a test"})
    reloads(machine)
    load = machine.start("python3", "/root/load.py", "mail", "/tmp/stop", output=tmp_path / "load")
    try:
        accepted_within(tmp_path / "load", 50)

        machine.run("dpkg", "-i", "/root/1.deb")
        upgraded = len(accepted(tmp_path / "load"))
        assert machine.output("smsbridge", "--version") != "smsbridge 0.0.9\n"
        assert f'"version": "{__version__}"' in machine.journal(1000)
        accepted_within(tmp_path / "load", upgraded + 50)

        machine.run("dpkg", "-i", "/root/0.deb")  # and back
        rolled_back = len(accepted(tmp_path / "load"))
        assert machine.output("smsbridge", "--version") == "smsbridge 0.0.9\n"
        accepted_within(tmp_path / "load", rolled_back + 50)
    finally:
        machine.run("touch", "/tmp/stop")
        load.wait(PATIENCE)

    sent = accepted(tmp_path / "load")
    delivered_within(machine, set(sent))
    machine.sh("cd / && runuser -u smsbridge -- smsbridge audit")
    machine.sh("cd / && " + " && ".join(RESTORE))
    machine.sh("cd / && runuser -u smsbridge -- smsbridge audit")

    machine.run("dpkg", "--purge", "smsbridge")
    left = machine.files() - before
    assert machine.run("systemctl", "is-active", "smsbridge.socket", ok=False) != 0
    assert [each for each in sorted(left) if not may_stay(each)] == []
    assert "/etc/smsbridge/config.toml" in left
    assert "/var/lib/smsbridge/bridge.db" in left


def test_it_can_be_installed_again(machine: Machine) -> None:
    """Config and messages of the first life are used by the second; scripts may run twice."""
    machine.run("dpkg", "-i", "/root/1.deb")
    machine.run("/var/lib/dpkg/info/smsbridge.postinst", "configure", "")
    machine.run("systemctl", "enable", "--now", "smsbridge.socket", "smsbridge.service")
    machine.sh("cd / && runuser -u smsbridge -- smsbridge audit")
    machine.run("/var/lib/dpkg/info/smsbridge.prerm", "upgrade", "0.2")
    machine.run("/var/lib/dpkg/info/smsbridge.prerm", "upgrade", "0.2")
    machine.run("/var/lib/dpkg/info/smsbridge.postinst", "abort-upgrade", "0.2")
    assert machine.run("systemctl", "is-active", "smsbridge.service") == 0


def test_the_installed_files_work(machine: Machine) -> None:
    """The units are valid, every compiled module loads, completions complete, files are intact."""
    units = ["/lib/systemd/system/smsbridge.service", "/lib/systemd/system/smsbridge.socket"]
    assert machine.output("systemd-analyze", "verify", "--man=no", *units) == ""
    loaded = machine.output("/opt/smsbridge/bin/python", "-c", ALL_MODULES)
    assert "Error" not in loaded
    assert len(loaded.split()) > 20
    assert machine.output("dpkg", "--verify", "smsbridge") == ""
    completed = machine.output(
        "bash", "-c",
        ". /usr/share/bash-completion/completions/smsbridge;"
        "COMP_WORDS=(smsbridge quaran); COMP_CWORD=1; _smsbridge_completion smsbridge;"
        "echo ${COMPREPLY[@]}",
    )  # fmt: skip
    assert completed == "quarantine\n"


def reloads(machine: Machine) -> None:
    """`systemctl reload` takes a good config and refuses a bad one, with secrets from systemd."""
    config, drop_in = "/etc/smsbridge/config.toml", "/etc/systemd/system/smsbridge.service.d/s.conf"
    machine.sh(
        f"cp -p {config} /root/config.toml && echo '[Service]' > {drop_in} && "
        f"echo LoadCredential=crm:/etc/smsbridge/secrets/crm >> {drop_in} && "
        "systemctl daemon-reload && "
        f"sed -i 's/^secret = .*/secret = {{ credential = \"crm\" }}/' {config} && "
        "systemctl restart smsbridge.service && systemctl reload smsbridge.service"
    )
    machine.sh(f"sed -i 's/^time_zone/time_zon/' {config}")
    assert machine.run("systemctl", "reload", "smsbridge.service", ok=False) != 0
    assert "unknown key 'time_zon', did you mean 'time_zone'?" in machine.journal()
    assert machine.run("systemctl", "is-active", "smsbridge.service") == 0
    machine.sh(
        f"cp -p /root/config.toml {config} && rm {drop_in} && systemctl daemon-reload && "
        "systemctl restart smsbridge.service"
    )


def accepted(log: Path) -> list[str]:
    """Return the texts of the mails that were accepted so far."""
    return re.findall(r"^mail \d+$", log.read_text(), re.MULTILINE)


def accepted_within(log: Path, number: int) -> None:
    """Wait until this many mails were accepted."""
    deadline = time.monotonic() + PATIENCE
    while len(accepted(log)) < number:
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def said_within(log: Path, words: str) -> None:
    """Wait until a program inside has printed this."""
    deadline = time.monotonic() + PATIENCE
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def delivered_within(machine: Machine, texts: set[str]) -> None:
    """Wait until each text is in the receiver's inbox, where only verified webhooks are."""
    query = (
        "import json, sqlite3; [print(json.loads(row[0])['data']['body']) for row in "
        "sqlite3.connect('/tmp/r/sms.db').execute('SELECT event FROM inbox')]"
    )
    deadline = time.monotonic() + PATIENCE
    while missing := texts - set(machine.output("python3", "-c", query).splitlines()):
        assert time.monotonic() < deadline, f"{len(missing)} missing, such as {min(missing)}"
        time.sleep(0.5)


def may_stay(path: str) -> bool:
    """Say whether a path that is left is data, config, or what dpkg and systemd keep themselves."""
    return bool(
        re.match(
            r"/(etc/smsbridge|var/lib/smsbridge|etc/systemd/system/smsbridge\.service\.d)(/|$)"
            r"|/etc/[a-z]*(passwd|group|shadow)-$|/tmp(/|$)|/root/"
            r"|/var/(log|tmp|cache|lib/dpkg|lib/systemd|lib/private)(/|$)",
            path,
        )
    )
