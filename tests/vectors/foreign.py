"""Reads the signed mails and Authentication-Results headers that other projects test with.

They are read where their checkouts are, in the folder that SMSBRIDGE_VECTORS names, one folder a
project as `git clone` names it; nothing of them is copied. `python -m benchmarks.vectors` prints
our verdicts on all of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.vectors.verdicts import Vector

VARIABLE: Final = "SMSBRIDGE_VECTORS"

# Rspamd's own bound on the number of signatures; the one behind it is valid.
_OWN_LIMITS: Final = ("DKIM Unparseable Signatures Count Towards Limit",)

_STRING: Final = r'"(?:[^"\\\n]|\\.)*"'
_GO: Final = re.compile(rf"(?:{_STRING}|`[^`]*`)(?:\s*\+\s*(?:{_STRING}|`[^`]*`))*")
_GO_PIECE: Final = re.compile(rf"{_STRING}|`[^`]*`")
_DEFINE: Final = re.compile(r"^#\s*define\s+(\w+)\s+(.*)$", re.MULTILINE)
_C_PIECE: Final = re.compile(rf"{_STRING}|\w+")


@dataclass(frozen=True, slots=True)
class Header:
    """An Authentication-Results header, and what its authors read from it."""

    name: str
    value: bytes
    authserv_id: str
    results: tuple[tuple[str, str], ...]  # method, result


def folder() -> Path | None:
    """Return the folder with the checkouts, if it is named."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def mail_dkim(project: Path) -> Iterator[Vector]:
    """Read Mail::DKIM's corpus: the verdicts stand in its test, the keys in a file."""
    zone: dict[str, list[bytes]] = {}
    for line in (project / "t" / "FAKE_DNS.dat").read_text("latin-1").splitlines():
        name, _, record = line.partition(" ")
        if record and not line.startswith("#"):
            faults = {"NXDOMAIN": [], "~~SERVFAIL~~": [b"SERVFAIL"]}
            record = record.strip()
            zone[name.lower()] = faults.get(record, [record.strip('"').encode()])
    test = (project / "t" / "verifier.t").read_text()
    for name, result in re.findall(r'test_email\(\s*"(\S+)",\s*"(\w+)"', test):
        path = project / "t" / "corpus" / name
        if path.exists():
            yield Vector(name, _crlf(path.read_bytes()), zone, result == "pass")


def authentication_milter(project: Path) -> Iterator[Vector]:
    """Read the mails that the milter has stamped; its own header on top has the verdict."""
    zone: dict[str, list[bytes]] = {}
    for line in (project / "t" / "zonefile").read_text("latin-1").splitlines():
        found = re.match(r"(\S+_domainkey\S+?)\.?\s.*\bTXT\s+(.*)", line)
        if found:
            quoted = re.findall(r'"([^"]*)"', found[2])
            record = "".join(quoted) if quoted else found[2].strip()
            zone[found[1].lower()] = [record.replace("\\;", ";").encode()]
    for path in sorted((project / "t" / "data" / "example").glob("*.eml")):
        raw = _crlf(path.read_bytes())
        stamp = re.match(rb"Authentication-Results:[^\r]*(?:\r\n[ \t][^\r]*)*", raw)
        if stamp and b"\r\nDKIM-Signature:" in raw and (said := _said(stamp[0])):
            yield Vector(path.name, raw, zone, "pass" in said)


def go_msgauth(project: Path) -> Iterator[Vector]:
    """Read go-msgauth's mails, which are constants in its tests."""
    queries = (project / "dkim" / "query_test.go").read_text()
    keys = {
        name: _go(text).encode()
        for name, text in re.findall(rf"const (\w+) = ({_GO.pattern})", queries)
    }
    zone: dict[str, list[bytes]] = {}
    for names, key in re.findall(r"case ([^:]+):\s*return parsePublicKey\((\w+)\)", queries):
        zone |= {name.lower(): [keys[key]] for name in re.findall(r'"([^"]+)"', names)}
    for path in sorted((project / "dkim").glob("*_test.go")):
        for name, text in re.findall(rf"const (\w+) = ({_GO.pattern})", path.read_text()):
            raw = _crlf(_go(text).encode())
            if raw.startswith(b"DKIM-Signature:") and b"\r\n\r\n" in raw:
                yield Vector(name, raw, zone, name.startswith(("verified", "signed", "tooMany")))


