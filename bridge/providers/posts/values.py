"""Finds values in a post at the places that a declaration names. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge import posts
from bridge.config.json_path import JsonPath
from bridge.config.pattern import Looks
from bridge.config.post_template import PostPlaceSettings
from bridge.model import Post

_LOOKS: Final = 2_000  # 16 ms, which the event loop waits for
_NOT_STORABLE: Final = re.compile("[\ud800-\udfff\0]")


def storable(text: str) -> str:
    """Replace half a surrogate pair, as a JSON escape may be, and NUL: databases keep neither."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A post, opened: its parameters by name, the JSON in it, and one item of that.

    `outside` has the values that were found in no item: they are the same for each. `looks` is
    what all items together may take of it.
    """

    post: Post
    parameters: Mapping[str, str]
    document: object
    item: object = None
    outside: dict[int, str | None] = field(default_factory=dict)
    looks: Looks = field(default_factory=lambda: Looks(_LOOKS))

    def at(self, path: JsonPath) -> Sequence[object]:
        """Return the values at a path, in order."""
        return path.find(self.item if path.in_item else self.document)

    def has_list(self, path: JsonPath) -> bool:
        """Return whether there is a list, if only an empty one, at the last `[*]` of a path."""
        return any(isinstance(each, list) for each in path.before_items.find(self.document))

    def find(self, places: Sequence[PostPlaceSettings]) -> str | None:
        """Return the value at the first of these places that has one."""
        found = (self._value(place) for place in places)
        return next((value for value in found if value is not None), None)

    def _value(self, place: PostPlaceSettings) -> str | None:
        if place.path is not None and place.path.in_item:
            return self._look(place)
        if id(place) not in self.outside:
            self.outside[id(place)] = self._look(place)
        return self.outside[id(place)]

    def _look(self, place: PostPlaceSettings) -> str | None:
        if place.value is not None:
            return place.value
        if place.parameter is not None:
            value = self.parameters.get(place.parameter)
        elif place.header is not None:
            value = self.post.headers.get(place.header)
        else:
            value = self._json(place)
        if value is None:
            return None
        value = storable(value)
        if place.pattern is None:
            return value
        match = place.pattern.search(value, self.looks)
        return match.value if match else None

    def _json(self, place: PostPlaceSettings) -> str | None:
        assert place.path is not None
        found = self.at(place.path)
        if place.inner is not None:
            text = text_of(found[0]) if found else None
            found = [] if text is None else place.inner.find(posts.json_of(text))
        return text_of(found[0]) if found else None


def open_post(post: Post) -> Sheet | str:
    """Open a post, or return why its parameters can't be read.

    The parameters are the form's; where the body is no form, the query's.
    """
    is_form = posts.is_form(post)
    pairs = posts.form(post) if is_form else posts.query(post)
    found = pairs if isinstance(pairs, str) else posts.once(pairs)
    if isinstance(found, str):
        return found
    return Sheet(post, found, None if is_form else posts.document(post))


def text_of(value: object) -> str | None:
    """Return a JSON text or number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return value if isinstance(value, str) else json.dumps(value)
