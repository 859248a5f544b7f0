"""Builds the Debian package: `python packaging/deb.py WHEEL SITE_PACKAGES OUTPUT`.

SITE_PACKAGES is a folder into which pip installed what packaging/runtime.py prints; `make dist`
does both. The same input gives the same package to the byte, with times from SOURCE_DATE_EPOCH. It
is for Debian releases with the Python that runs this, because of the compiled modules in it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

from sbom import bill

PROJECT = Path(__file__).parents[1]
DEBIAN = Path(__file__).parent / "debian"
PYTHON = f"python3.{sys.version_info.minor}"
HOME = "opt/smsbridge"

_COMMAND = f"""\
#!/{HOME}/bin/python -I
import sys

from bridge.__main__ import main

sys.exit(main())
"""
_PYVENV = f"""\
home = /usr/bin
include-system-site-packages = false
version = 3.{sys.version_info.minor}
"""
# pip's own records: of where a package came from, and of files that are elsewhere in the package.
_RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def build(wheel: Path, site_packages: Path, output: Path, compression: str) -> Path:
    """Build the package in the folder `output`; return its path."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        modules = tree / HOME / "lib" / PYTHON / "site-packages"
        _copy_packages(site_packages, modules)
        version = _unpack(wheel, modules, tree / "usr") + "-1"
        _write_environment(tree / HOME)
        _write_documents(tree / "usr" / "share", version, bill(modules))
        (tree / "usr/bin").mkdir()
        (tree / "usr/bin/smsbridge").symlink_to(f"/{HOME}/bin/smsbridge")
        _write_control(tree, version, modules)
        _normalize(tree)
        output.mkdir(parents=True, exist_ok=True)
        package = output / f"smsbridge_{version}_{_architecture()}.deb"
        # More threads would make other blocks, and so other bytes on another machine.
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--threads-max=1", f"-Z{compression}",
             "--build", tree, package],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return package


def _copy_packages(source: Path, target: Path) -> None:
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("__pycache__", "bin", "share", "*.pth")
    )
    for record in target.glob("*.dist-info/*"):
        if record.name in _RECORDS:
            record.unlink()


def _unpack(wheel: Path, modules: Path, usr: Path) -> str:
    """Unpack our own wheel: modules to the modules, its data to /usr. Return the version."""
    name, version, *_ = wheel.name.split("-")
    data = f"{name}-{version}.data/data/"
    with zipfile.ZipFile(wheel) as archive:
        for each in archive.infolist():
            below = each.filename.removeprefix(data)
            target = modules / each.filename if below == each.filename else usr / below
            if target.name not in _RECORDS:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(each))
    return version


def _write_environment(home: Path) -> None:
    (home / "pyvenv.cfg").write_text(_PYVENV)
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to(f"/usr/bin/{PYTHON}")
    command = home / "bin/smsbridge"
    command.write_text(_COMMAND)


def _write_documents(share: Path, version: str, sbom: str) -> None:
    doc = share / "doc/smsbridge"
    doc.mkdir(parents=True)
    shutil.copy(DEBIAN / "copyright", doc)
    shutil.copy(PROJECT / "README.md", doc)
    shutil.copytree(PROJECT / "docs", doc / "docs")
    (doc / "sbom.cdx.json").write_text(sbom, encoding="utf-8")
    _compress(doc / "changelog.gz", (PROJECT / "CHANGELOG.md").read_bytes())
    _compress(doc / "changelog.Debian.gz", _changelog(version).encode())
    for page in (share / "man").rglob("*.1"):
        _compress(page.with_name(page.name + ".gz"), page.read_bytes())
        page.unlink()
    overrides = share / "lintian/overrides"
    overrides.mkdir(parents=True)
    shutil.copy(DEBIAN / "lintian-overrides", overrides / "smsbridge")


def _changelog(version: str) -> str:
    return (
        f"smsbridge ({version}) stable; urgency=medium\n\n"
        "  * The changes are in /usr/share/doc/smsbridge/changelog.gz.\n\n"
        f" -- {_maintainer()}  {formatdate(_epoch())}\n"
    )


def _write_control(tree: Path, version: str, modules: Path) -> None:
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    # Whole KiB a file, and one for anything else, as Debian's tools count.
    size = sum(
        -(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in tree.rglob("*")
    )
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{path.relative_to(tree)}\n"
        for path in files
    )
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "md5sums").write_text(sums)
    (control / "control").write_text(
        (DEBIAN / "control").read_text().format(
            version=version,
            architecture=_architecture(),
            size=size,
            depends=", ".join(_depends(modules)),
        )
    )  # fmt: skip
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(DEBIAN / name, control)


def _depends(modules: Path) -> Iterator[str]:
    minor = sys.version_info.minor
    yield f"libc6 (>= {_libc(modules)})"
    yield "libgcc-s1"
    yield "libstdc++6"
    yield f"python3 (>= 3.{minor}~)"
    yield f"python3 (<< 3.{minor + 1})"
    yield "systemd | systemd-sysusers"


def _libc(modules: Path) -> str:
    """Return the oldest glibc on which every wheel runs, by their manylinux tags."""
    oldest = []
    for path in modules.glob("*.dist-info/WHEEL"):
        tags = re.findall(r"manylinux_2_(\d+)", path.read_text())
        if tags:
            oldest.append(min(map(int, tags)))
    return f"2.{max(oldest)}"


def _normalize(tree: Path) -> None:
    """Make modes and times independent of who built it, when, and with which umask."""
    executable = {"bin", "DEBIAN"}  # modules are imported, whatever their wheels say
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        elif not path.is_symlink():
            scripts = path.parent.name in executable and path.read_bytes()[:2] == b"#!"
            path.chmod(0o755 if scripts else 0o644)
        os.utime(path, (_epoch(), _epoch()), follow_symlinks=False)


def _compress(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def _maintainer() -> str:
    (found,) = re.findall(r"^Maintainer: (.*)$", (DEBIAN / "control").read_text(), re.MULTILINE)
    return found


def _epoch() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))


def _architecture() -> str:
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("site_packages", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--compression", default="xz", choices=["xz", "none"])
    asked = parser.parse_args()
    print(build(asked.wheel, asked.site_packages, asked.output, asked.compression))
