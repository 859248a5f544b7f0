r"""How much a pattern's counted repetitions, such as `\S{1000}`, cost when it runs.

RE2 writes each of them out. Text that keeps hundreds of the copies in play at once is read at a
thousandth of the usual speed: linear still, but a mail of 128 K characters takes over a second.
"""

from __future__ import annotations

import re
from itertools import cycle
from typing import Final

import re2

# What matches one character, written in several; in a compiled pattern it counts as several too.
_CHARACTER: Final = re.compile(
    r"\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*+(?:\]|\\?\Z)"
    r"|\\[pP](?:\{[^}\\]*+\}|.)|\\x(?:\{[^}\\]*+\}|..)"
    r"|\\[dDsSwW]|\.|[^\x00-\x7f]|(?P<kept>\\Q.*?(?:\\E|\Z)|\\.)",
    re.DOTALL,
)


def repeated(pattern: str) -> int:
    """Return about how many characters a pattern's counts make of those that are written.

    1000 for `.{1000}`, 0 without counts. The pattern must be valid.
    """
    options = re2.Options()
    options.log_errors = False
    letters = cycle("ab")  # RE2 would make one of `a*a{0,50}`
    plain = _CHARACTER.sub(lambda found: found["kept"] or next(letters), pattern)
    try:
        size: int = re2.compile(plain, options).programsize
    except re2.error:  # not seen, and then only its length bounds it
        return 0
    return size - len(plain)
