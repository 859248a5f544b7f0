"""The line of a key is found in every ordinary layout of TOML."""

from __future__ import annotations

import tomllib

from bridge.config.lines import key_lines, line_of

TEXT = '''# a comment with [brackets] and x = 1
top = 1

[smtp]
listen = [
  "127.0.0.1:25",   # not.a = key
  "[::1]:25",
]
hostname = """
looks = "like a key"
[and.a.header]
"""
after.dotted = 1
"quoted key" = 2

[[providers]]
name = "a"
[providers.trust]
anyone = true

  [[providers]]   # the second
  name = "b"
  [providers.trust]
  networks = [ "::1/128" ]

[[a]]
[[a.b]]
x = 1
[[a.b]]
x = 2
[[a]]
[[a.b]]
x = 3
'''


def test_ordinary_layouts() -> None:
    """Headers, keys, lists over lines, long texts, dotted keys and lists of tables are placed."""
    tomllib.loads(TEXT)  # the scanner is only ever asked about valid texts
    lines = key_lines(TEXT)
    at = {
        ("top",): "top = 1",
        ("smtp",): "[smtp]",
        ("smtp", "listen"): "listen = [",
        ("smtp", "hostname"): 'hostname = """',
        ("smtp", "after"): "after.dotted = 1",
        ("smtp", "after", "dotted"): "after.dotted = 1",
        ("smtp", "quoted key"): '"quoted key" = 2',
        ("providers",): "[[providers]]",
        ("providers", 0, "name"): 'name = "a"',
        ("providers", 0, "trust", "anyone"): "anyone = true",
        ("providers", 1): "[[providers]]   # the second",
        ("providers", 1, "name"): 'name = "b"',
        ("providers", 1, "trust", "networks"): 'networks = [ "::1/128" ]',
        ("a", 0, "b", 1, "x"): "x = 2",
        ("a", 1, "b", 0, "x"): "x = 3",
    }
    text = TEXT.splitlines()
    assert {path: text[lines[path] - 1].strip() for path in at} == at


def test_what_only_looks_like_a_key_is_none() -> None:
    """Neither comments nor texts over several lines bring keys."""
    lines = key_lines(TEXT)
    assert not any("looks" in path or "and" in path or "not" in path for path in lines)


def test_the_nearest_thing_around_a_missing_key() -> None:
    """A key that is not there has the line of its table; nothing at all has none."""
    lines = key_lines(TEXT)
    assert line_of(("providers", 1, "time_zone"), lines) == lines["providers", 1]
    assert line_of(("smtp", "listen", 1), lines) == lines["smtp", "listen"]
    assert line_of(("nowhere",), lines) is None
