"""Builds every TLS context: listeners', and clients' (mailboxes, endpoints, token servers)."""

from __future__ import annotations

import ssl
import stat
from functools import cache
from pathlib import Path

import httpx

from bridge.errors import ConfigError


def server_context(
    certificate: Path, key: Path, table: str, client_ca: Path | None = None
) -> ssl.SSLContext:
    """Return a listener's context for TLS 1.2 and newer.

    `table` is the config's table with `tls_certificate` and `tls_key`; ConfigError names the one
    that can't be used. With `client_ca`, its `tls_client_ca`, clients are asked for a certificate:
    they may have none, but one that no CA in the file signed, or that is not valid now, ends the
    handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A renegotiation costs the server far more than the client that asks for it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    load_pair(context, certificate, key, table)
    if client_ca is not None:
        _load_authorities(context, client_ca, f"{table}.tls_client_ca")
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path, table: str) -> None:
    """Load our own certificate and its key; ConfigError names the one that can't be used."""
    _readable(certificate, f"{table}.tls_certificate")
    _readable(key, f"{table}.tls_key")
    if key.stat().st_mode & stat.S_IRWXO:
        raise ConfigError(f"{table}.tls_key", f"{str(key)!r} can be read by others: chmod 600 it")
    try:
        # Without a password, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(f"{table}.tls_certificate", _pair_problem(error)) from None
    except _EncryptedKey:
        raise ConfigError(
            f"{table}.tls_key", f"{str(key)!r} is encrypted: a daemon needs a key without password"
        ) from None


def client_context(ca: Path | None = None, key: str = "") -> ssl.SSLContext:
    """Return a client's context, for TLS 1.2 and newer, that verifies the server and its name.

    It trusts the CAs in the file `ca` and no other; without one, those that the system trusts (a
    company's own CA works once it is installed), or httpx's where the system has none. ConfigError
    names `key`, the setting that holds `ca`.
    """
    context = _system_trust() if ca is None else _trust_in(ca, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@cache
def shared_client_context() -> ssl.SSLContext:
    """Return the one context of all who trust as the system does, and change nothing of it.

    Made when the first of them asks: the system's CAs take 1 MB and 20 ms.
    """
    return client_context()


def trust_nobody() -> ssl.SSLContext:
    """Return a client's context for what speaks no TLS: should it ever, no handshake succeeds."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _system_trust() -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.capath) if paths.capath else None
    if paths.cafile or (folder is not None and any(folder.iterdir())):
        return ssl.create_default_context()
    return httpx.create_ssl_context(trust_env=False)


def _trust_in(ca: Path, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_authorities(context, ca, key)
    return context


def _load_authorities(context: ssl.SSLContext, ca: Path, key: str) -> None:
    _readable(ca, key)
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise ConfigError(key, f"{str(ca)!r} holds no PEM certificate") from None


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


def _pair_problem(error: ssl.SSLError) -> str:
    """Return what is wrong with a certificate and its key."""
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return "tls_certificate and tls_key do not belong together"
        case "EE_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return "the certificate is too weak: its key or its signature is of an outdated kind"
        case _:
            return "tls_certificate and tls_key are not a PEM certificate and its PEM key"
