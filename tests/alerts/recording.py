"""What a Prometheus would have of a daemon's `/metrics`, and what the shipped rules say of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.servers.daemon import Daemon
from tests.servers.programs import need

RULES: Final = Path(__file__).parents[2] / "packaging/files/share/smsbridge/prometheus-rules.yml"
_TARGET: Final = 'instance="127.0.0.1:8080",job="smsbridge"'  # what a scrape adds to each series
_FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"})'
_EVER: Final = 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[2d]))'


class Recording:
    """A forwarded daemon's series, one sample each `step` seconds of its own clock."""

    def __init__(self, config: Path, step: int) -> None:
        # In a Python of its own: the clocks are changed before the daemon's modules are imported.
        command = "-m", "tests.alerts.forwarded_daemon", str(step)
        self.daemon = Daemon(config, command, within=("env",))
        self._step = step
        self._scrapes: list[Mapping[str, float]] = []

    def forward(self, seconds: int, settled: Callable[[], bool] = lambda: True) -> None:
        """Put the daemon's clock forward, step by step, each with a scrape once it is settled.

        On a busy machine a step may come in the middle of a dialogue, which then takes long.
        """
        steps = self._steps()
        for _ in range(0, seconds, self._step):
            self.daemon.signal(signal.SIGUSR1)
            steps += 1
            self.daemon.wait_until(lambda steps=steps: self._steps() == steps)  # type: ignore[misc]
            self.daemon.wait_until(settled)
            self.scrape()

    def miss(self, seconds: int) -> None:
        """Scrape for so long a daemon that is down."""
        for _ in range(0, seconds, self._step):
            self.scrape()

    def scrape(self) -> None:
        """Take a sample of every series as it is now; of a daemon that is down, `up` only."""
        status, page = self.daemon.page("/metrics")
        self._scrapes.append(_samples(page) | {f"up{{{_TARGET}}}": float(status == 200)})

    def firing(self, folder: Path) -> dict[str, int]:
        """Return which of the shipped alerts fire at the end, and how many of each."""
        return self._ask(_FIRING, folder)

    def endpoints_of(self, alert: str, folder: Path) -> set[str]:
        """Return the endpoints for which an alert fires now."""
        firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
        return set(self._ask(f"count by (endpoint) ({firing})", folder))

    def ever_fired(self, folder: Path) -> dict[str, int]:
        """Return which of the shipped alerts fired at any time."""
        return self._ask(_EVER, folder)

    def _steps(self) -> int:
        return len(self.daemon.log("clock.forward"))

    def _ask(self, question: str, folder: Path) -> dict[str, int]:
        # promtool compares; so tell it to expect what can't be, and read what it got.
        end = self._step * (len(self._scrapes) - 1)
        impossible = {"labels": '{alertname="none"}', "value": 0}
        asked = {"expr": question, "eval_time": f"{end}s", "exp_samples": [impossible]}
        test = {
            "interval": f"{self._step}s",
            "input_series": [{"series": name, "values": v} for name, v in self._series().items()],
            "promql_expr_test": [asked],
        }
        whole = {
            "rule_files": [str(RULES)],
            "evaluation_interval": f"{self._step}s",
            "tests": [test],
        }
        file = folder / "recorded.yml"
        file.write_text(json.dumps(whole))  # which is YAML, too
        command = [need("promtool"), "test", "rules", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return _counts(done.stdout + done.stderr)

    def _series(self) -> dict[str, str]:
        names = {name for scrape in self._scrapes for name in scrape}
        values: dict[str, list[str]] = defaultdict(list)
        for scrape in self._scrapes:
            for name in names:
                gone = "stale" if values[name] and values[name][-1] not in ("_", "stale") else "_"
                values[name].append(_number(scrape[name]) if name in scrape else gone)
        return {name: " ".join(sequence) for name, sequence in values.items()}


def _samples(page: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith("smsbridge_"):
                labels = [f"{name}={json.dumps(value)}" for name, value in sample.labels.items()]
                found[f"{sample.name}{{{','.join([*labels, _TARGET])}}}"] = sample.value
    return found


def _number(value: float) -> str:
    return "NaN" if value != value else f"{value:.15g}"


def _counts(said: str) -> dict[str, int]:
    """Read `got:[ {label="A"} 1E+00 …]` or `got: nil` out of promtool's complaint."""
    _, found, got = said.partition("got:")
    assert found, said
    return {
        name: int(float(count)) for name, count in re.findall(r'\{\w+="(\w+)"\} ([\d.E+]+)', got)
    }
