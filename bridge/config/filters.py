"""`[[endpoints.filter]]`: which messages an endpoint gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bridge.config.pattern import Pattern
from bridge.config.strict import Strict


def _one_or_more(value: object) -> object:
    """Accept a single value as a list of one."""
    return [value] if isinstance(value, str | Mapping) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Sources = Annotated[
    tuple[Literal["smtp", "imap", "http", "file"], ...], BeforeValidator(_one_or_more)
]
Opts = Annotated[tuple[Literal["out", "in", "help"], ...], BeforeValidator(_one_or_more)]


class ConditionSettings(Strict):
    """Conditions on a message, all of which must hold; one that is not set always does."""

    provider: Texts = ()  # one of these providers
    source: Sources = ()  # came by one of these; "file" is `smsbridge import`
    sender: Texts = Field((), alias="from")  # one of these numbers or sender IDs
    to: Texts = ()  # to one of these numbers
    from_pattern: Pattern | None = None  # `from` of the webhook matches
    to_pattern: Pattern | None = None
    body_pattern: Pattern | None = None
    opt: Opts = ()  # the text is one of these kinds of keyword

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        # Without one it would match everything, which nobody writes on purpose.
        if not any(getattr(self, name) for name in type(self).model_fields):
            names = (field.alias or name for name, field in type(self).model_fields.items())
            raise ValueError(f"has no condition: set one of {', '.join(names)}")
        return self


class FilterSettings(ConditionSettings):
    """One filter: its conditions hold, and those of no table in `not` do."""

    excluded: Annotated[tuple[ConditionSettings, ...], BeforeValidator(_one_or_more)] = Field(
        (), alias="not"
    )

    def conditions(self) -> Iterator[ConditionSettings]:
        """Yield the filter itself and what it excludes."""
        yield self
        yield from self.excluded
