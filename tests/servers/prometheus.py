"""A real Prometheus on loopback, in a folder of its own, with a config that a test gives."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final, Self

from tests.patience import PATIENCE
from tests.servers.ports import steady_port
from tests.servers.programs import need

_OFTEN: Final = "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n"


class Prometheus:
    """Scrapes and evaluates once a second; use it in a `with`."""

    def __init__(self, folder: Path, config: str) -> None:
        self._folder = folder
        self._port = steady_port()
        (folder / "prometheus.yml").write_text(_OFTEN + config)

    def __enter__(self) -> Self:
        command = [
            str(need("prometheus")),
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=error",
        ]
        self._log = (self._folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API; None while it starts."""
        address = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except (urllib.error.HTTPError, OSError):
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            return None

    def query(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of what an expression gives now."""
        data = self.ask("query", query=expression)
        return [each["metric"] for each in data["result"]] if data else []

    def wait_for(self, expression: str) -> list[dict[str, str]]:
        """Wait until an expression gives something; return its labels."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"nothing yet: {expression}"
            time.sleep(0.1)
        return found
