"""The attacks are real ones: what they count is seen, and what goes wrong misses its bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import attack_kinds, attacks
from tests.servers.daemon import Daemon

pytestmark = pytest.mark.processes


async def _sleep(_target: attack_kinds.Target) -> tuple[int, float | None]:
    """Let some good mails pass."""
    await asyncio.sleep(0.5)
    return 3, None


async def test_what_others_see_is_measured() -> None:
    """Good mails have their 250, and the loop's processor time is found."""
    attack = attack_kinds.Attack("x", attack_kinds.LATE, run=_sleep)
    figures = await attacks.measure(attack)
    assert (figures.attempts, figures.harm, figures.processor) == (3, 0, None)
    assert 0 < figures.p99 < float("inf")
    assert figures.held > 0


async def test_a_loop_that_is_held_is_told(tmp_path: Path) -> None:
    """The longest turn of the loop's thread is in the log, whatever held it, work or a disk."""
    package = tmp_path / "bridge"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import asyncio, time\n"
        "async def main():\n"
        "    await asyncio.sleep(0.05)\n"
        "    began = time.thread_time()\n"
        "    while time.thread_time() < began + 0.1: pass\n"
        "    await asyncio.sleep(0.05)\n"
        "    time.sleep(2)\n"  # longer than any other work
        "    await asyncio.sleep(0.05)\n"
        "with asyncio.Runner() as runner: runner.run(main())\n"
    )
    held = str(Path(attacks.__file__).with_name("held.py"))
    with Daemon(tmp_path / "x", command=(held,), root=tmp_path) as daemon:
        daemon.spawn()
        assert daemon.wait() == 0
        daemon.wait_until(lambda: any(each["stalled"] >= 1_900 for each in daemon.log("loop.held")))
        assert 100 <= daemon.log("loop.held")[-1]["ms"] < 1_900


@pytest.mark.parametrize(
    ("figures", "misses"),
    [
        (attacks.Figures(1, 0, 250, 50, 150, 9_999), False),
        (attacks.Figures(1, 1, None, 1, 1, 1), True),
        (attacks.Figures(1, 0, 251, 1, 1, 1), True),
        (attacks.Figures(1, 0, None, 51, 1, 1), True),
        (attacks.Figures(1, 0, None, 1, 151, 1), True),
    ],
)
def test_each_bound_counts(figures: attacks.Figures, misses: bool) -> None:
    """Harm, processor time, a held loop and memory fail the run; how long others wait does not."""
    assert figures.misses(attack_kinds.ATTACKS[0]) is misses


async def test_a_forgery_that_is_believed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a config that believes everybody the same attack does harm."""
    (attack,) = (each for each in attack_kinds.ATTACKS if "results of a stranger" in each.name)
    assert not (await attacks.measure(attack)).misses(attack)
    open_to_all = attack_kinds.CONFIG.replace(
        "[providers.trust]\n", "[providers.trust]\nanyone = true\n"
    )
    monkeypatch.setattr(attacks, "CONFIG", open_to_all)
    figures = await attacks.measure(attack)
    assert figures.harm > 0
    assert figures.misses(attack)
