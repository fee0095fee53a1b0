"""How unevenly members bring others: the negative-binomial law fitted to counts, and its tail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammainc, gammaln

from sqkit.errors import InputError
from sqkit.network.branching import check_offspring

__all__ = ["Offspring", "at_least", "fit_offspring"]

CHI2_95 = 3.841458820694124
SPAN = (math.log(1e-4), math.log(1e4))  # of the dispersion searched; above it is Poisson for every purpose


@dataclass(frozen=True)
class Offspring:
    """Negative-binomial law of how many a member brings.

    Attributes
    ----------
    mean, dispersion : float
        Dispersion infinite where counts are no more uneven than Poisson.
    low, high : float
        95% profile-likelihood interval of the dispersion; members count as independent.
    n : int
        Members.
    """

    mean: float
    dispersion: float
    low: float
    high: float
    n: int


def fit_offspring(counts: np.ndarray, members: np.ndarray) -> Offspring:
    """Fit by maximum likelihood to a histogram: `members` brought `counts` each, over equal times.

    Raises
    ------
    InputError
        Without members, or with counts that are negative or broken. Where nobody brought anybody the dispersion is NaN.
    """
    y, w = np.asarray(counts, dtype=float), np.asarray(members, dtype=float)
    if not w.sum() > 0 or (y < 0).any() or (y != np.round(y)).any() or (w < 0).any():
        raise InputError("a histogram of how many members brought how many needs members, and whole counts from 0.")
    n, mean = int(w.sum()), float((w * y).sum() / w.sum())
    if mean == 0:
        return Offspring(0.0, math.nan, math.nan, math.nan, n)

    def fit_of(log_k: float) -> float:
        k = math.exp(log_k)
        return float((w * (gammaln(y + k) - gammaln(k) - (y + k) * math.log1p(mean / k) + y * math.log(mean / k))).sum())

    best = _highest(fit_of, *SPAN)
    top = fit_of(best)
    low, high = (_falls(fit_of, best, end, top - CHI2_95 / 2) for end in SPAN)
    is_poisson = best > SPAN[1] - 0.1
    return Offspring(
        mean, math.inf if is_poisson else math.exp(best), math.exp(low), math.inf if high > SPAN[1] - 0.1 else math.exp(high), n
    )


def _highest(function, low: float, high: float) -> float:
    """Return where a function with one peak is highest, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = function(a), function(b)
    for _ in range(60):
        if fa < fb:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = function(b)
        else:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = function(a)
    return (low + high) / 2


def _falls(function, inside: float, outside: float, level: float) -> float:
    """Return where the function falls to a level between its peak and an end, or the end."""
    if function(outside) >= level:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if function(middle) >= level else (inside, middle)
    return inside


def at_least(people: object, mean: object, dispersion: object) -> np.ndarray:
    """Return the chance that a member brings at least so many `people` (exact, elementwise).

    Examples
    --------
    >>> float(at_least(1, 1.0, 1.0)), float(at_least(0, 1.0, 1.0))
    (0.5, 1.0)
    """
    m, k = check_offspring(mean, dispersion)
    t, m, k = np.broadcast_arrays(np.asarray(people, dtype=float), m, k)
    plain = np.isinf(k)
    with np.errstate(invalid="ignore"):
        tail = np.where(
            plain,
            gammainc(np.maximum(t, 1), m),
            betainc(np.maximum(t, 1), np.where(plain, 1.0, k), m / (m + np.where(plain, 1.0, k))),
        )
    return np.where(t <= 0, 1.0, tail)
