"""What a test does about something that this machine cannot do."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def cannot(what: str) -> NoReturn:
    """Skip the test by this name; under CI, where none may skip, fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
