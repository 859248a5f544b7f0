"""Remembers results of pure functions: the mails of one provider repeat most of their headers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Concatenate, Generic, ParamSpec, TypeVar, cast

_Written = TypeVar("_Written", bound=bytes | str)
_More = ParamSpec("_More")
_Result = TypeVar("_Result")


class Remembered(Generic[_Written, _More, _Result]):
    """A pure function whose results for short arguments are remembered, the latest `entries`.

    What a stranger writes must not fill the memory, so an argument longer than `longest` is worked
    out each time. And it must not change how another's is judged: the function depends on nothing
    but its arguments, all of them are the key, and the result can't be changed.
    """

    def __init__(
        self,
        function: Callable[Concatenate[_Written, _More], _Result],
        entries: int,
        longest: int,
    ) -> None:
        self.function = function
        self.entries = entries
        self.longest = longest
        self._cache = lru_cache(maxsize=entries)(function)
        self._recall = cast("Callable[Concatenate[_Written, _More], _Result]", self._cache)
        update_wrapper(self, function)

    def __call__(self, written: _Written, /, *more: _More.args, **named: _More.kwargs) -> _Result:
        """Return the function's result."""
        if len(written) > self.longest:
            return self.function(written, *more, **named)
        return self._recall(written, *more, **named)

    def __len__(self) -> int:
        """Return how many results are remembered."""
        return self._cache.cache_info().currsize


def remembered(
    entries: int, longest: int
) -> Callable[
    [Callable[Concatenate[_Written, _More], _Result]], Remembered[_Written, _More, _Result]
]:
    """Make a function a `Remembered` one."""

    def decorate(
        function: Callable[Concatenate[_Written, _More], _Result],
    ) -> Remembered[_Written, _More, _Result]:
        return Remembered(function, entries, longest)

    return decorate