def mailauth(project: Path) -> Iterator[Vector]:
    """Read mailauth's signed mail; the others need keys that it asks the real DNS for."""
    fixtures = project / "test" / "dkim" / "ec" / "fixtures"
    records = json.loads((fixtures / "dns.json").read_text())
    zone = {
        name: ["".join(strings).encode() for strings in found.get("TXT", ())]
        for name, found in records.items()
    }
    yield Vector("signed.eml", _crlf((fixtures / "signed.eml").read_bytes()), zone, valid=True)


def mox(project: Path) -> Iterator[Vector]:
    """Read the mails of RFC 6376 and RFC 8463 in mox's tests."""
    tests = (project / "dkim" / "dkim_test.go").read_text()
    for name, body in re.findall(
        r"^func (TestVerify\w+)\(.*?\{\n(.*?)^\}", tests, re.DOTALL | re.MULTILINE
    ):
        texts = [_go(text) for text in _GO.findall(body)]
        pairs = re.findall(rf'"([^"]+_domainkey[^"]+)\.":\s*\{{({_STRING})', body)
        zone = {key.lower(): [_go(text).encode()] for key, text in pairs}
        for text in texts:
            raw = _crlf(text.lstrip("\n").encode())
            if b"DKIM-Signature:" in raw.partition(b"\r\n\r\n")[0] and zone:
                yield Vector(name, raw, zone, valid=True)


def mail_auth(project: Path) -> Iterator[Vector]:
    """Read Stalwart's mails, each behind its keys; its test wants a pass of each."""
    for path in sorted((project / "resources" / "dkim").glob("*.txt")):
        keys, _, raw = path.read_bytes().partition(b"\n\n")
        pairs = (line.partition(b" ") for line in keys.splitlines())
        zone = {name.decode().lower(): [record] for name, _, record in pairs}
        yield Vector(path.name, _crlf(raw), zone, valid=True)


def rspamd(project: Path) -> Iterator[Vector]:
    """Read the mails that rspamd's functional tests scan, with its made-up DNS."""
    tests = project / "test" / "functional"
    config = (tests / "configs" / "plugins.conf").read_text()
    zone: dict[str, list[bytes]] = {}
    for name, rest in re.findall(r'name = "([^"]+_domainkey[^"]+)"[;,]([^}]*)\}', config):
        replies = re.findall(_STRING, "".join(re.findall(r"replies = \[(.*?)\]", rest)))
        zone[name.lower()] = [reply.strip('"').encode() for reply in replies]
        if "servfail" in rest:
            zone[name.lower()] = [b"SERVFAIL"]
    cases = (tests / "cases" / "116_dkim.robot").read_text()
    for name, body in re.findall(r"^(\w.*)\n((?:  .*\n)+)", cases, re.MULTILINE):
        path = re.search(r"/(messages/\S+\.eml)", body)
        if path and "Scan File" in body and name not in _OWN_LIMITS:
            valid = re.search(r"^  Expect Symbol  R_DKIM_ALLOW", body, re.MULTILINE) is not None
            yield Vector(name, _crlf((tests / path[1]).read_bytes()), zone, valid)


def opendkim(project: Path) -> Iterator[Vector]:
    """Read OpenDKIM's tests: a mail is what a program hands to the library, piece by piece."""
    tests = project / "libopendkim" / "tests"
    common = _defines((tests / "t-testdata.h").read_text("latin-1"), {"DKIM_DNSKEYNAME": ""})
    setup = re.findall(
        r"fprintf\(f, \"%s\.%s\.%s \", (\w+), DKIM_DNSKEYNAME, (\w+)\);\s*for \(p = (\w+);",
        (tests / "t-setup.c").read_text("latin-1"),
    )
    zone: dict[str, list[bytes]] = {}
    for selector, domain, key in setup:
        name = f"{common[selector]}._domainkey.{common[domain]}"
        zone[name] = [common[key].replace("\n", "").encode()]
    for path in sorted(tests.glob("t-test*.c")):
        program = re.sub(r"/\*.*?\*/", "", path.read_text("latin-1"), flags=re.DOTALL)
        if program.count("dkim_verify(") != 1 or "dkim_chunk(" in program:
            continue
        raw = _handed_over(program, _defines(program, common))
        status = re.search(
            r"dkim_eom\([^)]*\);\s*(?:#\S.*\s*)*assert\(status == DKIM_STAT_(\w+)", program
        )
        if raw is not None and status is not None:
            yield Vector(path.name, raw, zone, status[1] == "OK")


