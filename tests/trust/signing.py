"""Signs mails for the tests, with our own few lines and with other people's programs.

Our own exists for what no honest signer does; it is written by the RFC's words, not by the
verifier's code.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from tests.patience import PATIENCE
from tests.servers.programs import need

DOMAIN = "agiletelecom.com"
SELECTOR = "s1"
NAME = f"{SELECTOR}._domainkey.{DOMAIN}"
SIGNED_HEADERS = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")

RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()


def record(key: RSAPrivateKey | Ed25519PrivateKey = RSA, more: str = "") -> bytes:
    """Give the TXT record that publishes a key."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        data, kind = public.public_bytes(*form), "rsa"
    else:
        raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        data, kind = public.public_bytes(*raw), "ed25519"
    return f"v=DKIM1; k={kind}; {more}p={base64.b64encode(data).decode()}".encode()


@dataclass
class Signer:
    """Signs; each field may be bent to what a test needs."""

    key: RSAPrivateKey | Ed25519PrivateKey = RSA
    headers: tuple[str, ...] = SIGNED_HEADERS
    canon: str = "relaxed/relaxed"
    algorithm: str = ""
    domain: str = DOMAIN
    selector: str = SELECTOR
    length: int | None = None
    sha1: bool = False
    more: dict[str, str] = field(default_factory=dict)

    def sign(self, raw: bytes) -> bytes:
        """Put a signature on top of a mail."""
        header_canon, body_canon = self.canon.split("/")
        body = canonical_body(raw, body_canon)
        digest = hashlib.sha1 if self.sha1 else hashlib.sha256
        tags = {
            "v": "1",
            "a": self.algorithm or f"{_kind(self.key)}-{'sha1' if self.sha1 else 'sha256'}",
            "c": self.canon,
            "d": self.domain,
            "s": self.selector,
            "h": ":".join(self.headers),
            "bh": base64.b64encode(digest(body[: self.length]).digest()).decode(),
        }
        if self.length is not None:
            tags["l"] = str(self.length)
        tags |= self.more
        own = "DKIM-Signature: " + "".join(f"{k}={v};\r\n " for k, v in tags.items() if v) + "b="
        data = canonical_headers(raw, self.headers, header_canon)
        data += _relaxed(own.encode()) if header_canon == "relaxed" else own.encode()
        value = base64.b64encode(self._signature(data)).decode()
        folded = "\r\n ".join(value[at : at + 60] for at in range(0, len(value), 60))
        return own.encode() + folded.encode() + b"\r\n" + raw

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), hashes.SHA1() if self.sha1 else hashes.SHA256())
        return self.key.sign(hashlib.sha256(data).digest())


def canonical_headers(raw: bytes, names: Sequence[str], canon: str) -> bytes:
    """Return the headers of h= as they are signed, the lowest of each name first."""
    lines = re.split(rb"\r\n(?![ \t])", raw.partition(b"\r\n\r\n")[0])
    left = [(line.split(b":")[0].strip().lower().decode("latin-1"), line) for line in lines]
    chosen = []
    for name in names:
        for at in range(len(left) - 1, -1, -1):
            if left[at][0] == name:
                chosen.append(left.pop(at)[1])
                break
    return b"".join((_relaxed(each) if canon == "relaxed" else each) + b"\r\n" for each in chosen)


def canonical_body(raw: bytes, canon: str) -> bytes:
    """Return the body as it is signed."""
    body = raw.partition(b"\r\n\r\n")[2]
    body = _relaxed_body(body) if canon == "relaxed" else body
    body = re.sub(rb"(\r\n)*\Z", b"", body) + b"\r\n"
    return b"" if body == b"\r\n" and canon == "relaxed" else body


def by_dkimpy(raw: bytes, canon: str) -> bytes:
    """Sign with Debian's dkimsign (dkimpy)."""
    header_canon, body_canon = canon.split("/")
    options = ["--hcanon", header_canon, "--bcanon", body_canon]
    with _pem(RSA) as key:
        return _run([need("dkimsign"), *options, SELECTOR, DOMAIN, key], raw)


def by_opendkim(raw: bytes) -> bytes:
    """Sign with Debian's opendkim-testmsg, which knows SHA-1 only."""
    program = need("opendkim-testmsg")
    with _pem(RSA) as key:
        options = ["-C", "-d", DOMAIN, "-s", SELECTOR, "-k", key, "-t", Path(key).parent]
        return _run([program, *options], raw)


def by_mail_dkim(raw: bytes, canon: str) -> bytes:
    """Sign with Perl's Mail::DKIM, which lets us name the headers."""
    need("dkimproxy-sign")  # its package has the module
    script = """
        use Mail::DKIM::Signer; binmode STDIN; binmode STDOUT;
        my $raw = do { local $/; <STDIN> };
        my ($key, $domain, $selector, $canon, $headers) = @ARGV;
        my $dkim = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => $canon,
            Domain => $domain, Selector => $selector, KeyFile => $key, Headers => $headers);
        $dkim->PRINT($raw); $dkim->CLOSE; my $s = $dkim->signature->as_string;
        $s =~ s/\\r?\\n/\\r\\n/g; print "$s\\r\\n$raw";
    """
    with _pem(RSA) as key:
        headers = ":".join(SIGNED_HEADERS)
        return _run(["perl", "-e", script, key, DOMAIN, SELECTOR, canon, headers], raw)


def _run(command: list[str | Path], raw: bytes) -> bytes:
    ran = subprocess.run(command, input=raw, capture_output=True, check=True, timeout=PATIENCE)
    return ran.stdout


class _pem(tempfile.TemporaryDirectory[str]):  # noqa: N801 - used as a function
    """A private key in a file, for as long as it is needed."""

    def __init__(self, key: RSAPrivateKey) -> None:
        super().__init__()
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL)
        path = Path(self.name) / "key.pem"
        path.write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
        path.chmod(0o600)

    def __enter__(self) -> str:
        return str(Path(super().__enter__()) / "key.pem")


def _kind(key: RSAPrivateKey | Ed25519PrivateKey) -> str:
    return "rsa" if isinstance(key, RSAPrivateKey) else "ed25519"


def _relaxed(line: bytes) -> bytes:
    name, value = line.split(b":", 1)
    value = re.sub(rb"[ \t]+", b" ", re.sub(rb"\r\n(?=[ \t])", b"", value))
    return name.lower().rstrip() + b":" + value.strip()


def _relaxed_body(body: bytes) -> bytes:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    return b"\r\n".join(lines)
