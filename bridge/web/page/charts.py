"""Small charts, made here as SVG: a line over time, with its words for those who don't see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

WIDTH: Final = 160
HEIGHT: Final = 28
_PATH: Final = Markup(
    '<svg class="chart {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
    "<title>{}</title>{}{}{}</svg>"
)
_LINE: Final = Markup('<polyline points="{}"/>')
_GROUND: Final = Markup('<path d="M0 {0}.5H{1}"/>').format(HEIGHT - 1, WIDTH)
_FILL: Final = Markup('<polygon points="{}"/>')


def line(values: Sequence[float], most: int, words: str, kind: str = "") -> Markup:
    """Draw values, the newest at the right; `most` values are the whole width.

    `words` say the same as the line does. A single value is no line yet.
    """
    if len(values) < 2:
        return Markup("")
    top = max(values, default=0.0) or 1.0
    step = WIDTH / max(1, most - 1)
    right = WIDTH - 1
    points = [
        (
            round(right - step * (len(values) - 1 - index), 1),
            round(HEIGHT - 2 - (HEIGHT - 4) * value / top, 1),
        )
        for index, value in enumerate(values)
    ]
    drawn = " ".join(f"{x},{y}" for x, y in points)
    ground = f"{points[0][0]},{HEIGHT - 1} {drawn} {points[-1][0]},{HEIGHT - 1}"
    return _PATH.format(
        kind,
        WIDTH,
        HEIGHT,
        WIDTH,
        HEIGHT,
        words,
        words,
        _GROUND,
        _FILL.format(ground),
        _LINE.format(drawn),
    )
