"""Turns a mail's raw bytes into an `Email`: pure, bounded in time and memory, and never raising.

The bytes come from strangers. The headers and the parts are split here, not by the standard
library's parser: its cost grows with lines times nesting, and it ends the headers at a line like
`From :`, both of which a stranger may choose; so is HTML, for the same reason. Everything here is
linear in the mail's size.
"""

from bridge.mail.decoding import decode
from bridge.mail.headers import HeaderField, HeaderFields, header_fields
from bridge.mail.repairs import Repair

__all__ = ["HeaderField", "HeaderFields", "Repair", "decode", "header_fields"]
