"""A slice of each fuzz subject, and that a forgery or a slow case would be found."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from benchmarks import fuzz, fuzz_posts, fuzz_results, fuzz_signatures
from bridge import trust
from bridge.config.template import Encoding, PlaceSettings, TemplateSettings
from bridge.config.times import NAMED
from bridge.model import Email, Trust
from bridge.providers.posts import Posts
from tests.providers.posts.everyone import for_case

EVIDENCE = ("signatures", "results")


@pytest.mark.parametrize("subject", EVIDENCE)
def test_nothing_is_forged(subject: str) -> None:
    """A few hundred cases of each: none is believed wrongly, none raises, none is slow."""
    seed = random.randrange(1_000_000)
    run = fuzz.fuzz(seed, 600, 1, subject)
    assert run.raised == [], f"seed {seed}"
    assert run.slow == [], f"seed {seed}"
    assert sum(run.outcomes.values()) == 600
    # Some are still believed: a fuzz in which nothing verifies would prove nothing.
    assert run.outcomes["believed"], run.outcomes


def test_no_changed_post_is_believed() -> None:
    """Through every provider's judge and reader, and some through another's."""
    seed = random.randrange(1_000_000)
    run = fuzz.fuzz(seed, 2_000, 1, "posts")
    assert (run.raised, run.slow) == ([], []), f"seed {seed}"
    # Some come through, changed before they were signed, or not at all.
    assert run.outcomes["message"], run.outcomes
    assert run.outcomes["as signed"], run.outcomes


def test_a_forged_post_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every post is believed, the fuzz says so."""

    def believing(name: str) -> Posts:
        return replace(for_case(name), verify=lambda _post, _at: Trust("signature", "any"))

    monkeypatch.setattr(fuzz_posts, "_provider", believing)
    _, run = fuzz.chunk(0, seed=1, cases=300, subject="posts")
    assert len(run.raised) > 10
    assert all("it was changed, and is believed" in sentence for _, sentence in run.raised)


def test_a_subject_has_its_own_bound_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that takes longer than its subject allows is slow."""
    patient = fuzz.SUBJECTS["posts"]
    monkeypatch.setattr(fuzz, "SUBJECTS", {"posts": patient._replace(allowed=-1.0)})
    _, run = fuzz.chunk(0, seed=1, cases=5, subject="posts")
    assert run.slow == [0, 1, 2, 3, 4]


def test_a_config_that_takes_long_to_load_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no case's time, but it is bounded."""
    monkeypatch.setattr(fuzz, "LOADING_ALLOWED", -1.0)
    _, run = fuzz.chunk(0, seed=1, cases=5, subject="templates")
    assert [number for number, _ in run.raised] == [0, 1, 2, 3, 4]


def test_every_option_of_a_template_is_tried() -> None:
    """And so is every kind of place, format and encoding."""
    tables = [fuzz.mutated(3, number, "templates").table for number in range(200)]
    assert set().union(*(each["template"] for each in tables)) == _names(TemplateSettings)
    shown = json.dumps(tables, default=str)
    wanted = {*_names(PlaceSettings), *NAMED, *get_args(Encoding)}
    assert [name for name in wanted if f'"{name}"' not in shown] == []


def _names(settings: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in settings.model_fields.items()}


def test_no_template_is_slow() -> None:
    """What the config accepts is read in time, whatever the pattern and the text."""
    seed = random.randrange(1_000_000)
    run = fuzz.fuzz(seed, 400, 1, "templates")
    assert (run.raised, run.slow) == ([], []), f"seed {seed}"
    assert run.outcomes["no config"] < 200, run.outcomes


def test_no_declared_post_is_slow() -> None:
    """It is read on the event loop."""
    seed = random.randrange(1_000_000)
    run = fuzz.fuzz(seed, 300, 1, "declared")
    assert (run.raised, run.slow) == ([], []), f"seed {seed}"
    assert run.outcomes["no config"] < 150, run.outcomes


@pytest.mark.parametrize("subject", fuzz.SUBJECTS)
def test_a_case_is_made_again_from_its_seed_and_number(subject: str) -> None:
    """In another process too: keys and signatures are the same in every run."""
    assert fuzz.mutated(7, 11, subject) == fuzz.mutated(7, 11, subject)
    assert len({str(fuzz.mutated(7, number, subject)) for number in range(50)}) > 40


@pytest.mark.parametrize("subject", EVIDENCE)
def test_a_forgery_is_found(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If everything is believed, the fuzz says so."""

    async def believe(_arrival: object, _email: Email, *_: Any) -> Trust:
        return Trust("dkim", "agiletelecom.com")

    fuzz_signatures.originals()  # made with the real one
    monkeypatch.setattr(trust, "weigh", believe)
    _, run = fuzz.chunk(0, seed=1, cases=50, subject=subject)
    assert len(run.raised) > 10
    assert all("AssertionError" in sentence for _, sentence in run.raised)


def test_blanks_that_no_signature_sees_change_nothing_else() -> None:
    """The oracle takes moved blanks for the same mail, and one changed letter for another."""
    raw, key = fuzz_signatures.originals().mails[0]
    case = fuzz_signatures.Case(raw, key)
    assert fuzz_signatures.run(case) == "believed"
    assert fuzz_signatures.run(case._replace(raw=raw + b"\r\n" + b"x")) == "refused"


def test_a_server_that_escapes_is_read() -> None:
    """The stranger's words are in headers that are read, not in ones that are refused."""
    rng = random.Random(1)
    cases = [fuzz_results.make(rng) for _ in range(200)]
    outcomes = [fuzz_results.run(each) for each in cases if each.strangers]
    assert outcomes.count("read") > len(outcomes) / 2
