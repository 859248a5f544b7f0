"""`smsbridge send-test`: a test mail through the daemon, or a ping to one endpoint."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import click

from bridge.cli.named_endpoint import endpoint_named
from bridge.cli.opened import run
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.address import Address, parse_listen
from bridge.config.load import ConfigFile
from bridge.config.settings import ProviderSettings
from bridge.config.values import nearest
from bridge.errors import NotFound, NotPossible
from bridge.net import loop
from bridge.net.tls import client_context
from bridge.operations import send_test as operations
from bridge.operations.documents import Document
from bridge.operations.samples import SampleSms, sample_mail
from bridge.store import Store

# Numbers for fiction: nobody has them.
_FROM: Final = "+14155550123"
_TO: Final = "+14155550199"


@click.command("send-test")
@click.option("--provider", help="Whose format the mail has; default: the config's first.")
@click.option("--mail", "path", type=click.Path(path_type=Path), help="Send this mail instead.")
@click.option("--from", "sender", default=_FROM, show_default=True, help="The SMS's sender.")
@click.option("--to", help="The number it was sent to; default: an endpoint's, or a test number.")
@click.option("--text", help="The SMS's text; default: one that is new each time.")
@click.option("--server", metavar="ADDRESS", help="The daemon's SMTP; default: [smtp] listen.")
@click.option(
    "--wait", type=click.FloatRange(0), default=30.0, show_default=True,
    help="For how many seconds deliveries are followed.",
)  # fmt: skip
@click.option("--endpoint", help="Only send a signed ping to this endpoint, without the daemon.")
@with_config
@with_json
def send_test(endpoint: str | None, config: Path | None, as_json: bool, **options: Any) -> int:
    """Send a test mail through the running daemon, and follow it to its end.

    The mail has the provider's format and takes the daemon's own way in, so it needs evidence like
    any other; its message is delivered to every endpoint that wants it. With --endpoint, only a
    signed ping (type "smsbridge.ping") is sent, and nothing is stored. Exits 0 if everything was
    delivered, else 1. JSON: {"ok", "arrival": {…}, "deliveries": [{…, "last_attempt"}]}; with
    --endpoint {"ok", "endpoint", "webhook_id", "status", "error", "detail", "seconds", "answer"}.
    """
    if endpoint is not None:
        document = _ping(require_config(config), endpoint)
    else:
        document = run(config, lambda store, file: _send(store, file, quiet=as_json, **options))
    if as_json:
        as_document(document)
    elif endpoint is not None:
        as_fields((name, value) for name, value in document.items() if name != "ok")
    else:
        _print(document)
    return DONE if document["ok"] else FOUND_WRONG


def _ping(file: ConfigFile, name: str) -> Document:
    token = secrets.token_hex(10)
    return loop.run(operations.ping(endpoint_named(file, name), client_context(), token, now))


async def _send(
    store: Store,
    file: ConfigFile,
    *,
    quiet: bool,
    provider: str | None,
    path: Path | None,
    sender: str,
    to: str | None,
    text: str | None,
    server: str | None,
    wait: float,
) -> Document:
    settings = file.settings
    chosen = _provider(settings.providers, provider)
    token = secrets.token_hex(6)
    recipient = operations.recipient_for(chosen, settings.smtp)
    mail: EmailMessage | bytes
    if path is not None:
        mail = operations.read_mail(path)
        envelope_from = ""
    else:
        to = to or next((number for each in settings.endpoints for number in each.to), _TO)
        sms = SampleSms(sender, to, text or f"smsbridge test {token}", now(), token)
        mail = sample_mail(chosen, sms)
        mail["To"] = recipient
        envelope_from = str(mail["From"])
    where = _server(server) if server else operations.smtp_address(settings.smtp)
    smtp_id = await operations.send_mail(where, envelope_from, recipient, mail)
    if not quiet:
        click.echo(f"250, stored as {smtp_id}", err=True)
    return await operations.follow(
        store, smtp_id, wait, (lambda _: None) if quiet else _show_change
    )


def _provider(known: tuple[ProviderSettings, ...], wanted: str | None) -> ProviderSettings:
    if not known:
        raise NotPossible("the config has no [[providers]]: a test mail would go to quarantine")
    if wanted is None:
        return known[0]
    names = [each.name for each in known]
    if wanted not in names:
        near = nearest(wanted, names)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(names)}"
        raise NotFound(f"no provider {wanted!r}, {hint}")
    return known[names.index(wanted)]


def _server(text: str) -> Address:
    try:
        address = parse_listen(text)
    except ValueError as error:
        raise click.UsageError(f"--server {error}") from None
    if not isinstance(address, Address) or not address.host:
        raise click.UsageError(f"--server {text}: write it as 127.0.0.1:2525")
    return address


def _show_change(delivery: Mapping[str, Any]) -> None:
    attempt = f", attempt {delivery['attempts']}" if delivery["attempts"] else ""
    click.echo(f"{delivery['endpoint']}: {delivery['state']}{attempt}", err=True)


def _print(document: Mapping[str, Any]) -> None:
    arrival = document["arrival"]
    as_fields(
        [
            ("outcome", arrival["outcome"]),
            ("reason", arrival["reason"]),
            ("detail", arrival["detail"]),
            ("message", arrival["message_id"]),
        ]
    )
    for each in document["deliveries"]:
        last = each["last_attempt"] or {}
        why = last.get("detail") or (f"answered {last['status']}" if last.get("status") else "")
        click.echo(f"{each['endpoint']}: " + ", ".join(filter(None, (each["state"], why))))
    if arrival["reason"] == "untrusted":
        click.echo(
            "note: a test mail cannot show this evidence; --endpoint tests the webhook alone",
            err=True,
        )
    elif arrival["message_id"] and not document["deliveries"]:
        click.echo("note: there are no [[endpoints]]: nobody gets this message", err=True)
