"""HTML to the text that a reader would see, as far as an SMS needs it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from bridge.mail.limits import MAX_HTML, NotReadError

_SPACE: Final = re.compile(r"[ \t\n\r\f]+")  # HTML's own list; a no-break space is text
_LINES: Final = frozenset({
    "address", "article", "blockquote", "body", "center", "dd", "div", "dl", "dt", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre",
    "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_CELLS: Final = frozenset({"td", "th"})
_UNSEEN: Final = frozenset({"head", "script", "style", "template", "title"})


def to_text(html: str) -> str:
    """Convert HTML: `br`, paragraphs and rows to line ends, cells to tabs, entities once.

    Raises NotReadError where the HTML is over its bound.
    """
    if len(html) > MAX_HTML:
        raise NotReadError(f"the HTML is longer than {MAX_HTML} characters")
    page = _Page()
    page.feed(html)
    page.close()
    return page.text()


class _Page(HTMLParser):
    """Collects text; `break` and `cell` are only written once more text follows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._unseen: list[str] = []
        self._pre = 0
        self._fresh = True  # nothing is on the line yet
        self._space = False  # a blank is due before the next word
        self._cell = False  # a tab is due before the next cell's text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag == "br":
            self._write_line_end()
        elif tag in _LINES:
            self._new_line()
            self._pre += tag == "pre"
        elif tag in _CELLS:
            self._space = False
            self._cell = not self._fresh

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:  # <title/> hides nothing
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        elif tag in _LINES:
            self._new_line()
            self._pre -= tag == "pre" and self._pre > 0
        elif tag in _CELLS:
            self._fresh = False  # an empty first cell still parts itself from the second

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._pre:
            self._write(data)
            return
        words = _SPACE.sub(" ", data)
        if words == " ":
            self._space = not self._fresh
            return
        self._space = self._space or (words.startswith(" ") and not self._fresh)
        self._write((" " if self._space and not self._cell else "") + words.strip(" "))
        self._space = words.endswith(" ")

    def text(self) -> str:
        """Give the text without the blank lines around it."""
        return "".join(self._out).strip("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._cell:
            self._out.append("\t")
            self._cell = False
        self._out.append(text)
        self._fresh = text.endswith("\n")

    def _write_line_end(self) -> None:
        self._out.append("\n")
        self._fresh, self._space, self._cell = True, False, False

    def _new_line(self) -> None:
        if not self._fresh:
            self._write_line_end()
        self._space = False
