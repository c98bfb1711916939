"""Draws a curve as inline SVG: loss, learning rate or a score by step."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import accumulate

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 56, 408, 26, 160

MAX_POINTS = 400
"""More points are averaged in groups of neighbours."""

Points = Sequence[tuple[float, float]]


def curve(title: str, points: Points, *, is_noisy: bool = False) -> str:
    """Draw values by step; of noisy values, the running mean is drawn over the faint values."""
    points = _thinned([point for point in points if math.isfinite(point[1])])
    if not points:
        return ""
    steps, values = [step for step, _ in points], [value for _, value in points]
    x_span = max(steps) - min(steps) or 1.0
    low, high = min(values), max(values)
    y_span = high - low or 1.0

    def position(point: tuple[float, float]) -> str:
        x = LEFT + (RIGHT - LEFT) * (point[0] - min(steps)) / x_span
        y = BOTTOM - (BOTTOM - TOP) * (point[1] - low) / y_span
        return f"{x:.1f} {y:.1f}"

    lines = (points, running_mean(points) if is_noisy else points)
    path, mean = ("M" + "L".join(map(position, line)) for line in lines)
    ticks = [
        *(
            _text(LEFT - 6, BOTTOM - (BOTTOM - TOP) * share + 4, f"{low + y_span * share:.3g}", "end")
            for share in (0, 0.5, 1)
        ),
        *(
            _text(LEFT + (RIGHT - LEFT) * share, BOTTOM + 16, f"{min(steps) + x_span * share:,.0f}", "middle")
            for share in (0, 0.5, 1)
        ),
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{html.escape(title)} by step">'
        f"{_text(LEFT, 16, title, 'start')}{''.join(ticks)}"
        f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
        f'{f"""<path class="curve faint" d="{path}"/>""" if is_noisy else ""}<path class="curve" d="{mean}"/></svg>'
    )


def running_mean(points: Points) -> Points:
    """Return the mean of each value and its neighbours, a tenth of all points; under 20 points stay as they are."""
    reach = len(points) // 20
    if not reach:
        return points
    # The sum over [a, b) is sums[b] - sums[a].
    sums = [0.0, *accumulate(value for _, value in points)]
    spans = ((max(0, index - reach), min(len(points), index + reach + 1)) for index in range(len(points)))
    return [(point[0], (sums[b] - sums[a]) / (b - a)) for point, (a, b) in zip(points, spans, strict=True)]


def _thinned(points: Points) -> Points:
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
