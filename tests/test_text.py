"""Segments and keywords of an SMS text."""

import pytest

from bridge import text


@pytest.mark.parametrize(
    ("body", "encoding", "count"),
    [
        ("", "GSM-7", 1),
        ("1", "GSM-7", 1),
        ("a" * 160, "GSM-7", 1),
        ("a" * 161, "GSM-7", 2),
        ("a" * 306, "GSM-7", 2),
        ("a" * 307, "GSM-7", 3),
        ("€" * 80, "GSM-7", 1),
        ("€" * 81, "GSM-7", 2),
        ("€" * 153, "GSM-7", 3),  # 76 to a part: the 153rd septet can't hold half a euro sign
        ("è ñ ü @", "GSM-7", 1),
        ("ê" * 70, "UCS-2", 1),
        ("ê" * 71, "UCS-2", 2),
        ("ê" * 134, "UCS-2", 2),
        ("ê" * 135, "UCS-2", 3),
        ("👍" * 35, "UCS-2", 1),
        ("👍" * 36, "UCS-2", 2),
        ("👍" * 67, "UCS-2", 3),  # 33 to a part: a surrogate pair never straddles two
    ],
)
def test_segments_follow_the_alphabets_limits(body: str, encoding: str, count: int) -> None:
    """A text takes as many SMS as 3GPP TS 23.038 and 23.040 say."""
    assert text.segments(body) == text.Segments(encoding, count)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("STOP", "out"),
        (" stop \n", "out"),
        ("Unsubscribe", "out"),
        ("START", "in"),
        ("unstop", "in"),
        ("Info", "help"),
        ("Stop texting me", None),
        ("STOP.", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_a_keyword_is_the_whole_text(body: str, hint: str | None) -> None:
    """Only a text that is a keyword and nothing else gives a hint."""
    assert text.opt(body) == hint
