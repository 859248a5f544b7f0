"""Certificates for servers on the loopback, made in this process."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


def self_signed(folder: Path, name: str) -> None:
    """Write `name.pem` and `name.key` for 127.0.0.1 and localhost into a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    places = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        _certificate(subject, subject, key, now - timedelta(hours=1), now + 2 * DAY)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    write_key(folder / f"{name}.key", key)


@dataclass(frozen=True)
class Authority:
    """A CA in a folder, in `name.pem`; it signs certificates for clients."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        made = _certificate(self._subject, self._subject, self.key, now - DAY, now + DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._write(self.name, made)

    @property
    def _subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def client(
        self,
        file: str,
        *names: x509.GeneralName,
        common: str = "client",
        until: timedelta = timedelta(days=1),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> ssl.SSLContext:
        """Issue a certificate; return a client's context that shows it and trusts `one.pem`."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        made = _certificate(subject, self._subject, key, now - 2 * DAY, now + until)
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._write(file, made)
        write_key(self.folder / f"{file}.key", key)
        context = ssl.create_default_context(cafile=self.folder / "one.pem")
        context.load_cert_chain(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        return context

    def _write(self, file: str, made: x509.CertificateBuilder) -> None:
        pem = made.sign(self.key, SHA256()).public_bytes(Encoding.PEM)
        (self.folder / f"{file}.pem").write_bytes(pem)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def write_key(
    path: Path,
    key: ec.EllipticCurvePrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> None:
    """Write a private key that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    )
