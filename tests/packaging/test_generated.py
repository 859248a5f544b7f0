"""The files in packaging/files that follow from something else are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import blocks, page
from tests.packaging.building import PACKAGING, PROJECT, run
from tests.servers.programs import need

FILES = PACKAGING / "files"


def test_completions_and_man_page_are_up_to_date(tmp_path: Path) -> None:
    """What `make generate` would write is what is there."""
    run(sys.executable, PACKAGING / "generate.py", tmp_path, PYTHONPATH=str(PROJECT))
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4
    old = [path for path in written if (tmp_path / path).read_text() != (FILES / path).read_text()]
    assert old == [], "run: make generate"


def test_the_alert_rules_are_those_of_the_page() -> None:
    """The rules that are installed are those that docs/monitoring.md shows."""
    installed = (FILES / "share/smsbridge/prometheus-rules.yml").read_text()
    (shown,) = (each for each in blocks(page("docs/monitoring.md"), "yaml") if "alert:" in each)
    assert re.sub(r"\A(#.*\n)+", "", installed) == shown


@pytest.mark.parametrize(
    ("words", "completed"),
    [("quaran", ["quarantine"]), ("quarantine re", ["reparse"]), ("check --mail", ["--mailboxes"])],
)
def test_bash_completes(words: str, completed: list[str]) -> None:
    """The script that is installed completes commands and options in a real bash."""
    typed = ["smsbridge", *words.split()]
    script = (
        f". {FILES}/share/bash-completion/completions/smsbridge\n"
        f"COMP_WORDS=({' '.join(typed)}) COMP_CWORD={len(typed) - 1}\n"
        f"_smsbridge_completion {PROJECT}/.venv/bin/smsbridge\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [need("bash"), "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == completed