def go_msgauth_headers(project: Path) -> Iterator[Header]:
    """Read go-msgauth's Authentication-Results."""
    for name in ("msgauth_test.go", "parse_test.go"):
        text = (project / "authres" / name).read_text()
        for block in re.split(r"\n\t\{\n", text)[1:]:
            value = re.search(rf"value:\s*({_GO.pattern})", block)
            named = re.search(r'identifier:\s*"(.*)"', block)
            if value and named and _go(value[1]):
                results = re.findall(r"&(\w+)Result\{Value: Result(\w+)", block)
                yield Header(
                    f"{name} {named[1]}",
                    _go(value[1]).replace("\r\n", "").encode(),
                    named[1],
                    tuple((_method(kind), result.lower()) for kind, result in results),
                )


def mox_headers(project: Path) -> Iterator[Header]:
    """Read mox's Authentication-Results."""
    tests = (project / "message" / "authresults_test.go").read_text()
    tests = tests.partition("func TestAuthResultsParse")[2]
    for found in re.finditer(r"tcompare\(t, ar, (.*?)^\t\}\)", tests, re.DOTALL | re.MULTILINE):
        texts = [_go(each) for each in _GO.findall(tests[: found.start()])]
        value = next(each for each in reversed(texts) if ";" in each and "=" in each)
        (host,) = re.findall(r'Hostname:\s*"(.*)"', found[1])
        methods = re.findall(r'Method:\s*"(.*)"', found[1])
        results = re.findall(r'Result:\s*"(.*)"', found[1])
        yield Header(
            f"mox {host}",
            re.sub(r"\r?\n", "", value).encode(),
            host,
            tuple(zip(methods, results, strict=True)),
        )


# The folder's name, how to read it, and the fewest vectors that make sense.
MAILS: Final[Mapping[str, tuple[Callable[[Path], Iterator[Vector]], int]]] = MappingProxyType({
    "authentication_milter": (authentication_milter, 15),
    "go-msgauth": (go_msgauth, 4),
    "mail-auth": (mail_auth, 6),
    "mail-dkim": (mail_dkim, 60),
    "mailauth": (mailauth, 1),
    "mox": (mox, 2),
    "OpenDKIM": (opendkim, 60),
    "rspamd": (rspamd, 12),
})  # fmt: skip
HEADERS: Final[Mapping[str, tuple[Callable[[Path], Iterator[Header]], int]]] = MappingProxyType({
    "go-msgauth": (go_msgauth_headers, 8),
    "mox": (mox_headers, 3),
})  # fmt: skip


def _crlf(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _said(stamp: bytes) -> list[str]:
    return re.findall(r"[;\s]dkim=(\w+)", stamp.decode("latin-1"))


def _go(text: str) -> str:
    """Evaluate strings that are joined by plus signs."""
    return "".join(
        piece[1:-1] if piece[0] == "`" else _unescaped(piece) for piece in _GO_PIECE.findall(text)
    )


def _unescaped(quoted: str) -> str:
    plain = quoted[1:-1]
    return plain.encode("latin-1", "backslashreplace").decode("unicode_escape")


def _method(kind: str) -> str:
    return {"SenderID": "sender-id"}.get(kind, kind.lower())


def _defines(program: str, common: Mapping[str, str]) -> dict[str, str]:
    """Evaluate a C program's string macros."""
    found = dict(common)
    for name, text in _DEFINE.findall(re.sub(r"\\\n", " ", program)):
        pieces = _C_PIECE.findall(text)
        found[name] = "".join(
            _unescaped(piece) if piece[0] == '"' else found.get(piece, "") for piece in pieces
        )
    return found


def _handed_over(program: str, known: Mapping[str, str]) -> bytes | None:
    """Follow the calls that hand over headers and body; None if one is too clever for that."""
    head, body, signature = "", "", ""
    calls = r'snprintf\(hdr, sizeof hdr, "%s: %s", DKIM_SIGNHEADER,\s*(\w+)\)'
    calls += r"|dkim_(header|body)\((\w+), (\w+), (strlen\(\4\)|[^;]*)\)"
    for macro, part, handle, name, length in re.findall(calls, program):
        if macro:
            signature = f"DKIM-Signature: {known.get(macro, '')}"
            continue
        text = signature if name == "hdr" else known.get(name)
        if not text or handle != "dkim" or length != f"strlen({name})":
            return None
        if part == "header":
            head += f"{text}\r\n"
        else:
            body += text
    return f"{head}\r\n{body}".encode("latin-1") if "DKIM-Signature" in head else None
