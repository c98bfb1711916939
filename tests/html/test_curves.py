"""Curves: running means, few points, and numbers that are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jina_data.html.curves import curve, running_mean


def test_running_mean_covers_a_tenth_of_the_points() -> None:
    values = np.random.default_rng(0).normal(size=200)
    means = [value for _, value in running_mean(list(enumerate(values.tolist())))]
    expected = [values[max(0, i - 10) : i + 11].mean() for i in range(200)]
    assert means == pytest.approx(expected)


def test_few_points_are_not_averaged() -> None:
    points = [(1.0, 3.0), (2.0, -1.0)]
    assert running_mean(points) == points


def test_a_noisy_curve_has_two_lines() -> None:
    points = [(float(step), float(step % 7)) for step in range(1000)]
    assert curve("loss", points, is_noisy=True).count('class="curve') == 2
    assert curve("lr", points).count('class="curve') == 1
    assert curve("loss", [(0.0, math.nan)]) == ""
