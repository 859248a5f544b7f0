"""Evidence: the operator's own mail server verified the mail's signature or sender (RFC 8601).

The server adds an Authentication-Results header. Whoever sends a mail can add one too, with the
same authserv-id; only the position differs: the server's own is above everything that came from
outside. So only the topmost headers of that id count, as many as the server adds, and only below
as few Received headers as the operator's own servers add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bridge import letters, mail
from bridge.config.authserv import AuthservSettings
from bridge.mail import HeaderField
from bridge.model import Arrival, Email, SourceKind, Trust
from bridge.trust import results, signature
from bridge.trust.base import Absent, Kind, Names
from bridge.trust.networks import addresses_of
from bridge.trust.results import MalformedError, Result
from bridge.trust.signature import READ_ALWAYS, Signature, UnusableError

_CHECKS: Final = ("dkim", "spf", "dmarc")
_FAILED: Final = frozenset({"fail", "hardfail", "policy"})


async def _weigh(
    arrival: Arrival, email: Email, wanted: AuthservSettings, _names: Names | None
) -> Trust | Absent:
    """Look for a pass of a listed domain in the server's results."""
    if arrival.source is SourceKind.FILE:
        return Absent(
            "the mail is from a file: whoever made it can have written such a header (--trusted "
            "says that it was your server)"
        )
    # A mail in a mailbox was put there by the server.
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
        fields = fields[1:]  # our own listener added it
    reported = _server_results(fields, wanted)
    return reported if isinstance(reported, Absent) else _judge(reported, fields, email, wanted)


def _judge(
    found: Sequence[Result], fields: Sequence[HeaderField], email: Email, wanted: AuthservSettings
) -> Trust | Absent:
    for each in found:
        if each.method in _CHECKS and each.result in _FAILED:
            return Absent(f"the server says {each.method}={each.result}")
    absent = Absent("the server reports a pass for no listed domain")
    for verdict in _verdicts(found, fields, email, wanted):
        if isinstance(verdict, Trust):
            return verdict
        absent = verdict
    return absent


def _not_from_server(peer: str | None, wanted: AuthservSettings) -> Absent | None:
    try:
        addresses = addresses_of(peer or "")
    except ValueError:
        addresses = ()
    if any(address in network for network in wanted.networks for address in addresses):
        return None
    return Absent(
        "the mail came by SMTP, and not from one of authserv_id's networks: whoever connects "
        "can write such a header"
    )


def _server_results(
    fields: Sequence[HeaderField], wanted: AuthservSettings
) -> list[Result] | Absent:
    """Collect the results in the topmost headers, which only the server can have added."""
    name = _server(wanted)
    found: list[Result] = []
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
                found += results.read(field.value).results
            except MalformedError as error:
                return Absent(f"the header of {name} {error}")
            read += 1
            if read == wanted.headers:
                break
    if not read:
        return Absent(f"no Authentication-Results header is of {name}")
    return found


def _verdicts(
    found: Sequence[Result],
    fields: Sequence[HeaderField],
    email: Email,
    wanted: AuthservSettings,
) -> Iterator[Trust | Absent]:
    """Judge each listed domain for which the server reports a pass."""
    by = wanted.id[0]
    for domain in wanted.dkim:
        if all_passed := _passed(found, "dkim", domain):
            yield _by_signature(f"{by}: dkim={domain}", domain, fields, _may_sign, need=True)
        elif all_passed is False:
            yield Absent(f"the server does not report a pass for every signature of {domain}")
    for domain in wanted.dmarc:
        if not _passed(found, "dmarc", domain):
            continue
        if (email.sender or "").rpartition("@")[2] != domain:
            yield Absent("the server says dmarc=pass of another domain than the From's")
        else:
            yield _by_signature(f"{by}: dmarc={domain}", domain, fields, _may_align, need=False)
    for domain in wanted.spf:
        if _passed(found, "spf", domain):
            yield Trust("authserv_id", f"{by}: spf={domain}")


def _passed(found: Sequence[Result], method: str, domain: str) -> bool | None:
    """Return whether all results for a domain are a pass; None if there are none."""
    about = [each.result for each in found if each.method == method and domain in _domains_of(each)]
    return all(result == "pass" for result in about) if about else None


