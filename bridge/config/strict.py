"""The base of every config table."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A table of the config: frozen, and an unknown key is an error."""

    # A table's own validator is made when it is used by itself: the whole config's has it, too.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )
