"""Builds TLS contexts, a listener's and a mailbox's, or says what is wrong with their files."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from bridge.errors import ConfigError


def server_context(certificate: Path, key: Path, table: str) -> ssl.SSLContext:
    """Give a context for TLS 1.2 and newer; ConfigError names the key of `table` that is wrong."""
    _readable(certificate, f"{table}.tls_certificate")
    _readable(key, f"{table}.tls_key")
    if key.stat().st_mode & stat.S_IRWXO:
        raise ConfigError(f"{table}.tls_key", f"{str(key)!r} can be read by others: chmod 600 it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A renegotiation costs us far more than the peer that asks for it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # Without a password given, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(f"{table}.tls_certificate", _told(error)) from None
    except _EncryptedKey:
        raise ConfigError(
            f"{table}.tls_key", f"{str(key)!r} is encrypted: a daemon needs a key without password"
        ) from None
    return context


def client_context(ca: Path, key: str) -> ssl.SSLContext:
    """Give a context that trusts this CA alone; ConfigError names `key` if it cannot be used.

    A server that uses a CA of its own is trusted by that, and by no other authority's mistake.
    """
    _readable(ca, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise ConfigError(key, f"{str(ca)!r} holds no PEM certificate") from None
    return context


class _EncryptedKey(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKey


def _readable(path: Path, key: str) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(key, f"{str(path)!r}: {error.strerror}") from None


def _told(error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return "tls_certificate and tls_key do not belong together"
        case "EE_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return "the certificate is too weak: its key or its signature is of an outdated kind"
        case _:
            return "tls_certificate and tls_key are not a PEM certificate and its PEM key"
