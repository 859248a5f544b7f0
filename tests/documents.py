"""The project's documents, and what tests take out of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[1]
PAGES: Final = (
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "benchmarks" / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
)


def page(name: str) -> str:
    """Return the text of a page, named by its path in the project: `docs/receivers.md`."""
    return (PROJECT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of one language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def indented(text: str) -> list[str]:
    """Return the indented lines outside of fences, without the indent; continued ones joined."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    joined = re.sub(r"\\\n +", "", outside)
    return re.findall(r"^    (.*)$", joined, re.MULTILINE)
