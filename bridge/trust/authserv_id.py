"""Evidence: the operator's own mail server says that the mail's signature or sender was verified.

The server writes it into an Authentication-Results header. Whoever sends a mail can write one
too, with the same id. What tells them apart is the place: the server's stands above everything
that came from outside. So the topmost headers of that id count, as many as the server writes,
and only under as few Received headers as its own side adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bridge import mail
from bridge.config.authserv import AuthservSettings
from bridge.config.settings import TrustSettings
from bridge.mail import HeaderField
from bridge.model import Arrival, Email, SourceKind, Trust
from bridge.trust import results, signature
from bridge.trust.base import Absent, Names
from bridge.trust.networks import readings
from bridge.trust.results import MalformedError, Result
from bridge.trust.signature import READ_ALWAYS, Signature, UnusableError

_CHECKS: Final = ("dkim", "spf", "dmarc")
_FAILED: Final = frozenset({"fail", "hardfail", "policy"})


async def weigh(
    arrival: Arrival, email: Email, policy: TrustSettings, _names: Names | None
) -> Trust | Absent | None:
    """Look for a pass of a listed domain in what the server wrote."""
    wanted = policy.authserv_id
    if wanted is None:
        return None
    if arrival.source is SourceKind.FILE:
        return Absent(
            "the mail is from a file: whoever made it can have written such a header (--trusted "
            "says that it was your server)"
        )
    # In a mailbox it was the server that put the mail there.
    if arrival.source is not SourceKind.IMAP and (
        refused := _not_from_server(arrival.peer, wanted)
    ):
        return refused
    found = mail.header_fields(arrival.raw)
    if found.defect is not None:
        return Absent(found.defect)
    for name in READ_ALWAYS:
        if len(email.headers.get(name, ())) > 1:
            return Absent(f"the mail has more than one {name.title()} header")
    fields = found.fields
    if arrival.source is SourceKind.SMTP and fields[0].name == "received":
        fields = fields[1:]  # the one that our own listener has put on top
    said = _said(fields, wanted)
    return said if isinstance(said, Absent) else _judge(said, fields, email, wanted)


def _judge(
    said: Sequence[Result], fields: Sequence[HeaderField], email: Email, wanted: AuthservSettings
) -> Trust | Absent:
    for each in said:
        if each.method in _CHECKS and each.result in _FAILED:
            return Absent(f"the server says {each.method}={each.result}")
    absent = Absent("the server says of no listed domain that it passed")
    for found in _looked_at(said, fields, email, wanted):
        if isinstance(found, Trust):
            return found
        absent = found
    return absent


def _not_from_server(peer: str | None, wanted: AuthservSettings) -> Absent | None:
    try:
        addresses = readings(peer or "")
    except ValueError:
        addresses = ()
    if any(address in network for network in wanted.networks for address in addresses):
        return None
    return Absent(
        "the mail came by SMTP, and not from one of authserv_id's networks: whoever connects "
        "can write such a header"
    )


def _said(fields: Sequence[HeaderField], wanted: AuthservSettings) -> list[Result] | Absent:
    """Collect the results of the topmost headers that the server can have written."""
    name = " or ".join(each or "a server without id" for each in wanted.id)
    said: list[Result] = []
    read = received = 0
    for field in fields:
        if field.name == "received":
            received += 1
        elif field.name == "authentication-results":
            if results.authserv_id(field.value) not in wanted.id:
                continue
            if received > wanted.received_above:
                if read:
                    break  # the rest is from outside
                return Absent(
                    f"the header of {name} stands below {received} Received headers, of which "
                    f"{wanted.received_above} may be its own side's (received_above)"
                )
            try:
                said += results.read(field.value).results
            except MalformedError as error:
                return Absent(f"the header of {name} {error}")
            read += 1
            if read == wanted.headers:
                break
    if not read:
        return Absent(f"no Authentication-Results header is of {name}")
    return said


def _looked_at(
    said: Sequence[Result],
    fields: Sequence[HeaderField],
    email: Email,
    wanted: AuthservSettings,
) -> Iterator[Trust | Absent]:
    """Judge each listed domain that the server names in a pass."""
    by = wanted.id[0]
    for domain in wanted.dkim:
        if all_passed := _passed(said, "dkim", domain):
            yield _by_signature(f"{by}: dkim={domain}", domain, fields, _may_sign, need=True)
        elif all_passed is False:
            yield Absent(f"the server does not say of all signatures of {domain} that they passed")
    for domain in wanted.dmarc:
        if not _passed(said, "dmarc", domain):
            continue
        if (email.sender or "").rpartition("@")[2] != domain:
            yield Absent("the server says dmarc=pass of another domain than the From's")
        else:
            yield _by_signature(f"{by}: dmarc={domain}", domain, fields, _may_align, need=False)
    for domain in wanted.spf:
        if _passed(said, "spf", domain):
            yield Trust("authserv_id", f"{by}: spf={domain}")


def _passed(said: Sequence[Result], method: str, domain: str) -> bool | None:
    """Tell whether all that is said of a domain is a pass; None if nothing is said of it."""
    about = [each.result for each in said if each.method == method and domain in _domains(each)]
    return all(result == "pass" for result in about) if about else None


def _domains(result: Result) -> set[str]:
    """Say of which domains a result is; two of them in one result are of none."""
    match result.method:
        case "dkim":
            named = result.values("header.d") or result.values("header.i")
        case "spf":
            named = result.values("smtp.mailfrom")
        case "dmarc":
            named = result.values("header.from")
        case _:
            named = ()
    domains = {value.rpartition("@")[2].lower().rstrip(".") for value in named}
    return domains if len(domains) == 1 else set()


def _may_sign(signer: str, domain: str) -> bool:
    """Tell whether a pass of this domain can be of that signer: its own, or by `i=` a parent's."""
    return signer == domain or domain.endswith(f".{signer}")


def _may_align(signer: str, domain: str) -> bool:
    """Tell whether DMARC may have taken that signer for this From: all of one organisation.

    Two labels are sometimes too few (co.uk): then more signatures have to be good.
    """
    return signer.split(".")[-2:] == domain.split(".")[-2:]


def _by_signature(
    detail: str,
    domain: str,
    fields: Sequence[HeaderField],
    concerns: Callable[[str, str], bool],
    *,
    need: bool,
) -> Trust | Absent:
    """Look at what the signatures of a domain cover: the server only says that they are valid."""
    present = signature.signatures(fields)
    if len(present) > signature.MAX_SIGNATURES:
        return Absent(f"the mail has more than {signature.MAX_SIGNATURES} DKIM signatures")
    covers: frozenset[str] | None = None
    for field in present:
        claimed = signature.signer(field)
        if claimed is None:
            return Absent("the mail has a DKIM signature that cannot be read")
        if not concerns(claimed, domain):
            continue
        try:
            read: Signature = signature.read(field)
            covered = signature.check_coverage(read, fields)
        except UnusableError as error:
            # Which of a domain's signatures passed, nobody knows: so all of them must be good.
            return Absent(f"the DKIM signature of {domain} proves too little: {error}")
        covers = covered if covers is None else covers & covered
    if covers is None and need:
        return Absent(f"the mail has no DKIM signature of {domain}, whatever the server says")
    return Trust("authserv_id", detail, covers)
