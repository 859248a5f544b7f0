"""Evidence: the provider's domain signed the mail (DKIM), verified by us over the raw bytes.

A signature survives any number of relays that don't change the mail. Work that a stranger can
cause comes last: first the signature's domain and coverage are read, then its key is looked up
(nearly always cached) and the headers are verified; only a body with a valid signature is hashed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from hmac import compare_digest
from typing import Final

from bridge import mail
from bridge.mail import HeaderField, HeaderFields
from bridge.model import Arrival, Email, Trust
from bridge.trust import signature
from bridge.trust.base import Absent, Kind, Later, Names, UnansweredError
from bridge.trust.signature import MAX_SIGNATURES, Signature, UnusableError
from bridge.trust.threads import EvidenceThreads

DEADLINE: Final = 10.0  # seconds for all signatures of a mail together
_LARGE: Final = 64 * 1024  # bytes of a body; an SMS has a fraction of that
_THREADS: Final = EvidenceThreads()
_SKEW: Final = 300.0  # seconds that the signer's clock may be ahead of ours


async def _weigh(
    arrival: Arrival, _email: Email, domains: Sequence[str], names: Names | None
) -> Trust | Absent | Later:
    """Look for one signature of a listed domain that is valid and covers all that is read."""
    if names is None:
        return Absent("there is no DNS client to look keys up with")
    found = mail.header_fields(arrival.raw)
    if found.defect is not None:
        return Absent(found.defect)
    looked_at = _Mail(arrival, found, names)
    ours = [each for each in looked_at.signatures if signature.signer(each) in domains]
    if not ours:
        return Absent("the mail has no signature of a listed domain")
    try:
        async with asyncio.timeout(DEADLINE):
            return await looked_at.judge(ours[:MAX_SIGNATURES])
    except TimeoutError:  # this machine is overloaded: look-ups time out earlier
        return Later(f"verifying took longer than {DEADLINE:.0f} s")


class _Mail:
    """The headers and body of one mail, with the line ends that were signed."""

    def __init__(self, arrival: Arrival, found: HeaderFields, names: Names) -> None:
        fields, self._line_end = found.fields, b"\r\n"
        if not any(b"\r\n" in field.raw for field in fields):
            # A file, or a program that sent bare LF; what was signed had CRLF.
            self._line_end = b"\n"
            fields = [HeaderField(each.name, _crlf(each.raw), each.value) for each in fields]
        self.signatures = signature.signatures(fields)
        self._fields = fields
        self._body = arrival.raw[found.content :]
        self._received_at = arrival.received_at
        self._names = names
        self._digests: dict[str, bytes] = {}  # by canonicalization

    async def judge(self, ours: Sequence[HeaderField]) -> Trust | Absent | Later:
        """Return the first signature that is good enough, else why the first one isn't."""
        from bridge.trust import verify

        absent: Absent | None = None
        later: Later | None = None
        asked: list[tuple[Signature, frozenset[str]]] = []
        for field in ours:
            try:
                asked.append(self._read(field))
            except UnusableError as error:
                absent = absent or Absent(f"the signature of {signature.signer(field)}: {error}")
        # In parallel: one after the other, several names that time out take longer than the
        # deadline, and the mail would be deferred forever.
        answers = await asyncio.gather(
            *(self._names.txt(f"{read.selector}._domainkey.{read.domain}") for read, _ in asked),
            return_exceptions=True,
        )
        for (read, covers), records in zip(asked, answers, strict=True):
            if isinstance(records, UnansweredError):
                problem = f"the DNS did not answer a query for the key of {read.domain}"
                if records.lasting:
                    absent = Absent(f"{problem}: reparse this mail when it does")
                else:
                    later = Later(problem)
                continue
            if isinstance(records, BaseException):
                raise records
            try:
                work = partial(verify.verify_signature, read, records, self._fields)
                await _THREADS.run(work, is_large=False)
                await self._check_content(read)
            except UnusableError as error:
                absent = absent or Absent(f"the signature of {read.domain}: {error}")
            else:
                return Trust("dkim", read.domain, covers)
        return later or absent or Absent("the mail has no signature of a listed domain")

    def _read(self, field: HeaderField) -> tuple[Signature, frozenset[str]]:
        """Read a signature and what it covers; raises UnusableError if it proves too little."""
        read = signature.read(field)
        covers = signature.check_coverage(read, self._fields)
        # As of the mail's arrival, so that a reparse gives the verdict of that time.
        _check_times(read, self._received_at)
        return read, covers

    async def _check_content(self, read: Signature) -> None:
        from bridge.trust import verify

        canon = read.body_canon
        if canon not in self._digests:
            work = partial(verify.body_digest, self._body, canon, self._line_end)
            self._digests[canon] = await _THREADS.run(work, is_large=len(self._body) > _LARGE)
        if not compare_digest(self._digests[canon], read.body_hash):
            raise UnusableError("it does not fit the text")


def _check_times(read: Signature, received_at: datetime) -> None:
    now = received_at.timestamp()
    if read.signed_at is not None and read.signed_at > now + _SKEW:
        raise UnusableError("it was made in the future (t=)")
    if read.expires_at is not None:
        if read.expires_at <= now:
            raise UnusableError("it had expired when the mail came (x=)")
        if read.signed_at is not None and read.expires_at <= read.signed_at:
            raise UnusableError("it ended before it began (x=)")


def _crlf(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _describe(domains: Sequence[str]) -> Iterator[str]:
    yield f"a signature of {', '.join(domains)}"


def _who(domains: Sequence[str]) -> str:
    return (
        f"whoever {' or '.join(domains)} signs mail for; and whoever forges the answers of the DNS "
        "server that this machine asks"
    )


def _guards(_domains: Sequence[str]) -> Iterator[str]:
    yield "smsbridge verifies the signature over the mail as received, with the key from the DNS"
    yield "the signature must cover the text and every header that is read"
    yield "a copy of a signed mail is the same message, which goes out once"


def _preload() -> None:
    from bridge.trust import verify  # noqa: F401 - cryptography takes memory


KIND: Final[Kind[Sequence[str]]] = Kind(
    name="dkim",
    proves="the provider's domain signed the mail; smsbridge verifies the signature",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    domains=iter,
    about_sender=True,
    needs_dns=True,
    preload=_preload,
    close=_THREADS.close,
)
