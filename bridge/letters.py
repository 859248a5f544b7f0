"""Lower-cases identities: addresses, domains, authserv-ids."""

from __future__ import annotations


def lower(text: str) -> str:
    """Lower-case ASCII letters only.

    By Unicode's rules the Kelvin sign (U+212A) becomes "k" and the long s "s": two identities that
    a mail server or the DNS keeps apart would be equal.
    """
    # bytes.lower() is ASCII-only. Bytes that aren't UTF-8 arrive as surrogates.
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
