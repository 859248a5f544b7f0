"""docs/monitoring.md tells every metric and every alarm, and its alerts ask for nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from bridge import metrics
from bridge.sources.imap.status import Alarm
from bridge.web.health import Condition

PAGE = (Path(__file__).parents[1] / "docs" / "monitoring.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


def _published() -> dict[str, MetricWrapperBase]:
    ours = (each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))
    return {each._name + "_total" * isinstance(each, Counter): each for each in ours}


def test_every_metric_stands_there_as_it_is() -> None:
    """Name, labels and the help text are those that are served."""
    told = {row[0].strip("`"): row[1:] for row in ROWS if row[0].startswith("`smsbridge_")}
    assert told == {
        name: [", ".join(f"`{label}`" for label in metric._labelnames), metric._documentation]
        for name, metric in _published().items()
    }


def test_every_alarm_and_every_condition_stands_there() -> None:
    """An operator who sees a word finds what it means."""
    words = {row[0].strip("`") for row in ROWS if not row[0].startswith("`smsbridge_")}
    assert words == {*Alarm, *get_args(Condition)}


def test_the_alerts_name_metrics_and_labels_that_exist() -> None:
    """A rule on a name that is never served would never fire."""
    known = _published()
    (rules,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    asked = re.findall(r"\b(smsbridge_\w+)(?:\{(\w+)=)?", rules)
    assert len(asked) >= 8
    for name, label in asked:
        assert name in known
        assert not label or label in known[name]._labelnames
    assert "retry" in metrics.ATTEMPTS._documentation
