"""Evidence: the provider's domain signed the mail (DKIM), verified by us over the raw bytes.

It survives any number of servers that leave the mail as it is. What a stranger can make us do
comes last: whose signature and what it covers is read first, then the key is asked for (it is known
nearly always) and the headers are verified, and only what was truly signed is hashed whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hmac import compare_digest
from typing import Final

from bridge import mail
from bridge.config.settings import TrustSettings
from bridge.mail import HeaderField, HeaderFields
from bridge.model import Arrival, Email, Trust
from bridge.trust import signature
from bridge.trust.base import Absent, Later, Names, UnansweredError
from bridge.trust.signature import MAX_SIGNATURES, Signature, UnusableError

DEADLINE: Final = 10.0  # seconds for all signatures of a mail together
_BIG: Final = 64 * 1024  # bytes of a content; an SMS's has a fraction
# Big contents are hashed one after the other. Side by side they would all miss the deadline, and
# hold the threads that small mails wait for.
_FOR_BIG: Final = ThreadPoolExecutor(1, "dkim-content")
_SKEW: Final = 300.0  # seconds that the signer's clock may be ahead of ours


async def weigh(
    arrival: Arrival, _email: Email, policy: TrustSettings, names: Names | None
) -> Trust | Absent | Later | None:
    """Look for one signature of a listed domain that is valid and covers all that is read."""
    if not policy.dkim:
        return None
    if names is None:
        return Absent("there is nobody to ask for keys")
    found = mail.header_fields(arrival.raw)
    if found.defect is not None:
        return Absent(found.defect)
    looked_at = _Mail(arrival, found, names)
    ours = [each for each in looked_at.signatures if signature.signer(each) in policy.dkim]
    if not ours:
        return Absent("the mail has no signature of a listed domain")
    try:
        async with asyncio.timeout(DEADLINE):
            return await looked_at.judge(ours[:MAX_SIGNATURES])
    except TimeoutError:  # this machine is too busy: look-ups end earlier by themselves
        return Later(f"verifying took longer than {DEADLINE:.0f} s")


class _Mail:
    """One mail, its headers and content as they were signed."""

    def __init__(self, arrival: Arrival, found: HeaderFields, names: Names) -> None:
        fields, body = found.fields, arrival.raw[found.content :]
        if not any(b"\r\n" in field.raw for field in fields):
            # A file whose line ends are all LF. On the wire they were CRLF.
            fields = [HeaderField(each.name, _crlf(each.raw), each.value) for each in fields]
            body = _crlf(body)
        self.signatures = signature.signatures(fields)
        self._fields = fields
        self._body = body
        self._received_at = arrival.received_at
        self._names = names
        self._digests: dict[str, bytes] = {}  # by canonicalization

    async def judge(self, ours: Sequence[HeaderField]) -> Trust | Absent | Later:
        """Give the first signature that proves enough, else why the first of them does not."""
        from bridge.trust import verify

        absent: Absent | None = None
        later: Later | None = None
        asked: list[tuple[Signature, frozenset[str]]] = []
        for field in ours:
            try:
                asked.append(self._read(field))
            except UnusableError as error:
                absent = absent or Absent(f"the signature of {signature.signer(field)}: {error}")
        # At once: in a row, several names without an answer take longer than the deadline, and
        # then the mail is put off each time anew, for ever.
        answers = await asyncio.gather(
            *(self._names.txt(f"{read.selector}._domainkey.{read.domain}") for read, _ in asked),
            return_exceptions=True,
        )
        for (read, covers), records in zip(asked, answers, strict=True):
            if isinstance(records, UnansweredError):
                said = f"the DNS did not answer when it was asked for the key of {read.domain}"
                if records.lasting:
                    absent = Absent(f"{said}: reparse this mail when it does")
                else:
                    later = Later(said)
                continue
            if isinstance(records, BaseException):
                raise records
            try:
                await asyncio.to_thread(verify.check, read, records, self._fields)
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
        # The time when the mail came: a reparse judges as we would have at once.
        _check_times(read, self._received_at)
        return read, covers

    async def _check_content(self, read: Signature) -> None:
        from bridge.trust import verify

        canon = read.body_canon
        if canon not in self._digests:
            loop, pool = asyncio.get_running_loop(), _FOR_BIG if len(self._body) > _BIG else None
            digest = loop.run_in_executor(pool, verify.body_digest, self._body, canon)
            self._digests[canon] = await digest
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
