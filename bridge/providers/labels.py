"""Finds labelled fields in a mail's text: `From: +39…`, `from<tab>+39…`, `FROM = +39…`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Field(Enum):
    """What a label can stand for; the last three are known so that they are not taken for text."""

    SENDER = "sender"
    RECIPIENT = "recipient"
    TIME = "time"
    MESSAGE_ID = "message id"
    BODY = "body"
    SERVICE_ID = "service id"
    WEBHOOK_URL = "webhook url"
    FALLBACK_URL = "fallback url"


@dataclass(frozen=True, slots=True)
class Found:
    """The fields' values as written, and the labels (as we spell them) that they stood at.

    `repeated` is a label that stood twice in front of the body with different values.
    """

    values: Mapping[Field, str]
    names: Mapping[Field, str]
    repeated: str | None


class Labels:
    """The labels of one format, each in all its spellings; case and blanks do not matter.

    `after_body`: fields that are missing in front of the body may also stand behind it, as the
    very last lines of the mail.
    """

    def __init__(
        self, spellings: Mapping[Field, Sequence[str]], *, after_body: bool = False
    ) -> None:
        self._spellings = spellings
        self._after_body = after_body
        self._fields = {
            name.lower(): (which, name) for which, names in spellings.items() for name in names
        }
        names = "|".join(re.escape(name) for name in self._fields)
        # One blank after the separator is the layout's, any further one is the value's.
        self._label = re.compile(
            rf"^[ \t\xa0]*({names})(?:[ \t\xa0]*[:=][ \t\xa0]?|\t)",
            re.IGNORECASE | re.MULTILINE | re.ASCII,
        )

    def spelled(self, which: Field) -> Sequence[str]:
        """Give a field's labels as the provider writes them."""
        return self._spellings[which]

    def read(self, text: str) -> Found:
        """Read each field up to the body's label; the body takes the rest of the text.

        The body is kept character for character, less the one line end that every mail has at
        its end; what looks like a label in it is its own. The other values end with their line
        and lose the blanks around them. Lines without a label in front of the body are passed
        over.
        """
        values: dict[Field, str] = {}
        names: dict[Field, str] = {}
        repeated: str | None = None
        for label in self._label.finditer(text):
            which, name = self._fields[label[1].lower()]
            if which is Field.BODY:
                body = text[label.end() :].removesuffix("\n")
                values[which] = self._cut_fields_after(body, values, names)
                names[which] = name
                break
            line_end = text.find("\n", label.end())
            value = text[label.end() : line_end if line_end >= 0 else len(text)].strip()
            if values.get(which, value) != value:
                repeated = name
            values.setdefault(which, value)
            names.setdefault(which, name)
        return Found(values, names, repeated)

    def _cut_fields_after(
        self, body: str, values: dict[Field, str], names: dict[Field, str]
    ) -> str:
        """Take the fields that were still missing off the body's end, last line first.

        A field that is known already ends it, so a text that ends with such lines keeps them.
        """
        while self._after_body and "\n" in body:
            line = body.rindex("\n") + 1
            label = self._label.match(body, line)
            if label is None:
                break
            which, name = self._fields[label[1].lower()]
            if which is Field.BODY or which in values:
                break
            values[which] = body[label.end() :].strip()
            names[which] = name
            body = body[: line - 1]
        return body
