"""The scales on which an estimate and its standard error become an interval or a p-value.

Everything here is elementwise, so the product and the proofs of calibration run the same code. The pivot of
every scale but ``exact`` is compared with Student's t; ``df = inf`` is the normal law.

==========  ==========================================================================
linear      ``(theta - value) / se``
log         ``(log theta - log value) / (se / value)``
score       ``(theta - value) / sqrt(theta (1 - theta) / n_eff)`` (Wilson; n_eff is n over the design effect)
exact       tails of the binomial law with ``n_eff`` trials (Clopper and Pearson 1934)
==========  ==========================================================================
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import betainc, betaincinv, stdtr, stdtrit

__all__ = ["Scale", "bounds", "exact_bounds", "exact_p_value", "p_value"]

Scale = Literal["linear", "log", "score", "exact"]


def bounds(scale: Scale, value, se, df, level: float, n_eff=np.nan) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the `level` interval, elementwise; ``score`` and ``exact`` use `n_eff`, the others `se`."""
    value, se = np.asarray(value, float), np.asarray(se, float)
    if scale == "exact":
        return exact_bounds(value * n_eff, n_eff, level)
    t = stdtrit(np.asarray(df, float), 0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "linear":
            return value - t * se, value + t * se
        if scale == "log":
            factor = np.exp(t * se / value)
            return value / factor, value * factor
        c = t**2 / n_eff
        centre = (value + c / 2) / (1 + c)
        half = np.sqrt(c * value * (1 - value) + c**2 / 4) / (1 + c)
        return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def p_value(scale: Scale, value, se, df, theta, n_eff=np.nan) -> np.ndarray:
    """Return the two-sided p-value of `theta`: the alpha whose interval has `theta` as a bound."""
    value, se, theta = np.asarray(value, float), np.asarray(se, float), np.asarray(theta, float)
    if scale == "exact":
        return exact_p_value(value * n_eff, n_eff, theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "linear":
            pivot = (theta - value) / se
        elif scale == "log":
            pivot = np.log(np.maximum(theta, 0.0) / value) / (se / value)
        else:
            null = np.clip(theta, 0.0, 1.0)
            pivot = (theta - value) / np.sqrt(null * (1 - null) / n_eff)
    return 2 * stdtr(np.asarray(df, float), -np.abs(pivot))


def exact_bounds(successes, n, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Clopper-Pearson bounds; `successes` and `n` may be fractional (effective counts)."""
    x, n = np.asarray(successes, float), np.asarray(n, float)
    tail = (1 - level) / 2
    low = np.where(x > 0, betaincinv(np.maximum(x, 1e-300), n - x + 1, tail), 0.0)
    high = np.where(x < n, betaincinv(x + 1, np.maximum(n - x, 1e-300), 1 - tail), 1.0)
    return low, high


def exact_p_value(successes, n, theta) -> np.ndarray:
    """Return twice the smaller binomial tail at ``theta``, at most 1: the inverse of :func:`exact_bounds`."""
    x, n, theta = np.asarray(successes, float), np.asarray(n, float), np.clip(np.asarray(theta, float), 0.0, 1.0)
    at_least = np.where(x > 0, betainc(np.maximum(x, 1e-300), n - x + 1, theta), 1.0)
    at_most = np.where(x < n, 1 - betainc(x + 1, np.maximum(n - x, 1e-300), theta), 1.0)
    return np.minimum(1.0, 2 * np.minimum(at_least, at_most))
