"""Why an arrival is believed: any one kind of evidence that the policy asks for is enough.

A new kind is one file that declares a `Kind`, and one line in KINDS; its key in
`[providers.trust]` is typed in `bridge.config.settings.TrustSettings`. What a mail says about
itself, above all its From, is never evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.errors import TrustUnavailable
from bridge.model import Arrival, Email, Reason, SourceKind, Trust, Unreadable
from bridge.trust import anyone, authserv_id, dkim, networks, recipients
from bridge.trust.base import Absent, Kind, Later, Names, related
from bridge.trust.covered import only_covered, uncovered
from bridge.trust.shared import MAILBOXES, SENDERS, is_within

__all__ = [
    "KINDS", "Kind", "Kinds", "Names", "close", "configured", "describe", "names_for",
    "only_covered", "uncovered", "warnings", "weigh",
]  # fmt: skip

Kinds = Mapping[str, Kind[Any]]

# In this order; the first that is found is the one that the webhook names.
KINDS: Final[Kinds] = MappingProxyType({
    kind.name: kind
    for kind in (
        networks.KIND,
        recipients.KIND,
        authserv_id.KIND,
        dkim.KIND,
        anyone.KIND,
    )
})  # fmt: skip


def configured(policy: TrustSettings, kinds: Kinds = KINDS) -> Iterator[tuple[Kind[Any], Any]]:
    """Yield each kind that a policy asks for, with its value in the policy."""
    for name, kind in kinds.items():
        if value := getattr(policy, name):
            yield kind, value


async def weigh(
    arrival: Arrival,
    email: Email,
    policy: TrustSettings,
    names: Names | None = None,
    kinds: Kinds = KINDS,
) -> Trust | Unreadable:
    """Check each kind of evidence that the policy asks for until one is found.

    Raises TrustUnavailable if none is found and one of them can only be checked later.
    """
    absent: list[str] = []
    later: list[str] = []
    for kind, value in configured(policy, kinds):
        if kind.about_sender and email.names_nobody:
            absent.append(f"{kind.name}: the mail's From names no address that it could speak for")
            continue
        match await kind.weigh(arrival, email, value, names):
            case Trust() as trust:
                return trust
            case Absent(detail):
                absent.append(f"{kind.name}: {detail}")
            case Later(detail):
                later.append(f"{kind.name}: {detail}")
    if later:
        raise TrustUnavailable("; ".join(later))
    return Unreadable(
        Reason.UNTRUSTED, "; ".join(absent) or "the config asks for no kind of evidence"
    )


def names_for(
    policies: Iterable[TrustSettings], patience: float, kinds: Kinds = KINDS
) -> Names | None:
    """Return a DNS client if any of the policies needs one; `patience` as in DnsNames.

    Also imports what their kinds need, at start-up rather than with the first mail.
    """
    used = {kind.name: kind for policy in policies for kind, _ in configured(policy, kinds)}
    for kind in used.values():
        kind.preload()
    if not any(kind.needs_dns for kind in used.values()):
        return None
    from bridge.trust.resolver import DnsNames  # dnspython takes memory

    return DnsNames(patience)


def close(kinds: Kinds = KINDS) -> None:
    """End what checking evidence started, such as threads."""
    for kind in kinds.values():
        kind.close()


def describe(policy: TrustSettings, kinds: Kinds = KINDS) -> list[str]:
    """List what makes a provider's mail believed, in the config's order and without any secret."""
    used = {kind.name: (kind, value) for kind, value in configured(policy, kinds)}
    ordered = [used[name] for name in type(policy).model_fields if name in used]
    return [phrase for kind, value in ordered for phrase in kind.describe(value)]


def warnings(
    provider: ProviderSettings, *, has_mailbox: bool, kinds: Kinds = KINDS
) -> Iterator[str]:
    """List what is probably a mistake in a provider's evidence.

    `has_mailbox`: the config reads at least one mailbox.
    """
    used = list(configured(provider.trust, kinds))
    if not used:
        return  # its mails are not read
    for kind, value in used:
        yield from kind.warnings(value)
    available = {source for kind, value in used for source in kind.sources(value)}
    names = " and ".join(kind.name for kind, _ in used)
    if has_mailbox and SourceKind.IMAP not in available:
        yield (
            f"SMTP-only evidence ({names}) isn't available for mailboxes: mail read from one goes "
            "to quarantine"
        )
    if not has_mailbox and SourceKind.SMTP not in available:
        yield (
            f"mailbox-only evidence ({names}) isn't available for SMTP, and there is no [[imap]]: "
            "add one, or evidence that SMTP has too, such as networks"
        )
    for domain in sorted({domain for kind, value in used for domain in kind.domains(value)}):
        yield from _about_domain(domain, provider.senders or ())


def _about_domain(domain: str, senders: Sequence[str]) -> Iterator[str]:
    """Warn where a domain vouches for more people than the provider's own."""
    own = {sender.rpartition("@")[2] for sender in senders}
    if is_within(domain, SENDERS):
        yield (
            f"{domain} signs and sends for all of its customers, each of which can make messages "
            "up: name the provider's own domain"
        )
    elif own and not any(related(domain, each) for each in own):
        yield (
            f"whoever sends through {domain} can make messages up, since none of its senders is of "
            "that domain: name the provider's own"
        )
    elif is_within(domain, MAILBOXES) and not (own and all(map(_is_full, senders))):
        yield (
            f"whoever has a mailbox at {domain} can make messages up: set senders to the "
            "provider's full addresses there"
        )


def _is_full(sender: str) -> bool:
    return not sender.startswith("@")
