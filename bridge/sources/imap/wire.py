"""The part of IMAP's grammar that we use: assembles responses from a stream and parses them.

Pure, bounded, and without recursion: a server cannot exhaust our memory or our stack.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_CRLF: Final = b"\r\n"
_LITERAL: Final = re.compile(rb"\{(\d{1,19})\}\Z")
_HUMAN_TEXT: Final = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
# A "[" that opens no section (`BODY[]`) may be part of a keyword set by some client.
_TOKEN: Final = re.compile(
    rb'[()]|"(?:[^"\\]|\\.)*"|(?:[^\s()"\[]|\[[^\]\[()]*(?:\([^()]*\))?\]|\[)+', re.DOTALL
)
_FETCH: Final = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_DATE: Final = re.compile(
    r"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"
)
_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
MAX_LINE: Final = 16 * 1024**2  # a SEARCH in a mailbox of two million mails

# A response: text and literals alternating, from "* " or the tag to the end of its last line.
Response = tuple[bytes, ...]
# A value in a FETCH: an atom, a string, NIL, or a list in parentheses.
Value = bytes | None | tuple["Value", ...]


class OverLimit(Exception):
    """The server announced or sent more than the limit."""


class Assembler:
    """Splits a stream into responses; a literal over `most` bytes is refused when announced."""

    def __init__(self, most: int, max_line: int = MAX_LINE) -> None:
        self._most = most
        self._max_line = max_line
        self._buffer = bytearray()
        self._at = 0  # where the next part begins in the buffer
        self._searched = 0  # the buffer has been searched for CRLF up to here
        self._wanted: int | None = None  # bytes of the literal being received
        self._parts: list[bytes] = []
        self._size = 0  # of the literals of the response being received

    def feed(self, data: bytes) -> Iterator[Response]:
        """Add bytes; yield the complete responses. Raises OverLimit."""
        self._buffer += data
        while self._wanted is None or len(self._buffer) - self._at >= self._wanted:
            if self._wanted is not None:
                self._parts.append(self._take(self._wanted))
                self._wanted = None
                continue
            end = self._buffer.find(_CRLF, self._searched)
            if end < 0:
                # The CR may be there already, its LF not yet.
                self._searched = max(self._at, len(self._buffer) - 1)
                if len(self._buffer) - self._at > self._max_line:
                    raise OverLimit(f"a line of more than {self._max_line} bytes")
                break
            line = self._take(end - self._at)
            self._take(len(_CRLF))
            self._parts.append(line)
            if not self._literal_begins(line):
                response, self._parts, self._size = tuple(self._parts), [], 0
                yield response
        del self._buffer[: self._at]
        self._searched -= self._at
        self._at = 0

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        self._searched = self._at
        with memoryview(self._buffer) as view:
            return bytes(view[start : self._at])

    def _literal_begins(self, line: bytes) -> bool:
        if not self._parts[0].startswith(b"* ") or _HUMAN_TEXT.match(self._parts[0]):
            return False  # text for people may end in {1} without announcing a literal
        found = _LITERAL.search(line)
        if found is None:
            return False
        self._wanted = int(found[1])
        self._size += self._wanted
        if self._size > self._most or len(self._parts) > 1000:
            raise OverLimit(f"a literal of more than {self._most} bytes")
        return True


@dataclass(frozen=True, slots=True)
class Fetched:
    """The values of one FETCH response, by item; only those with a UID are usable."""

    uid: int
    items: Mapping[bytes, Value]


def read_fetch(response: Response) -> Fetched | None:
    """Parse a FETCH response; None for any other, for one without a UID, or malformed.

    Servers send FLAGS of any mail at any time, among the responses asked for: only the UID in the
    same response says whose body this is.
    """
    if not _FETCH.match(response[0]):
        return None
    values = _values(response)
    body = values[-1] if values else None
    if not isinstance(body, tuple):
        return None
    items: dict[bytes, Value] = {}
    for name, value in zip(body[::2], body[1::2], strict=False):
        if isinstance(name, bytes):
            items[name.upper()] = value
    uid = items.get(b"UID")
    if not isinstance(uid, bytes) or not uid.isdigit():
        return None
    return Fetched(int(uid), items)


def _values(response: Response) -> tuple[Value, ...]:
    stack: list[list[Value]] = [[]]
    for number, part in enumerate(response):
        if number % 2:
            stack[-1].append(part)  # a literal
            continue
        text = _LITERAL.sub(b"", part) if number + 1 < len(response) else part
        for found in _TOKEN.finditer(text):
            token = found[0]
            if token == b"(":
                stack.append([])
            elif token == b")":
                if len(stack) > 1:
                    done = tuple(stack.pop())
                    stack[-1].append(done)
            elif token.startswith(b'"'):
                stack[-1].append(_ESCAPED.sub(rb"\1", token[1:-1]))
            else:
                stack[-1].append(None if token.upper() == b"NIL" else token)
    return tuple(stack[0])


def read_search(responses: Sequence[Response]) -> list[int]:
    """Return the numbers of all SEARCH responses, in ascending order."""
    found: set[int] = set()
    for response in responses:
        words = response[0].split()
        if len(words) > 1 and words[1].upper() == b"SEARCH":
            found.update(int(word) for word in words[2:] if word.isdigit())
    return sorted(found)


def read_date(text: bytes) -> datetime | None:
    """Parse an INTERNALDATE (`" 8-Apr-2026 14:30:52 +0200"`) as UTC; None if malformed."""
    found = _DATE.fullmatch(text.decode("ascii", "replace"))
    if found is None or found[2].lower() not in _MONTHS:
        return None
    offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
    try:
        return datetime(
            int(found[3]), _MONTHS.index(found[2].lower()) + 1, int(found[1]),
            int(found[4]), int(found[5]), int(found[6]),
            tzinfo=timezone(-offset if found[7] == "-" else offset),
        ).astimezone(UTC)  # fmt: skip
    except (ValueError, OverflowError):
        return None


def search_date(year: int, month: int, day: int) -> str:
    """Format a date for SEARCH: `8-Apr-2026`, whatever the locale."""
    return f"{day}-{_MONTHS[month - 1].title()}-{year:04}"


def quoted(text: str) -> str:
    """Quote a string; only the quote and the backslash need escaping."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def folder_name(name: str) -> str:
    """Encode a folder's name: quoted, in IMAP's modified UTF-7."""
    written: list[str] = []
    pending: list[str] = []  # not ASCII

    def flush() -> None:
        if pending:
            encoded = base64.b64encode("".join(pending).encode("utf-16-be")).rstrip(b"=")
            written.append("&" + encoded.decode().replace("/", ",") + "-")
            pending.clear()

    for character in name:
        if " " <= character <= "~":
            flush()
            written.append("&-" if character == "&" else character)
        else:
            pending.append(character)
    flush()
    return quoted("".join(written))


def uid_set(uids: Sequence[int]) -> str:
    """Format ascending UIDs compactly: `1:4,7`."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(a) if a == b else f"{a}:{b}" for a, b in runs)
