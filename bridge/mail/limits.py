"""The bounds of reading a mail; what is over one goes to quarantine unread.

Sizes are bytes. They are far above what any provider sends and low enough that the worst mail
costs a fraction of a second.
"""

from __future__ import annotations

from typing import Final

MAX_HEADER_BYTES: Final = 128 * 1024  # one header block, the mail's or a part's
MAX_HEADERS: Final = 1000  # in one block
MAX_STRUCTURED: Final = 2 * 1024  # From, Date, Message-ID and the Content- headers
MAX_SUBJECT: Final = 8 * 1024  # some providers put the SMS's text here
MAX_TEXT: Final = 512 * 1024  # all text parts that are read, as they came
MAX_HTML: Final = 128 * 1024  # characters, nearly all of it style; the worst takes 0.1 s
MAX_DEPTH: Final = 20  # multiparts in multiparts
MAX_PARTS: Final = 200  # in the whole mail
MAX_BOUNDARY: Final = 128  # of a multipart's boundary; RFC 2046 has 70 characters
MAX_BOUNDARIES: Final = 2000  # lines that begin like one, in all multiparts
MAX_DASHED: Final = 10_000  # lines that begin with two hyphens, in a mail with multiparts


class NotReadError(Exception):
    """A mail over a bound; it never leaves this room, `decode` makes it a value.

    Its text is a sentence for the operator, without a word of the mail.
    """
