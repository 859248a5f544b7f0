"""JSON paths in the config: the part of JSONPath (RFC 9535) that names a value or a list's items.

`$` is the whole document and `@` the current item; then `.name`, `['any name']`, `[0]`, `[-1]`,
and `[*]` for every item of a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, InstanceOf

_EVERY: Final = None  # the step [*]
_PATH: Final = re.compile(r"(?P<root>[$@])(?P<steps>.*)", re.DOTALL)
_STEP: Final = re.compile(
    r"\.(?P<name>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]*)"
    r"|\['(?P<quoted>[^'\\]+)'\]|\[(?P<index>0|-?[1-9][0-9]{0,5})\]|(?P<every>\[\*\])",
    re.ASCII,
)

Step = str | int | None


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A parsed path; `in_item` is whether it begins at the current item (`@`)."""

    text: str
    in_item: bool
    steps: tuple[Step, ...]

    @property
    def is_single(self) -> bool:
        """Whether it names one value at most."""
        return _EVERY not in self.steps

    @property
    def before_items(self) -> JsonPath:
        """The path of the list whose items the last `[*]` names."""
        last = len(self.steps) - 1 - self.steps[::-1].index(_EVERY)
        return JsonPath(self.text, self.in_item, self.steps[:last])

    def find(self, document: object) -> Sequence[object]:
        """Return the values at the path, in order; empty if there is none."""
        found = [document]
        for step in self.steps:
            found = [inner for each in found for inner in _inside(each, step)]
        return found


def _inside(value: object, step: Step) -> Sequence[object]:
    if isinstance(step, str):
        return [value[step]] if isinstance(value, dict) and step in value else []
    if not isinstance(value, list):
        return []
    if step is _EVERY:
        return value
    return [value[step]] if -len(value) <= step < len(value) else []


def parse_path(text: str) -> JsonPath:
    """Parse a path; raises ValueError with what is wrong with it."""
    whole = _PATH.fullmatch(text)
    steps: list[Step] = []
    at = 0
    while whole is not None and at < len(whole["steps"]):
        step = _STEP.match(whole["steps"], at)
        if step is None:
            whole = None
            break
        index = step["index"]
        name = step["name"] or step["quoted"]
        steps.append(int(index) if index is not None else name)  # neither: every
        at = step.end()
    if whole is None:
        raise ValueError(f"{text!r} is no JSON path like $.data.text, $.to[0] or @.from")
    return JsonPath(text, whole["root"] == "@", tuple(steps))


def _path(value: object) -> object:
    if isinstance(value, JsonPath):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a JSON path in quotes, like '$.data.text'")  # noqa: TRY004
    return parse_path(value)


Path = Annotated[InstanceOf[JsonPath], BeforeValidator(_path)]
