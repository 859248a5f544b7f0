"""Renders the templates, in small pieces: the loop that serves mail is never held for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bridge.web.page import words

FOLDER: Final = Path(__file__).parent / "templates"
_HOLD: Final = 0.004  # seconds, after which others get their turn


class Templates:
    """The page's templates; whatever a stranger wrote is escaped in each of them."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        for name in ("ago", "count", "due", "plain", "seconds", "sentence", "size", "time"):
            self._environment.filters[name] = getattr(words, name)
        # Compiled here, where nobody waits: on the loop it would hold it.
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    async def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return a page's HTML."""
        pieces = []
        began = time.perf_counter()
        for piece in self._environment.get_template(name).generate(values):
            pieces.append(piece)
            if time.perf_counter() - began > _HOLD:
                await asyncio.sleep(0)
                began = time.perf_counter()
        return "".join(pieces)
