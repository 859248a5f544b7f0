"""The sender: the address of exactly one clean From header, or a sentence why there is none.

Deliberately narrower than RFC 5322: address parsers disagree about everything past `name
<address>`, and each disagreement is a way to look like somebody else. A From in which no program
can find an address, such as a bare name or `<>`, looks like nobody, so it is no defect.
"""

from __future__ import annotations

import re
from typing import Final

from bridge import letters
from bridge.mail.headers import HeaderBlock, decode_value, decodes_to_control
from bridge.remembered import remembered

# Beyond ASCII: the addresses of RFC 6531, whose senders SMTPUTF8 lets in.
_BEYOND: Final = r"[^\x00-\x7f\s\N{REPLACEMENT CHARACTER}]"
_ATOM: Final = rf"(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]|{_BEYOND})++"
_LABEL: Final = rf"(?:[A-Za-z0-9_-]|{_BEYOND})++"
_ADDRESS: Final = rf"({_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*)"
_COMMENT: Final = r"(?:[ \t]*\([^()\\]*\))?"
# A display name: quoted strings, comments and anything that means nothing to an address parser.
# Each alternative begins with another character, so matching is linear.
_NAME: Final = (
    r'(?:[^\x00-\x1f\x7f"(),:;<>@\\]|"(?:[^"\\]|\\.)*"|\([^\x00-\x1f\x7f"(),:;<>@\\]*\))*'
)
# Without one there is no address; the wide and the small one are what some programs make it of.
_AT: Final = re.compile("[@\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}]")
_MAILBOX: Final = re.compile(rf"{_NAME}<{_ADDRESS}>{_COMMENT}|{_ADDRESS}{_COMMENT}")


def read_sender(block: HeaderBlock) -> tuple[str | None, str | None]:
    """Return the sender's address in lower case and None, or None and what is wrong.

    Both are None if the From names no address.
    """
    if block.defect is not None:
        return None, block.defect
    values = block.fields.get("from", ())
    if not values:
        return None, "there is no From header"
    if len(values) > 1:
        return None, f"there are {len(values)} From headers"
    return _read(values[0])


@remembered(entries=1024, longest=256)
def _read(raw: bytes) -> tuple[str | None, str | None]:
    if decodes_to_control(raw):
        return None, "the From header holds a control character"
    # Encoded words stay as they are: what they decode to is a display name, never an address.
    text = raw.decode("utf-8", errors="replace").replace("\t", " ")
    mailbox = _MAILBOX.fullmatch(text)
    if mailbox is not None:
        return letters.lower(mailbox[1] or mailbox[2]), None
    if _AT.search(text) or _AT.search(decode_value(raw)):
        return None, "the From header is not one plain mailbox (an address, or a name <address>)"
    return None, None
