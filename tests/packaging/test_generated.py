"""The files in packaging/files that follow from something else are up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.building import PACKAGING, PROJECT, run
from tests.servers.programs import need

pytestmark = pytest.mark.processes

FILES = PACKAGING / "files"


def test_completions_man_page_and_alert_rules_are_up_to_date(tmp_path: Path) -> None:
    """What `make generate` would write is what is there."""
    run(sys.executable, PACKAGING / "generate.py", tmp_path, PYTHONPATH=str(PROJECT))
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    old = [path for path in written if (tmp_path / path).read_text() != (FILES / path).read_text()]
    assert old == [], "run: make generate"


@pytest.mark.parametrize(
    ("words", "completed"),
    [("quaran", ["quarantine"]), ("quarantine re", ["reparse"]), ("check --mail", ["--mailboxes"])],
)
def test_bash_completes(words: str, completed: list[str], tmp_path: Path) -> None:
    """The script that is installed completes commands and options in a real bash."""
    command = tmp_path / "smsbridge"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bridge "$@"\n')
    command.chmod(0o755)
    typed = ["smsbridge", *words.split()]
    script = (
        f". {FILES}/share/bash-completion/completions/smsbridge\n"
        f"COMP_WORDS=({' '.join(typed)}) COMP_CWORD={len(typed) - 1}\n"
        f"_smsbridge_completion {command}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [need("bash"), "--norc", "-c", script],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == completed
