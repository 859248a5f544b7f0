"""Reads signed mails so that nothing which no signature covers decides what they say.

A relaxed signature (RFC 6376, 3.4) doesn't see how many spaces and tabs stand together, those at
the end of a line, or blank lines at the end of the mail. Whoever has a genuine mail could move
them until a footer, a label or a pattern is found elsewhere, and send a shortened SMS as a new
message. So such a mail is also read with all of them folded, and both must say the same; what is
delivered is the mail's own text, character for character. Where blanks join lines (format=flowed),
it is read with no lines joined, and only the blanks and line ends of the SMS may differ.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from bridge.event import as_signed, words
from bridge.model import Email, Ignored, Part, Reason, SmsMessage, Text, Unreadable
from bridge.providers.base import Provider
from bridge.providers.labels import Field, Labels

_Changes = Mapping[str, Any]  # of a mail's text

_BLANKS: Final = re.compile(r"[ \t]+")
_BLANKS_AT_END: Final = re.compile(r" $", re.MULTILINE)
_MOVED: Final = (
    "spaces or tabs, which its signature does not cover, decide what this mail says: labels need a "
    "colon, and patterns must match whether there is one space or several"
)


def read(
    provider: Provider, email: Email
) -> SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored:
    """Read a mail that a signature vouches for; one whose blanks matter is Unreadable."""
    result = provider.read_email(email)
    written = _messages(result)
    if not written:
        return result
    folded = _folded(email)
    if not provider.matches(folded):
        return Unreadable(Reason.UNREADABLE, _MOVED, provider.name)
    spaced = _messages(provider.read_email(folded))
    alone = _is_alone(provider)
    ways = (
        _read_tabbed(provider, folded, ends=ends) for ends in ((False, True) if alone else (False,))
    )
    tabbed = [way for way in ways if way]
    body = words if email.is_flowed else as_signed
    # A tab may stand for the colon of a label, and no signature tells it from a space. Colons
    # decide where there are any, but not against the numbers that tabs show; and not the text's
    # alone, which says nothing about the layout: the SMS itself may hold it. Such a label may
    # also stand at the end of its line, with or without a tab that no signature sees.
    by_colons = _same if alone else _same_numbers
    agree = (
        _same(written, spaced, body) and all(by_colons(each, spaced, body) for each in tabbed)
        if spaced
        else bool(tabbed) and all(_same(written, each, body) for each in tabbed)
    )
    return result if agree else Unreadable(Reason.UNREADABLE, _MOVED, provider.name)


def _folded(email: Email) -> Email:
    """Fold all that a relaxed signature doesn't see."""
    headers = {
        name: tuple(as_signed(value) for value in values) for name, values in email.headers.items()
    }
    parts = tuple(replace(part, file=part.file and as_signed(part.file)) for part in email.parts)
    subject = as_signed(email.subject)
    return _rewritten(replace(email, subject=subject, headers=headers, parts=parts), _folded_text)


def _rewritten(email: Email, rewrite: Callable[[Email | Text], _Changes]) -> Email:
    """Change a mail's text, and that of each part: a template may read either."""
    parts = tuple(
        replace(part, read=partial(_rewritten_part, part, rewrite)) for part in email.parts
    )
    return replace(email, **rewrite(email), parts=parts)


def _rewritten_part(part: Part, rewrite: Callable[[Email | Text], _Changes]) -> Text | None:
    text = part.read()
    return None if text is None else replace(text, **rewrite(text))


def _folded_text(read: Email | Text) -> _Changes:
    text = read.text if read.fixed is None else read.fixed
    cells = read.cells
    if cells:
        text, cells = _folded_page(text, cells)
    else:
        text = _BLANKS_AT_END.sub("", _BLANKS.sub(" ", text))
    # Always the same blank lines at the end, as many as a layout needs above an empty SMS.
    return {"text": text.rstrip("\n") + "\n\n\n", "cells": cells}


def _folded_page(text: str, cells: Mapping[int, int]) -> tuple[str, Mapping[int, int]]:
    """Fold the blanks of a page with tables: in `pre` they are as they came.

    A tab in front of a cell is markup, which nobody can move.
    """
    pieces: list[str] = []
    gone: list[int] = []  # where characters were that are left out
    at = 0
    for run in _BLANKS.finditer(text):
        start, end = run.span()
        markup = sum(index in cells for index in range(start + 1, end + 1))
        one = not markup and end < len(text) and text[end] != "\n"
        pieces += [text[at:start], " " if one else "\t" * markup]
        gone += [index for index in range(start + one, end) if index + 1 not in cells]
        at = end

    def moved(index: int) -> int:
        return index - bisect_left(gone, index)

    folded = "".join([*pieces, text[at:]])
    return folded, {moved(start): moved(end) for start, end in cells.items()}


def _read_tabbed(provider: Provider, folded: Email, *, ends: bool) -> tuple[SmsMessage, ...]:
    """Read a mail with a tab behind each label that a blank follows, or that `ends` its line."""
    labels = getattr(provider, "labels", None)
    if not isinstance(labels, Labels):
        return ()

    def tabbed(read: Email | Text) -> _Changes:
        return {"text": labels.tabbed(read.text, ends=ends)}

    return _messages(provider.read_email(_rewritten(folded, tabbed)))


def _is_alone(provider: Provider) -> bool:
    """Return whether no number has a label beside the text's."""
    labels = getattr(provider, "labels", None)
    return isinstance(labels, Labels) and not any(
        labels.spelled(number) for number in (Field.SENDER, Field.RECIPIENT)
    )


def _messages(
    result: SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored,
) -> tuple[SmsMessage, ...]:
    if isinstance(result, SmsMessage):
        return (result,)
    return result if isinstance(result, tuple) else ()


def _same(
    some: tuple[SmsMessage, ...], others: tuple[SmsMessage, ...], body: Callable[[str], str]
) -> bool:
    return [_words(each, body) for each in some] == [_words(each, body) for each in others]


def _words(message: SmsMessage, body: Callable[[str], str]) -> tuple[object, ...]:
    return (
        message.received_at if message.has_own_time else None,
        as_signed(message.sender),
        as_signed(message.recipient),
        as_signed(message.provider_message_id or ""),
        body(message.body),
    )


def _same_numbers(
    some: tuple[SmsMessage, ...], others: tuple[SmsMessage, ...], _body: Callable[[str], str]
) -> bool:
    return _numbers(some) == _numbers(others)


def _numbers(messages: tuple[SmsMessage, ...]) -> list[tuple[str, str]]:
    return [(as_signed(each.sender), as_signed(each.recipient)) for each in messages]