def _domains_of(result: Result) -> set[str]:
    """Return the domain that a result is about; a result that names two is about none."""
    match result.method:
        case "dkim":
            named = result.values("header.d") or result.values("header.i")
        case "spf":
            named = result.values("smtp.mailfrom")
        case "dmarc":
            named = result.values("header.from")
        case _:
            named = ()
    domains = {letters.lower(value.rpartition("@")[2]).rstrip(".") for value in named}
    return domains if len(domains) == 1 else set()


def _may_sign(signer: str, domain: str) -> bool:
    """Return whether this signer can have passed for a domain: itself, or a subdomain by `i=`."""
    return signer == domain or domain.endswith(f".{signer}")


def _may_align(signer: str, domain: str) -> bool:
    """Return whether DMARC may have aligned this signer with the From: the same organisation.

    Two labels are sometimes too few (co.uk); then more signatures have to be good.
    """
    return signer.split(".")[-2:] == domain.split(".")[-2:]


def _by_signature(
    detail: str,
    domain: str,
    fields: Sequence[HeaderField],
    may_be_of: Callable[[str, str], bool],
    *,
    need: bool,
) -> Trust | Absent:
    """Check what a domain's signatures cover: the server only reports that they are valid."""
    present = signature.signatures(fields)
    if len(present) > signature.MAX_SIGNATURES:
        return Absent(f"the mail has more than {signature.MAX_SIGNATURES} DKIM signatures")
    covers: frozenset[str] | None = None
    for field in present:
        claimed = signature.signer(field)
        if claimed is None:
            return Absent("the mail has a DKIM signature that cannot be read")
        if not may_be_of(claimed, domain):
            continue
        try:
            read: Signature = signature.read(field)
            covered = signature.check_coverage(read, fields)
        except UnusableError as error:
            # The server doesn't say which of a domain's signatures passed, so all must be good.
            return Absent(f"the DKIM signature of {domain} proves too little: {error}")
        covers = covered if covers is None else covers & covered
    if covers is None and need:
        return Absent(f"the mail has no DKIM signature of {domain}, whatever the server says")
    return Trust("authserv_id", detail, covers)


def _server(wanted: AuthservSettings) -> str:
    return " or ".join(each or "a server without id" for each in wanted.id)


def _describe(wanted: AuthservSettings) -> Iterator[str]:
    for check in _CHECKS:
        if domains := getattr(wanted, check):
            yield f"{_server(wanted)} says {check}=pass of {', '.join(domains)}"


def _who(wanted: AuthservSettings) -> str:
    named = [
        *(f"whoever {domain} signs mail for" for domain in wanted.dkim),
        *(f"whoever may send with {domain} in the From" for domain in wanted.dmarc),
        *(f"whoever may send from the machines of {domain}" for domain in wanted.spf),
    ]
    return (
        f"{', '.join(named)}; whoever controls {_server(wanted)}; and any stranger, if that server "
        "neither removes such headers nor writes its own on top of every mail"
    )


def _guards(wanted: AuthservSettings) -> Iterator[str]:
    yield (
        f"only the topmost Authentication-Results of {_server(wanted)} count ({wanted.headers}), "
        f"and none below more than {wanted.received_above} Received headers"
    )
    yield "a fail of DKIM, SPF or DMARC beside a pass refuses the mail"
    if wanted.dkim:
        yield "the signature that passed must cover the text and every header that is read"
    if wanted.networks:
        yield f"by SMTP only from {', '.join(map(str, wanted.networks))}"


def _sources(wanted: AuthservSettings) -> frozenset[SourceKind]:
    by_smtp = {SourceKind.SMTP} if wanted.networks else set()
    return frozenset({SourceKind.IMAP, *by_smtp})


def _domains(wanted: AuthservSettings) -> Iterator[str]:
    yield from (*wanted.dkim, *wanted.spf, *wanted.dmarc)


KIND: Final[Kind[AuthservSettings]] = Kind(
    name="authserv_id",
    proves="your own mail server verified the mail and recorded that in it",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    domains=_domains,
    about_sender=True,
    sources=_sources,
)
