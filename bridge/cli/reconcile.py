"""`smsbridge reconcile`."""

import click


@click.command()
def reconcile() -> None:
    """Compare a mailbox with the ledger."""
