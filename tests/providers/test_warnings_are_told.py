"""docs/warnings.md tells every warning that a message can carry."""

from __future__ import annotations

import re
from pathlib import Path

from bridge import mail, numbers
from bridge.providers import base, times
from bridge.providers.posts.base import TIME_FROM_ARRIVAL


def test_every_code_is_in_the_docs_and_no_other():
    """The page and the code name the same codes, each once."""
    page = Path(__file__).parents[2] / "docs" / "warnings.md"
    told = re.findall(r"^\| `([a-z0-9_]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    known = [
        *mail.Repair,
        *(
            f"{side}_{warning}"
            for side in ("sender", "recipient")
            for warning in numbers.NumberWarning
        ),
        *times.TimeWarning,
        base.FOOTER_CUT,
        base.MAIL_SPLIT,
        base.PREAMBLE_LEFT_OUT,
        base.SUBJECT_UNEXPECTED,
        base.TIME_FROM_MAIL,
        TIME_FROM_ARRIVAL,
    ]
    assert sorted(told) == sorted(map(str, known))
