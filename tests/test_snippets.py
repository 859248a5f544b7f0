"""Every snippet of the documents is run or parsed by a test, and a new one has to say by which."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from bridge.providers import plugins
from bridge.signing.standard_webhooks import generate_secret
from tests.documents import PAGES, PROJECT, blocks, indented, page
from tests.servers.daemon import Config, Daemon

NAMES: Final = [str(each.relative_to(PROJECT)) for each in PAGES if each.name != "CHANGELOG.md"]
# Where each page's fenced blocks of a language are taken out and used; "" is a drawing or output.
FENCED: Final[Mapping[str, Mapping[str, str]]] = {
    "README.md": {
        "toml": "tests/test_docs.py", "json": "tests/test_docs.py",
        "eml": "tests/test_receivers.py", "python": "tests/test_receivers.py",
    },
    "docs/adding-a-provider.md": {
        "toml": "tests/providers/test_docs.py", "json": "tests/providers/test_docs.py",
        "eml": "tests/providers/test_docs.py", "python": "tests/providers/test_docs.py",
    },
    "docs/api.md": {"sh": "tests/web/api/test_admin.py"},
    "docs/architecture.md": {"": "tests/test_docs.py"},
    "docs/deployment.md": {
        "toml": "tests/test_docs.py", "ini": "tests/packaging/test_mail_server_recipes.py",
        "yaml": "tests/alerts/test_prometheus.py",
    },
    "docs/evidence.md": {"toml": "tests/test_docs.py"},
    "docs/mailboxes.md": {"toml": "tests/test_docs.py"},
    "docs/monitoring.md": {"json": "tests/test_snippets.py", "yaml": "tests/test_monitoring.py"},
    "docs/operating.md": {"toml": "tests/test_docs.py"},
    "docs/posts.md": {"toml": "tests/test_docs.py"},
    "docs/providers.md": {
        "toml": "tests/sources/posts/test_documented.py",
        "sh": "tests/sources/posts/test_documented.py",
    },
    "docs/receivers.md": {
        "toml": "tests/test_docs.py", "js": "tests/test_receivers.py",
        "json": "tests/web/api/test_events.py",
    },
    "benchmarks/README.md": {"": ""},  # what a run printed
}  # fmt: skip
# Programs that stand in the documents' commands; ours are run by tests/cli/test_documented.py.
PROGRAMS: Final = {
    "apt-get", "cd", "chgrp", "cp", "curl", "docker", "git", "install", "ln", "make", "mkdir", "mv",
    "pg_dump", "pg_restore", "pipx", "postconf", "postmap", "psql", "createdb", "createuser", "sh",
    "smsbridge", "sqlite3", "sudoedit", "systemctl", "systemd-sysusers", "update-exim4.conf",
    "python3",
}  # fmt: skip
# Indented lines that are no commands: a drawing, requests, a unit's and an entry point's lines.
OTHER: Final = re.compile(
    r"\W|mail ──|250 ◀|POST /|[A-Za-z-]+: |LoadCredential=|acme_bulk = |content-type|webhook-|[├└│]"
)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_used_by_a_test(name: str) -> None:
    """A block in a language that no test takes from this page fails here."""
    there = set(re.findall(r"^```(\w*)\n.*?^```$", page(name), re.MULTILINE | re.DOTALL))
    assert there == set(FENCED.get(name, {}))
    for language, path in FENCED.get(name, {}).items():
        if not path:
            continue
        test = (PROJECT / path).read_text()
        assert Path(name).name in test or "PAGES" in test
        assert language in test


def shell(name: str) -> list[str]:
    """Return the lines of a page that are typed into a shell."""
    return [line for line in indented(page(name)) if not OTHER.match(line)]


@pytest.mark.processes
@pytest.mark.parametrize("name", [name for name in NAMES if shell(name)])
def test_every_command_line_is_one(name: str) -> None:
    """A shell parses it, and its programs are known here, so that a new one gets a test."""
    lines = shell(name)
    checked = subprocess.run(
        ["sh", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    called = {program for line in lines for program in programs(line)}
    assert sorted(called - PROGRAMS) == []


def programs(line: str) -> set[str]:
    """Return the programs that a line calls, behind `sudo` and variables as well."""
    found = set()
    words = shlex.split(line.replace(";", " ; "), comments=True)
    start = True
    while words:
        word = words.pop(0)
        if start and word == "sudo":
            words = words[2:] if words[0] == "-u" else words
        elif start and "=" not in word:
            found.add(word.removeprefix(".venv/bin/"))
            start = False
        elif word in ("&&", "||", "|", ";"):
            start = True
    return found


def test_a_program_is_found_behind_sudo() -> None:
    """The check above sees each part of a line."""
    line = "cd x && sudo -u them A=b first --x | sudo second; third # fourth"
    assert programs(line) == {"cd", "first", "second", "third"}


def test_units_and_entry_points_are_well_formed() -> None:
    """What is indented without being a command."""
    text = "\n".join(indented(page("docs/adding-a-provider.md")))
    (lines,) = re.findall(r"^\[project\.entry-points.*\n.*$", text, re.MULTILINE)
    (group,) = tomllib.loads(lines)["project"]["entry-points"]
    assert group == plugins.GROUP
    assert "LoadCredential=crm-secret:/etc/smsbridge/secrets/crm-secret" in indented(
        page("docs/deployment.md")
    )


@pytest.mark.processes
def test_the_health_of_a_daemon_is_as_shown(tmp_path: Path) -> None:
    """docs/monitoring.md's /healthz has the fields that are served, with a mailbox that is away."""
    extra = {
        "imap": (
            'name = "inbox"', 'host = "127.0.0.1"', "port = 9", "tls = false",
            'username = "u"', 'password = "p"',
        )
    }  # fmt: skip
    config = Config({"crm": "http://127.0.0.1:9/"}, generate_secret(), extra=extra)
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for_health(503)
        served = json.loads(daemon.page("/healthz")[1])
    (told,) = map(json.loads, blocks(page("docs/monitoring.md"), "json"))
    assert set(served) == set(told)
    assert served["problems"][0].startswith("source: imap.inbox: ")
    for name, fields in told["sources"].items():
        assert set(served["sources"][name]) == set(fields)
