"""Student's t quantile and the binomial tail, without scipy.

The sources are M. Abramowitz and I. Stegun, Handbook of Mathematical Functions (1964), section 26.7, and the identity
between the binomial and the negative binomial distribution.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@lru_cache(maxsize=64)
def student_t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Return the t below which a variable of Student's t distribution lies with a probability.

    Raises:
        ValueError: the probability is not between 0 and 1, or there is less than one degree of freedom.
    """
    if not 0 < probability < 1 or degrees_of_freedom < 1:
        raise ValueError(
            f"got probability {probability} and {degrees_of_freedom} degrees of freedom; "
            "expected a probability between 0 and 1, both excluded, and at least 1 degree of freedom"
        )
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees_of_freedom)
    coefficients = _series_coefficients(degrees_of_freedom)
    # The probability that |t| is not exceeded. It grows with t, so bisection finds its inverse to the last bit.
    central = 2 * probability - 1
    low, high = 0.0, 1.0
    while _central_probability(high, degrees_of_freedom, coefficients) < central:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if _central_probability(middle, degrees_of_freedom, coefficients) < central:
            low = middle
        else:
            high = middle
    return high


def _series_coefficients(degrees_of_freedom: int) -> FloatArray:
    """Return the coefficients of the series in cos^2 of 26.7.3 (odd) and 26.7.4 (even degrees of freedom)."""
    # Odd: 1, 2/3, (2*4)/(3*5), ... Even: 1, 1/2, (1*3)/(2*4), ...
    n_terms = degrees_of_freedom // 2
    numerators = 2.0 * np.arange(1, n_terms) - (0 if degrees_of_freedom % 2 else 1)
    return np.cumprod(np.concatenate([np.ones(min(1, n_terms)), numerators / (numerators + 1)]))


def _central_probability(t: float, degrees_of_freedom: int, coefficients: FloatArray) -> float:
    """Return the probability that the absolute value of a t variable is at most `t`: A(t|v) of 26.7.3 and 26.7.4.

    Both series are finite and have no negative term, so nothing cancels.
    """
    theta = math.atan2(t, math.sqrt(degrees_of_freedom))
    series = float(coefficients @ np.power(math.cos(theta) ** 2, np.arange(len(coefficients))))
    if degrees_of_freedom % 2 == 0:
        return math.sin(theta) * series
    return 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * series)


def binomial_tail(successes: int, trials: IntArray, probability: float) -> FloatArray:
    """Return P(X > successes) for binomial X, for each number of `trials` (N,), which may be 0.

    More than k successes in n trials means that success k + 1 comes at some trial m <= n. The probability of m is
    C(m - 1, k) p^(k+1) (1 - p)^(m-k-1), so one cumulative sum over m answers for every n, and no term is negative.
    """
    if probability == 1:
        return (trials > successes).astype(np.float64)
    last = int(trials.max(initial=0))
    if last <= successes or probability == 0:
        return np.zeros(len(trials))
    m = np.arange(successes + 1, last + 1)
    # Logarithms, since the binomial coefficients overflow for some hundred trials.
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, last + 1)))])
    log_terms = log_factorials[m - 1] - log_factorials[successes] - log_factorials[m - 1 - successes]
    log_terms += (successes + 1) * math.log(probability) + (m - successes - 1) * math.log1p(-probability)
    tails = np.concatenate([[0.0], np.minimum(np.cumsum(np.exp(log_terms)), 1.0)])
    tail: FloatArray = tails[np.maximum(trials - successes, 0)]
    return tail
