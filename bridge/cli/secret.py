"""`smsbridge secret`: generates a signing secret."""

from __future__ import annotations

import click

from bridge.cli.options import with_json
from bridge.cli.output import as_document
from bridge.config.settings import DEFAULT_SCHEME
from bridge.signing import SCHEMES


@click.command()
@click.option(
    "--scheme", type=click.Choice(list(SCHEMES)), default=DEFAULT_SCHEME, show_default=True,
    help="The signing scheme that it is for.",
)  # fmt: skip
@with_json
def secret(scheme: str, as_json: bool) -> None:
    """Generate a signing secret.

    Configure the same one in the receiver. JSON: {"secret"}.
    """
    generated = SCHEMES[scheme].generate_secret()
    if as_json:
        as_document({"secret": generated})
    else:
        click.echo(generated)
