"""What was mended while reading a mail: the constant codes in `Email.warnings`."""

from __future__ import annotations

from enum import StrEnum


class Repair(StrEnum):
    """One thing that was wrong with a mail that was read all the same (docs/warnings.md)."""

    BARE_LINE_FEEDS = "bare_line_feeds"
    BASE64_DEFECT = "base64_defect"
    BOM_REMOVED = "bom_removed"
    CHARSET_UNDECLARED = "charset_undeclared"
    CHARSET_UNKNOWN = "charset_unknown"
    CHARSET_WRONG = "charset_wrong"
    CONTENT_TYPE_INVALID = "content_type_invalid"
    DATE_UNREADABLE = "date_unreadable"
    DATE_WITHOUT_ZONE = "date_without_zone"
    ENCODING_UNKNOWN = "encoding_unknown"
    HEADER_MALFORMED = "header_malformed"
    HEADER_REPEATED = "header_repeated"
    HTML_UNCLOSED = "html_unclosed"
    HTML_WITHOUT_LINES = "html_without_lines"
    MULTIPART_BROKEN = "multipart_broken"
    MULTIPART_UNCLOSED = "multipart_unclosed"
    NO_TEXT = "no_text"
    NUL_REPLACED = "nul_replaced"
    QUOTED_PRINTABLE_DEFECT = "quoted_printable_defect"
    TEXT_PARTS_SKIPPED = "text_parts_skipped"
