"""Student's t quantile and the binomial tail, against published tables and scipy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from jina_data.forecast.distributions import binomial_tail, student_t_quantile


@pytest.mark.parametrize(
    ("probability", "degrees_of_freedom", "published"),
    [
        # Abramowitz & Stegun, table 26.10 (A = 2 P - 1).
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 5, 2.571),
        (0.975, 10, 2.228),
        (0.975, 30, 2.042),
        (0.975, 120, 1.980),
        (0.995, 1, 63.657),
        (0.95, 7, 1.895),
    ],
)
def test_t_quantile_equals_published_values(probability: float, degrees_of_freedom: int, published: float) -> None:
    assert student_t_quantile(probability, degrees_of_freedom) == pytest.approx(published, abs=0.0005)


def test_t_quantile_approaches_the_normal_distribution() -> None:
    assert student_t_quantile(0.975, 1_000_000) == pytest.approx(1.959964, abs=1e-5)


def test_t_quantile_is_symmetric() -> None:
    assert student_t_quantile(0.5, 3) == pytest.approx(0, abs=1e-12)
    assert student_t_quantile(0.25, 3) == -student_t_quantile(0.75, 3)


def test_t_quantile_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    degrees = [*range(1, 130), 500, 501, 2_047, 19_999, 20_000]
    for probability, degrees_of_freedom in product((0.01, 0.3, 0.6, 0.8, 0.95, 0.975, 0.995, 0.9999), degrees):
        expected = stats.t.ppf(probability, degrees_of_freedom)
        assert student_t_quantile(probability, degrees_of_freedom) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("probability", "degrees_of_freedom"), [(0.0, 3), (1.0, 3), (0.975, 0)])
def test_t_quantile_refuses_what_is_undefined(probability: float, degrees_of_freedom: int) -> None:
    with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
        student_t_quantile(probability, degrees_of_freedom)


@pytest.mark.parametrize(
    ("successes", "trials", "probability", "exact"),
    [
        (0, 1, 0.5, 0.5),
        (1, 3, 0.5, 0.5),
        (4, 10, 0.5, 638 / 1024),
        (1, 2, 0.25, 1 / 16),
        (9, 10, 0.1, 1e-10),
    ],
)
def test_binomial_tail_of_small_numbers(successes: int, trials: int, probability: float, exact: float) -> None:
    assert binomial_tail(successes, np.array([trials]), probability)[0] == pytest.approx(exact, rel=1e-12)


def test_binomial_tail_at_the_ends() -> None:
    trials = np.array([0, 1, 2, 3, 50])
    assert binomial_tail(2, trials, 1.0).tolist() == [0, 0, 0, 1, 1]
    assert binomial_tail(2, trials, 0.0).tolist() == [0, 0, 0, 0, 0]
    assert binomial_tail(2, np.array([0, 2]), 0.5).tolist() == [0, 0]
    assert binomial_tail(2, np.empty(0, np.int64), 0.5).tolist() == []


def test_binomial_tail_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    trials = np.array([0, 1, 2, 3, 7, 50, 99, 100, 101, 999, 1_000, 20_000])
    for successes, probability in product((0, 1, 2, 9, 49, 99, 500), (0.001, 1 / 8, 1 / 4, 1 / 2, 0.9, 1.0)):
        expected = stats.binom.sf(successes, trials, probability)
        np.testing.assert_allclose(binomial_tail(successes, trials, probability), expected, rtol=1e-9, atol=1e-300)
