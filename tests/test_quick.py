"""The quick run of the tests starts no process, and says so to whoever forgets the mark."""

from __future__ import annotations

import subprocess

import pytest

from tests.quick import _Quick


@pytest.mark.processes
def test_who_starts_a_process_unmarked_fails() -> None:
    """The sentence names the program and the mark."""
    watching = _Quick()._watch()
    next(watching)
    subprocess.run(["true"], check=True)
    with pytest.raises(pytest.fail.Exception, match=r"Popen true\): mark it.*mark\.processes"):
        next(watching)


def test_who_starts_none_passes() -> None:
    """Nothing is said of a test that stays in this process."""
    watching = _Quick()._watch()
    next(watching)
    with pytest.raises(StopIteration):
        next(watching)
