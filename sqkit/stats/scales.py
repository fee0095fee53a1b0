"""The scales on which an estimate and its standard error become an interval or a p-value.

Everything here is elementwise, so reports and the proofs of calibration run the same code. The pivot of every scale but
``exact`` is compared with Student's t; ``df = inf`` is the normal law.

==========  ==========================================================================================
linear      ``(theta - value) / se``
log         ``(log theta - log value) / (se / value)``
score       ``(theta - value) / sqrt(theta (1 - theta) / n_eff)`` (Wilson; n_eff is n over the design effect)
exact       tails of the binomial law with ``n_eff`` trials (Clopper and Pearson 1934), ``n_eff`` reduced by
            ``(z / t)^2`` where df is finite (Korn and Graubard 1998)
==========  ==========================================================================================
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import betainc, betaincinv, ndtri, stdtr, stdtrit

__all__ = ["Scale", "bounds", "p_value"]

Scale = Literal["linear", "log", "score", "exact"]
TINY = 1e-300


def bounds(scale, value, se, df, level: float, n_eff=np.nan) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the `level` interval; ``score`` and ``exact`` use `n_eff`, the others `se`."""
    scale, value, se, df, n_eff = np.broadcast_arrays(scale, *(np.asarray(x, float) for x in (value, se, df, n_eff)))
    t = stdtrit(df, 0.5 + level / 2)
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for name, limits in (("linear", _linear), ("log", _log), ("score", _score)):
            here = scale == name
            if here.any():
                low[here], high[here] = limits(value[here], se[here], t[here], n_eff[here])
        here = scale == "exact"
        if here.any():
            n = n_eff[here] * (ndtri(0.5 + level / 2) / t[here]) ** 2
            low[here], high[here] = _exact(value[here] * n, n, level)
    return low, high


def _linear(value, se, t, n_eff):
    return value - t * se, value + t * se


def _log(value, se, t, n_eff):
    factor = np.exp(t * se / value)
    return value / factor, value * factor


def _score(value, se, t, n_eff):
    c = t**2 / n_eff
    centre, half = (value + c / 2) / (1 + c), np.sqrt(c * value * (1 - value) + c**2 / 4) / (1 + c)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _exact(x, n, level):
    tail = (1 - level) / 2
    low = np.where(x > 0, betaincinv(np.maximum(x, TINY), n - x + 1, tail), 0.0)
    return low, np.where(x < n, betaincinv(x + 1, np.maximum(n - x, TINY), 1 - tail), 1.0)


def p_value(scale, value, se, df, theta, n_eff=np.nan) -> np.ndarray:
    """Return the two-sided p-value of `theta`: the smallest alpha whose interval excludes it."""
    scale, value, se, df, theta, n_eff = np.broadcast_arrays(
        scale, *(np.asarray(x, float) for x in (value, se, df, theta, n_eff))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        null = np.clip(theta, 0.0, 1.0)
        pivot = np.select(
            [scale == "linear", scale == "log", scale == "score"],
            [
                (theta - value) / se,
                np.log(np.maximum(theta, 0.0) / value) * value / se,
                (theta - value) / np.sqrt(null * (1 - null) / n_eff),
            ],
            np.nan,
        )
        p = np.array(2 * stdtr(df, -np.abs(pivot)))
    here = scale == "exact"
    if here.any():
        p[here] = _exact_p(value[here], n_eff[here], df[here], null[here])
    return p


def _exact_p(value, n_eff, df, theta):
    """Solve for alpha: with finite df the effective size itself depends on the level, so there is no closed form."""
    inside, outside = np.zeros(value.shape), np.ones(value.shape)
    for _ in range(50):
        alpha = (inside + outside) / 2
        n = n_eff * (ndtri(1 - alpha / 2) / stdtrit(df, 1 - alpha / 2)) ** 2
        x = value * n
        at_least = np.where(x > 0, betainc(np.maximum(x, TINY), n - x + 1, theta), 1.0)
        at_most = np.where(x < n, 1 - betainc(x + 1, np.maximum(n - x, TINY), theta), 1.0)
        excluded = 2 * np.minimum(at_least, at_most) < alpha
        inside, outside = np.where(excluded, inside, alpha), np.where(excluded, alpha, outside)
    return outside
