"""HTML to the text that a reader would see, as far as an SMS needs it.

Our own walk over the tags, because the standard library's parser takes time quadratic in what a
stranger writes (64 KB of `<a<a` cost it 2 s). Here every tag either ends or is the last thing
that is looked for, so the whole walk is linear.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Final, NamedTuple

from bridge.mail.limits import MAX_HTML, NotReadError
from bridge.mail.repairs import Repair

_BLANK: Final = r"[ \t\n\r\f]"
_SPACE: Final = re.compile(rf"{_BLANK}+")  # HTML's own list; a no-break space is text
# Possessive throughout: a failing match has looked at each character once. A `>` in a quoted
# attribute does not end its tag; a quote inside an unquoted one is a character like any other.
_TAG: Final = re.compile(
    r"<(/?)([a-zA-Z][^ \t\n\r\f/>]*+)"
    rf"(?:[^>=]++|={_BLANK}*+(?:\"[^\"]*+\"|'[^']*+'|[^ \t\n\r\f>\"'][^ \t\n\r\f>]*+|(?=>)))*+>"
)
_MARKUP: Final = re.compile(r"<(?:/?(?=[a-zA-Z])|(!--|[!?/]))")  # `<3` is text
_REFERENCE: Final = re.compile(
    r"&(?:#0*([0-9]{1,7}+)(?![0-9]);?|#[xX]0*([0-9a-fA-F]{1,6}+)(?![0-9a-fA-F]);?"
    r"|([a-zA-Z0-9]{2,32});)"
)
_BREAKS: Final = re.compile(
    r"<(?:br|p|div|pre|t[dhr]|table|li|[dou]l|d[dt]|h[1-6r]|blockquote|section|article|center)\b",
    re.IGNORECASE,
)
_LINES: Final = frozenset({
    "address", "article", "blockquote", "body", "center", "dd", "div", "dl", "dt", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre",
    "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_ROWS: Final = frozenset({"table", "tbody", "tfoot", "thead", "tr"})
_CELLS: Final = frozenset({"td", "th"})
# What is in these is no markup, up to their own end tag.
_UNSEEN: Final = {
    name: re.compile(rf"</{name}(?=[ \t\n\r\f/>])", re.IGNORECASE)
    for name in ("script", "style", "title")
}
# Where a page itself names its charset (HTML Standard, 4.2.5.4): within its first 1024 bytes.
_META: Final = re.compile(
    rb"<meta\s[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_META_WITHIN: Final = 1024
_MAX_DUE: Final = 64
_HIGHEST: Final = 0x10FFFF


class Page(NamedTuple):
    """A page's text, and where in it each table cell stands: start → end."""

    text: str
    cells: dict[int, int]
    repairs: tuple[Repair, ...]


def to_text(html: str) -> Page:
    """Convert HTML: `br`, paragraphs and rows to line ends, cells to tabs, entities once.

    Raises NotReadError where the HTML is over its bound.
    """
    if len(html) > MAX_HTML:
        raise NotReadError(f"the HTML is longer than {MAX_HTML} characters")
    writer = _Writer()
    repairs = []
    if "\n" in html.strip() and _BREAKS.search(html) is None:
        # A program that says HTML and sends plain text: the lines are all the layout it has.
        writer.pre = 1
        repairs.append(Repair.HTML_WITHOUT_LINES)
    if not _walk(html, writer):
        repairs.append(Repair.HTML_UNCLOSED)
    return Page(*writer.finish(), tuple(repairs))


def named_in_page(page: bytes) -> str | None:
    """Return the charset that a page names in its `meta`, or None.

    UTF-16 cannot be meant, since the name itself could be read; the standard takes it for UTF-8.
    """
    if page.isascii() and b"\x1b" not in page:
        return None  # as in every charset, but those that switch by escape sequences
    found = _META.search(page, 0, _META_WITHIN)
    if found is None:
        return None
    name = found[1].decode("ascii")
    return "utf-8" if name.lower().startswith("utf-16") else name


def _walk(html: str, writer: _Writer) -> bool:
    """Pass the writer all text and tags; tell if every tag and comment had its end."""
    at = 0
    while True:
        markup = _MARKUP.search(html, at)
        if markup is None:
            writer.write(html[at:])
            return True
        writer.write(html[at : markup.start()])
        if markup[1] is None:  # a tag
            tag = _TAG.match(html, markup.start())
            end = _after(html, tag, writer) if tag is not None else -1
        else:
            closing = "-->" if markup[1] == "!--" else ">"
            end = html.find(closing, markup.end())
            end += len(closing) if end >= 0 else 0
        if end < 0:
            writer.write(html[markup.start() :])  # whatever it is, it is not lost
            return False
        at = end


def _after(html: str, tag: re.Match[str], writer: _Writer) -> int:
    """Pass a tag to the writer; return where the page goes on, or -1 where it never does."""
    name, at = tag[2].lower(), tag.end()
    if tag[1]:
        writer.close(name)
    elif name in _UNSEEN and not tag[0].endswith("/>"):
        end = _UNSEEN[name].search(html, at)
        return html.find(">", end.start()) + 1 or -1 if end is not None else -1
    else:
        writer.open(name)
        if name == "pre" and html.startswith("\n", at):
            at += 1  # HTML's own rule
    return at


