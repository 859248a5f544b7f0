"""Several SMS in one mail, told apart by the head of each."""

from __future__ import annotations

import pytest

from bridge.model import SmsMessage, Unreadable
from tests.providers.declaring import declared, mail_of

HEADS = (
    "from = { text = '^Message [0-9]+ from (\\S+):$' }\nto = { value = '1' }\n"
    "body = { after = '^Message [0-9]+ from' }\n"
    "split = { head = '^Message [0-9]+ from \\S+:$' }\n"
)
ONE, TWO = "Message 1 from 22:\nhi\n\n", "Message 2 from 33:\nho\nho\n"


def read(text: str) -> list[tuple[str, str, tuple[str, ...]]] | str:
    result = declared(HEADS).read_email(mail_of(text))
    if isinstance(result, Unreadable):
        return result.detail
    messages = result if isinstance(result, tuple) else (result,)
    assert all(isinstance(each, SmsMessage) for each in messages)
    return [(each.sender, each.body, each.warnings) for each in messages]  # type: ignore[union-attr]


def test_each_head_begins_an_sms() -> None:
    """The line itself stays: the sender stands in it."""
    assert read(ONE + TWO) == [
        ("22", "hi", ("time_from_mail", "mail_split")),
        ("33", "ho\nho", ("time_from_mail", "mail_split")),
    ]


def test_what_is_above_the_first_head_is_left_out_and_said() -> None:
    """It was a false SMS of its own, or made the whole mail unreadable."""
    found = read(f"You have 2 new messages.\n\n{ONE}{TWO}")
    assert isinstance(found, list)
    assert [each[:2] for each in found] == [("22", "hi"), ("33", "ho\nho")]
    assert all("preamble_left_out" in each[2] for each in found)
    (alone,) = read(f"You have a new message.\n{ONE}")
    assert alone == ("22", "hi", ("preamble_left_out", "time_from_mail"))
    assert read(f"\n\n{ONE}") == [("22", "hi", ("time_from_mail",))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("You have no messages.\n", "the mail has no SMS below its heads"),
        ("", "the mail has no SMS below its heads"),
        (ONE * 51, "the mail has more than 50 SMS below its heads"),
        (ONE * 300, "the mail has more than 50 SMS below its heads"),
        ((ONE + "a" * 2000 + "\n") * 60, "the mail has more than 50 SMS below its heads"),
    ],
)
def test_a_mail_without_heads_or_with_too_many_is_not_read(text: str, says: str) -> None:
    """All of it waits in quarantine."""
    assert read(text) == says


def test_a_head_without_a_text_is_an_empty_sms() -> None:
    """The next head ends it; nothing of the next one is taken."""
    found = read(f"Message 1 from 22:\n{TWO}")
    assert isinstance(found, list)
    assert [each[:2] for each in found] == [("22", ""), ("33", "ho\nho")]
