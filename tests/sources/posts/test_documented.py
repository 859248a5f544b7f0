"""The posts that docs/providers.md shows for each provider are taken, as it says."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from bridge.providers.posts import FORMATS
from bridge.store import queries
from tests.documents import blocks, page
from tests.servers.programs import need
from tests.sources.posts import lines

_HOST: Final = "http://127.0.0.1:8081"


# The sections of the page, by the name of the provider in their config.
SECTIONS: Final = {
    re.findall(r'^name = "(.*)"$', each, re.MULTILINE)[0]: each
    for each in re.split(r"^## ", page("docs/providers.md"), flags=re.MULTILINE)[1:]
}


def test_each_provider_has_a_section() -> None:
    """In the order of their titles."""
    assert sorted(SECTIONS) == sorted(FORMATS)
    titles = [each.partition("\n")[0].lower() for each in SECTIONS.values()]
    assert titles == sorted(titles)


@pytest.mark.processes
def test_the_documented_posts_are_taken(tmp_path: Path) -> None:
    """Each example is answered with success and stored once, trusted for what its section says."""
    shell, _, _ = need("bash"), need("curl"), need("openssl")
    config = lines.settings(
        tmp_path, "".join(blocks(each, "toml")[0] for each in SECTIONS.values())
    )

    async def run() -> None:
        async with lines.running(config) as line:
            for name, section in SECTIONS.items():
                (script,) = blocks(section, "sh")
                assert _HOST in script
                script = script.replace(_HOST, line.url)
                ran = await asyncio.to_thread(typed, shell, script)
                success = line.source._providers[name].success
                assert ran.stdout.strip() == (success.body.decode() or str(success.status)), ran
                newest = (await line.store.read(queries.list_messages))[0].message
                assert newest.sms.provider == name, ran
                assert newest.trust is not None
                signed = newest.trust.by == "signature"
                assert ("**Signed**" in section, "**Not signed**" in section) == (
                    signed,
                    not signed,
                )

    asyncio.run(run())


def typed(shell: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run what a reader types."""
    command = [shell, "-euo", "pipefail", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)
