r"""How much a pattern costs where text is made against it: how many places it can be at once.

RE2 writes counts such as `\S{1000}` out, and what `a.{30}b` has seen so far takes a bit for each of
the thirty: text that keeps them all in play is read at a thousandth of the usual speed. That is
linear still, but a mail of 128 K characters would take over a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle, groupby, islice
from string import ascii_lowercase
from typing import Final

_CLASS: Final = (
    r"\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*+(?:\]|\\?\Z)"
    r"|\\[pP](?:\{[^}\\]*+\}|.)|\\x(?:\{[^}\\]*+\}|..)|\\[dDsSwW]|\."
)
_SYNTAX: Final = r"\(\?(?:P?<\w+>|[a-zA-Z-]*[:)])|\{\d+(?:,\d*)?\}|[()*+?|]"
_WIDTHLESS: Final = r"[\^$]|\\[AzbB]"
_TOKEN: Final = re.compile(
    rf"(?P<class>{_CLASS})|(?P<syntax>{_SYNTAX})|(?P<widthless>{_WIDTHLESS})"
    r"|\\Q(?P<quoted>.*?)(?:\\E|\Z)|\\?.",
    re.DOTALL,
)
# Words at most overlap themselves, and the states of one so long fit into a pattern's memory.
_FREE_WORD: Final = 250  # letters
_MAX_MEMORY: Final = 64 * 1024**2  # bytes; of three letters for each that is written


def weight(pattern: str) -> int:
    r"""Return in about how many places of a valid pattern its matches can be at once.

    Of classes, those that counts make of them, and of letters and what has no width, those that
    counts add: 1 for `^SMS from \S+`, 4 for `^-{5,}$`, 1000 for `.{1000}`, 999 for `(\b|x){1000}`.
    """
    tokens = list(_TOKEN.finditer(pattern))
    words = groupby(tokens, lambda each: not each["class"] and not each["syntax"])
    free = sum(
        min(_FREE_WORD, sum(map(_letters, letters))) for is_word, letters in words if is_word
    )
    # The pattern's places are what it grows by if each is made one longer.
    return max(0, _size(tokens, 3) - _size(tokens, 2) - free)


def _letters(token: re.Match[str]) -> int:
    return 1 if token["quoted"] is None else len(token["quoted"])


def _size(tokens: Sequence[re.Match[str]], each: int) -> int:
    """Return the size of the program with this many letters for each class and letter.

    As they are written, what matches one character can take several bytes, and RE2 makes one of
    what is alike, as in `a*a{0,50}` and `a|b`.
    """
    letters = cycle(ascii_lowercase)

    def plain(token: re.Match[str]) -> str:
        if token["syntax"] is not None:
            return token["syntax"]
        return f"(?:{''.join(islice(letters, each * _letters(token)))})"

    import re2  # 3 MB, which only configs with patterns pay for

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    size: int = re2.compile(f"(?m){''.join(map(plain, tokens))}", options).programsize
    return size
