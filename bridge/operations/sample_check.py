"""Tests the config's providers against the sample mails that it names."""

from __future__ import annotations

import glob
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bridge.config.settings import Settings
from bridge.errors import BridgeError, ConfigError
from bridge.operations.mail_files import find_files
from bridge.operations.trial import Trial
from bridge.reader import Reader


async def sample_problems(
    settings: Settings, reader: Reader, clock: Callable[[], datetime]
) -> list[ConfigError]:
    """Return what is wrong with the samples: each must be its provider's, and no quarantine.

    `reader` is one that believes every mail.
    """
    return [
        ConfigError(f"providers.{index}.samples", problem)
        for index, provider in enumerate(settings.providers)
        for pattern in provider.samples
        for problem in await _problems(pattern, provider.name, Trial(reader, clock))
    ]


async def _problems(pattern: Path, name: str, trial: Trial) -> list[str]:
    paths = [Path(path) for path in sorted(glob.glob(str(pattern)))]  # noqa: PTH207  also absolute
    if not paths:
        return [f"there is no file {pattern}"]
    try:
        await trial.run(find_files(paths), lambda _: None)
    except (BridgeError, OSError) as error:
        return [str(error)]
    wrong = []
    for row in trial.rows:
        if row["outcome"] == "quarantine":
            wrong.append(f"{row['mail']}: {row['detail']}")
        elif row["provider"] != name:
            wrong.append(f"{row['mail']} is read by the provider {row['provider']}")
    return wrong
