"""`smsbridge secret`: generates a signing secret."""

from __future__ import annotations

import click

from bridge.cli.options import with_json
from bridge.cli.output import as_document
from bridge.config.endpoints import DEFAULT_SCHEME, NO_SCHEME
from bridge.signing import SCHEMES, Asymmetric


@click.command()
@click.option(
    "--scheme", type=click.Choice([name for name in SCHEMES if name != NO_SCHEME]),
    default=DEFAULT_SCHEME, show_default=True, help="The signing scheme that it is for.",
)  # fmt: skip
@with_json
def secret(scheme: str, as_json: bool) -> None:
    """Generate a signing secret.

    Configure the same one in the receiver, or, for standard-webhooks-ed25519, the public key.
    JSON: {"secret"}, with "public_key" for standard-webhooks-ed25519.
    """
    found = SCHEMES[scheme]
    generated = found.generate_secret()
    public = None
    if isinstance(found, Asymmetric):
        public = found.public_key(found.parse_secret(generated))
    if as_json:
        as_document({"secret": generated} | ({} if public is None else {"public_key": public}))
        return
    click.echo(generated)
    if public is not None:
        click.echo(f"note: the receiver verifies with the public key {public}", err=True)
