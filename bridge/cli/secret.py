"""`smsbridge secret`: a new signing secret."""

from __future__ import annotations

import click

from bridge.cli.options import with_json
from bridge.cli.output import as_document
from bridge.signing import standard_webhooks


@click.command()
@with_json
def secret(as_json: bool) -> None:
    """Make a new signing secret.

    Give the same to the receiver. JSON: {"secret"}.
    """
    made = standard_webhooks.generate_secret()
    if as_json:
        as_document({"secret": made})
    else:
        click.echo(made)
