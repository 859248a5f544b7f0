"""Options that several commands share, and loading the config that they name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from bridge.clock import Clock
from bridge.config.load import ENVIRONMENT, PLACES, ConfigFile, find_config, load_file
from bridge.errors import ConfigErrors


def _chosen(context: click.Context, _option: click.Parameter, value: Path | None) -> Path | None:
    """Use the command's own -c, else the one before the command."""
    if value is not None:
        return value
    in_front = context.find_root().params.get("config")
    return in_front if isinstance(in_front, Path) else None


with_config = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    callback=_chosen,
    help="Config file; default: SMSBRIDGE_CONFIG, ./config.toml, /etc/smsbridge/config.toml.",
)
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
with_reveal = click.option(
    "--reveal", is_flag=True, help="Print full numbers and texts; lists mask them otherwise."
)
with_limit = click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True,
    help="Maximum number, newest first.",
)  # fmt: skip


class _Time(click.ParamType[datetime]):
    """A moment in ISO 8601; without an offset it is the machine's local time."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse it, or fail with the ways to write one."""
        try:
            return datetime.fromisoformat(str(value)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2026-04-08 or 2026-04-08T14:30", param, ctx)


TIME = _Time()


def require_config(explicit: Path | None) -> ConfigFile:
    """Load the config; raises ConfigErrors, naming the places if none is found."""
    path = find_config(explicit)
    if path is None:
        places = ", ".join(str(place) for place in PLACES)
        raise ConfigErrors([f"no config found at {places}: name it with -c or {ENVIRONMENT}"])
    return load_file(path)


# The time of this process, set to that of the database where it opens one.
now: Final = Clock()