def unescape(text: str) -> str:
    """Un-escape the numeric references, and the named ones that end with a semicolon, once.

    Browsers also take `&copy` and the start of `&timestamp=` for references. No program writes
    them so on purpose, but many put an address with such parameters into a page as it is.
    """
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        return html5.get(f"{name};", reference[0])
    point = int(decimal) if decimal else int(hexadecimal, 16)
    if 0x80 <= point <= 0x9F:  # windows-1252's, as in every browser
        return bytes((point,)).decode("cp1252", "replace")
    if point == 0 or 0xD800 <= point <= 0xDFFF or point > _HIGHEST:
        return "\N{REPLACEMENT CHARACTER}"
    return "\n" if point == ord("\r") else chr(point)


class _Writer:
    """Collects text; line ends of blocks and tabs of cells wait until more text follows."""

    def __init__(self) -> None:
        self.pre = 0
        self._out: list[str] = []
        self._length = 0
        self._tail = 0  # how many line ends stand at the end so far
        self._due = ""  # what parts the next text from the last
        self._fresh = True  # nothing is on the line or in the cell yet
        self._hidden: str | None = None
        self._cells: dict[int, int] = {}
        self._open: list[int] = []  # where each open cell's text begins; -1: there is none yet
        self._rows = [False]  # for each open table: has the row a cell already

    def open(self, name: str) -> None:
        """Take a start tag."""
        if self._hidden == "head" and (name in _LINES or name in _CELLS or name == "br"):
            self._hidden = None  # its end tag may be left out
        if name in {"head", "template"}:
            self._hidden = self._hidden or name
        elif self._hidden:
            return
        elif name == "br":
            self._line_end()
        elif name in _CELLS:
            self._new_cell()
        elif name in _LINES:
            self._new_block(name)

    def close(self, name: str) -> None:
        """Take an end tag."""
        if name == self._hidden:
            self._hidden = None
        elif self._hidden:
            return
        elif name in _CELLS:
            self._end_cell(len(self._rows))
        elif name in _LINES:
            if name in _ROWS:
                self._end_cell(len(self._rows))
            self._new_line()
            if name == "table" and len(self._rows) > 1:
                self._rows.pop()
            elif name == "tr":
                self._rows[-1] = False
            self.pre -= name == "pre" and self.pre > 0

    def write(self, raw: str) -> None:
        """Take the text between two tags."""
        if self._hidden == "head" and not raw.isspace():
            self._hidden = None  # as in a browser: a head holds no text
        if self._hidden or not raw:
            return
        text = unescape(raw)
        if self.pre:
            self._append(text)
            self._fresh = text.endswith("\n")
            return
        words = _SPACE.sub(" ", text)
        if words.startswith(" ") and not self._fresh:
            self._due = self._due or " "
        if words != " ":
            self._append(words.strip(" "))
            self._fresh = False
            self._due = " " if words.endswith(" ") else ""

    def finish(self) -> tuple[str, dict[int, int]]:
        """Return the text without the line ends of `br` at its end, and the cells' places."""
        while self._open:
            self._end_cell(0)
        if "\t" in self._due:
            self._append("")
        return "".join(self._out)[: self._length - self._tail], self._cells

    def _append(self, text: str) -> None:
        if self._due:
            self._put(self._due)
            self._due = ""
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index] >= 0:
                break  # what is around it has begun as well
            self._open[index] = self._length
        self._put(text)

    def _put(self, piece: str) -> None:
        self._out.append(piece)
        self._length += len(piece)
        self._tail = self._tail + 1 if piece == "\n" else 0

    def _line_end(self) -> None:
        if self._due == " ":
            self._due = ""
        if self._length or self._due:
            self._append("\n")
        self._fresh = True

    def _new_block(self, name: str) -> None:
        if name in _ROWS and name != "table":
            self._end_cell(len(self._rows))
        self._new_line()
        if name == "table":
            self._rows.append(False)
        elif name == "tr":
            self._rows[-1] = False
        self.pre += name == "pre"

    def _new_cell(self) -> None:
        self._end_cell(len(self._rows))
        if self._rows[-1]:
            if len(self._due) > _MAX_DUE:
                self._append("")
            self._due = self._due.rstrip(" ") + "\t"
            self._fresh = True
        self._rows[-1] = True
        self._open.append(-1)

    def _new_line(self) -> None:
        if self._fresh:
            return
        if "\t" in self._due:  # empty cells at a row's end
            self._append("")
        self._due = "\n" if self._length else ""
        self._fresh = True

    def _end_cell(self, depth: int) -> None:
        """End the open cell of this table, whether it was closed or not."""
        if len(self._open) < max(depth - 1, 1):
            return
        start = self._open.pop()
        if start >= 0:
            end = max(start, self._length - self._tail)
            self._due = ""
        else:
            start = end = self._length + len(self._due)
        self._cells[start] = max(end, self._cells.get(start, 0))
        self._fresh = False
