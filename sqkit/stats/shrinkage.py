"""Empirical-Bayes shrinkage of many ratios of counts towards 1, the small ones most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, gammaln

__all__ = ["Shrunk", "gamma_poisson"]


@dataclass(frozen=True)
class Shrunk:
    """Shrunken ratios.

    Attributes
    ----------
    value, low, high : numpy.ndarray
        Posterior mean and bounds of each ratio; NaN where nothing was expected.
    shape : float
        Fitted shape of the gamma law of the true ratios (mean 1): their standard deviation is ``shape ** -0.5``.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shape: float


def gamma_poisson(seen: np.ndarray, expected: np.ndarray, level: float = 0.95) -> Shrunk:
    """Shrink ``seen / expected``, counts that are Poisson around ``expected`` times a ratio that is gamma with mean 1.

    The shape is found by maximum marginal likelihood (negative binomial) over all cells. Counts need not be whole: clustered counts
    are handed over at their effective size, both divided by the design effect. Fewer than three cells are not enough to tell how
    much ratios differ; they are shrunk with shape 1.

    Source: Clayton and Kaldor 1987, Biometrics 43:671.

    Examples
    --------
    >>> made = gamma_poisson([30, 3, 290, 11], [10, 10, 100, 10])
    >>> bool(made.value[0] < 3 and made.value[1] > 0.3 and abs(made.value[2] - 2.9) < 0.1)
    True
    """
    seen, expected = np.asarray(seen, float), np.asarray(expected, float)
    told = np.isfinite(seen) & np.isfinite(expected) & (expected > 0) & (seen >= 0)
    o, e = seen[told], expected[told]
    shape = 1.0
    if len(o) >= 3:
        grid = np.geomspace(0.05, 1e4, 400)[:, None]
        likelihood = gammaln(grid + o) - gammaln(grid) + grid * np.log(grid / (grid + e)) + o * np.log(e / (grid + e))
        shape = float(grid[np.argmax(likelihood.sum(axis=1)), 0])
    value, low, high = (np.full(seen.shape, np.nan) for _ in range(3))
    value[told] = (shape + o) / (shape + e)
    for bound, p in ((low, (1 - level) / 2), (high, (1 + level) / 2)):
        bound[told] = gammaincinv(shape + o, p) / (shape + e)
    return Shrunk(value, low, high, shape)
