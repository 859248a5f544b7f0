"""`smsbridge secret`: generates a signing secret, and leads through its change."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import click

from bridge.cli.named_endpoint import endpoint_named
from bridge.cli.options import now, require_config, with_config, with_json
from bridge.cli.output import as_document, as_fields
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.config.endpoints import DEFAULT_SCHEME, NO_SCHEME
from bridge.net import loop
from bridge.net.tls import client_context
from bridge.operations import rotation
from bridge.operations.documents import Document
from bridge.signing import SCHEMES, Asymmetric

_SCHEMES: Final = [name for name in SCHEMES if name != NO_SCHEME]
_NEXT: Final = {
    rotation.BEGIN: (
        "1. Store this secret where the config can name it.\n"
        "2. Replace the endpoint's `secret = OLD` with `secrets = [NEW, OLD]`; reload: both sign.\n"
        "3. Give the receiver the new secret; with the old one it loses nothing meanwhile.\n"
        "4. Run this command again: it asks the receiver which one it takes."
    ),
    rotation.WAIT: (
        "The receiver still verifies with the old secret. Give it the new one, the first of "
        "`secrets`, and run this again."
    ),
    rotation.FINISH: (
        "The receiver verifies with the new secret. Replace `secrets = [NEW, OLD]` with "
        "`secret = NEW`, and reload; then destroy the old one."
    ),
    rotation.UNCLEAR: (
        "The answers show nothing: leave both secrets in place. Taken although it was signed with "
        "neither: the receiver does not verify. None taken: see its answers, or whether it is up."
    ),
}


@click.group(invoke_without_command=True)
@click.option(
    "--scheme", type=click.Choice(_SCHEMES),
    default=DEFAULT_SCHEME, show_default=True, metavar="SCHEME",
    help=f"The signing scheme that it is for: {', '.join(_SCHEMES)}.",
)  # fmt: skip
@with_json
@click.pass_context
def secret(context: click.Context, scheme: str, as_json: bool) -> None:
    """Generate a signing secret, or change an endpoint's.

    Configure the same one in the receiver, or, for standard-webhooks-ed25519, the public key.
    JSON: {"secret"}, with "public_key" for standard-webhooks-ed25519.
    """
    if context.invoked_subcommand is not None:
        return
    found = SCHEMES[scheme]
    generated = found.generate_secret()
    document: Document = {"secret": generated}
    if isinstance(found, Asymmetric):
        document["public_key"] = found.public_key(found.parse_secret(generated))
    if as_json:
        as_document(document)
    else:
        _print_secret(document)


@secret.command()
@click.argument("name")
@with_config
@with_json
def rotate(name: str, config: Path | None, as_json: bool) -> int:
    """Change the secret of endpoint NAME without losing a webhook: say what to do next.

    With one secret in the config, print a new one. With two, `secrets = [new, old]`, send the
    receiver three pings, signed with the new one, the old one and neither, and say whether the old
    one may go: exits 0 if so, else 1. The config is not changed. JSON: {"ok", "endpoint", "step"},
    the step being "begin", with "secret", or "wait", "finish" or "unclear", with "new", "old" and
    "neither", each as of `send-test --endpoint`.
    """
    endpoint = endpoint_named(require_config(config), name)
    if len(endpoint.keys) > 1:
        token = secrets.token_hex(10)
        document = loop.run(rotation.examine(endpoint, client_context(), token, now))
    else:
        document = rotation.begin(endpoint)
    if as_json:
        as_document(document)
    else:
        _print(document)
    return DONE if document["ok"] else FOUND_WRONG


def _print(document: Document) -> None:
    if document["step"] == rotation.BEGIN:
        _print_secret(document)
    else:
        asked = ((signed, document[signed]) for signed in ("new", "old", "neither"))
        as_fields(
            (f"signed with {signed}", got["detail"] or f"answered {got['status']}")
            for signed, got in asked
        )
    click.echo(_NEXT[document["step"]], err=True)


def _print_secret(document: Document) -> None:
    click.echo(document["secret"])
    if "public_key" in document:
        click.echo(
            f"note: the receiver verifies with the public key {document['public_key']}", err=True
        )
