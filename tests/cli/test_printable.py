"""No file's name and no other external text reaches a terminal with its control characters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli.printable import as_lines, printable
from tests.cli.conftest import Filled, Ran

Smsbridge = Callable[..., Ran]

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r.eml"


def is_safe(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("command", [("import",), ("parse",), ("providers", "try")])
@pytest.mark.parametrize("exists", [True, False])
def test_a_hostile_file_name(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path, command: tuple[str, ...], exists: bool
) -> None:
    """Of a file that can't be read as a mail, or that isn't there."""
    file = tmp_path / HOSTILE
    if exists:
        file.write_bytes(b"no mail\n" * 2)
    ran = smsbridge(*command, file, "-c", filled.config)
    assert ran.code != 0
    assert is_safe(ran.out)
    assert is_safe(ran.err)
    assert "owned" in ran.out + ran.err or command == ("parse",)


def test_a_hostile_config_path(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """It is in every error about the config."""
    file = tmp_path / HOSTILE
    for text in (None, "[smtp]\nlisen = []\n", "x"):
        if text is not None:
            file.write_text(text)
        for command in ("check", "audit"):
            ran = smsbridge(command, "-c", file)
            assert ran.code != 0
            assert is_safe(ran.out + ran.err)


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Several sentences may be printed at once; what one quotes adds no line."""
    as_lines(f"one\n{printable('two' + chr(10) + chr(27))}")
    assert capsys.readouterr().out == "one\ntwo\\n\\x1b\n"
