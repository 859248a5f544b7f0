"""What a signature covers, written as a text with placeholders: `"{timestamp}.{body}"`."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Final

from pydantic import BeforeValidator, InstanceOf

from bridge.config.values import nearest

# The placeholders, and which part of the post each covers, if any.
BODY: Final = frozenset({
    "body", "body_sha256", "body_sha256_hex", "body_sha256_base64", "parameters",
})  # fmt: skip
URL: Final = frozenset({"url", "url_sha256_hex"})
_KNOWN: Final = (*sorted(BODY | URL), "method", "timestamp", "nonce", "secret")


@dataclass(frozen=True, slots=True)
class SignedText:
    """A parsed text: literals, each followed by a placeholder's name or None."""

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @property
    def names(self) -> frozenset[str]:
        """The placeholders in it."""
        return frozenset(name for _, name in self.parts if name is not None)


def parse_signed_text(text: str) -> SignedText:
    """Parse a text; raises ValueError for an unknown placeholder."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError:
        raise ValueError("has an unpaired brace: a literal one is written {{ or }}") from None
    for _, name, spec, conversion in parsed:
        if name is not None and (name not in _KNOWN or spec or conversion):
            near = nearest(name, _KNOWN)
            hint = f"did you mean {{{near}}}?" if near else f"known are {', '.join(_KNOWN)}"
            raise ValueError(f"unknown placeholder {{{name[:40]}}}, {hint}")
    return SignedText(text, tuple((literal, name) for literal, name, _, _ in parsed))


def _signed_text(value: object) -> object:
    if isinstance(value, SignedText):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError('must be a text with placeholders, like "{timestamp}.{body}"')
    return parse_signed_text(value)


Signed = Annotated[InstanceOf[SignedText], BeforeValidator(_signed_text)]
