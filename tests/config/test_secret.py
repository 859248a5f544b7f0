"""Secrets are read from where the config says, and refused with a sentence when others can."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.secret import read_secret


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain text, a file, a credential and an environment variable all give the secret."""
    path = secret_file(tmp_path, b"whsec_x\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SMSBRIDGE_TEST_SECRET", "whsec_e")
    assert read_secret("whsec_p") == "whsec_p"
    assert read_secret({"file": str(path)}) == "whsec_x"
    assert read_secret({"credential": "secret"}) == "whsec_x"
    assert read_secret({"env": "SMSBRIDGE_TEST_SECRET"}) == "whsec_e"


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a\n", "a"), (b"a\r\n", "a"), (b"a", "a"), (b"a\n\n", "a\n"), (b" a ", " a ")],
)
def test_one_line_end_is_cut(tmp_path: Path, content: bytes, text: str) -> None:
    """One trailing line end belongs to the file, everything else to the secret."""
    assert read_secret({"file": str(secret_file(tmp_path, content))}) == text


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o620])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Any bit for others, or writing by the group, refuses the file and says chmod 600."""
    path = secret_file(tmp_path, b"whsec_x", mode)
    with pytest.raises(ValueError, match="is open to others: chmod 600 it"):
        read_secret({"file": str(path)})


def test_a_group_may_read(tmp_path: Path) -> None:
    """640 is how a secret of root is shared with the daemon's group."""
    assert read_secret({"file": str(secret_file(tmp_path, b"x", 0o640))}) == "x"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "is empty"),
        (5, "must be a string"),
        ({"credential": "a", "file": "b"}, "must name one place"),
        ({"credentail": "a"}, "unknown place 'credentail', did you mean 'credential'"),
        ({"file": 5}, "file must be a name in quotes"),
        ({"file": "/nowhere/x"}, "file '/nowhere/x': no such file or directory"),
        ({"file": "/dev/zero"}, "is not a file"),
        ({"env": "SMSBRIDGE_TEST_UNSET"}, "'SMSBRIDGE_TEST_UNSET' is not set"),
        ({"credential": "../x"}, "a credential's name can't contain a slash"),
        ({"credential": ".."}, "a credential's name can't contain a slash"),
        ({"credential": "absent"}, "credential 'absent': no such file"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, sentence: str
) -> None:
    """Each way to get it wrong has a sentence."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ValueError, match=sentence):
        read_secret(value)


def test_without_systemd_a_credential_says_how_to_hand_it_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outside a unit with LoadCredential=, the sentence names that line."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ValueError, match="LoadCredential=crm:/path"):
        read_secret({"credential": "crm"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not text"), (b"x" * 70_000, "too long")],
)
def test_a_file_that_is_no_secret(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Empty, binary and huge files are refused."""
    with pytest.raises(ValueError, match=sentence):
        read_secret({"file": str(secret_file(tmp_path, content))})
