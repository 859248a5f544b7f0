"""Options that several commands share, and the config that they name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.config.load import ENVIRONMENT, PLACES, ConfigFile, find_config, load_file
from bridge.errors import ConfigErrors


def _chosen(context: click.Context, _option: click.Parameter, value: Path | None) -> Path | None:
    """Take -c of the command itself, else that in front of it."""
    if value is not None:
        return value
    in_front = context.find_root().params.get("config")
    return in_front if isinstance(in_front, Path) else None


with_config = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    callback=_chosen,
    help="The config file; else SMSBRIDGE_CONFIG, ./config.toml, /etc/smsbridge/config.toml.",
)
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
with_reveal = click.option(
    "--reveal", is_flag=True, help="Print numbers and texts whole; a list masks them otherwise."
)
with_limit = click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True,
    help="At most so many, newest first.",
)  # fmt: skip


def require_config(explicit: Path | None) -> ConfigFile:
    """Load the config, or say where one was looked for."""
    path = find_config(explicit)
    if path is None:
        places = ", ".join(str(place) for place in PLACES)
        raise ConfigErrors(
            [f"no config: there is none at {places}; name it with -c or {ENVIRONMENT}"]
        )
    return load_file(path)


def now() -> datetime:
    """Tell the time, in UTC."""
    return datetime.now(UTC)
