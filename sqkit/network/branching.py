"""Galton-Watson branching with negative-binomial offspring: exact aggregate draws, and the closed forms to hold them against.

A member brings a number of others that is negative-binomial with a mean and a dispersion k (variance mean + mean^2 / k; small k: few bring
nearly all). The sum over n such members is negative-binomial with mean n * mean and dispersion n * k, so that a generation is one draw
however many members it has.
"""

from __future__ import annotations

import math

import numpy as np

from sqkit.errors import InputError

__all__ = ["check_offspring", "extinction", "generation_moments", "grow", "offspring", "progeny_moments", "rates"]

MOST = 2.0**62  # beyond, a count no longer fits its integer


def check_offspring(mean: object, dispersion: object) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and dispersion as float arrays.

    Raises
    ------
    InputError
        If a mean is negative or not finite, or a dispersion not above zero (infinity is allowed: Poisson).
    """
    means, spread = np.asarray(mean, dtype=float), np.asarray(dispersion, dtype=float)
    if not (np.isfinite(means).all() and (means >= 0).all()):
        raise InputError(f"the mean of invited per member is {_worst(means)}; allowed from 0, finite.")
    if not (spread > 0).all():
        raise InputError(f"the dispersion is {_worst(spread)}; allowed above 0 (infinite for Poisson).")
    return means, spread


def _worst(values: np.ndarray) -> float:
    return float(np.nanmin(values)) if not np.isnan(values).any() else float("nan")


def offspring(rng: np.random.Generator, parents: object, mean: object, dispersion: object) -> np.ndarray:
    """Draw how many all `parents` together bring, exactly.

    Parameters
    ----------
    rng : numpy Generator
    parents : array of int
        Members who bring others; any shape.
    mean, dispersion : float or array that broadcasts against `parents`

    Returns
    -------
    ndarray of int64, in the broadcast shape
    """
    means, spread = check_offspring(mean, dispersion)
    parents = _counts(parents, "parents")
    return rng.poisson(rates(rng, parents, means, spread))


def rates(rng: np.random.Generator, parents: np.ndarray, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
    """Draw the rate at which all `parents` together bring others: the gamma of the gamma-Poisson mixture (unchecked)."""
    parents, mean, dispersion = np.broadcast_arrays(np.asarray(parents, dtype=float), mean, dispersion)
    if np.isinf(dispersion).all():
        drawn = parents * mean
    else:
        shape = np.where(np.isinf(dispersion), 0.0, dispersion) * parents
        drawn = rng.standard_gamma(shape) * np.divide(mean, dispersion, out=np.zeros(mean.shape), where=np.isfinite(dispersion))
        drawn = np.where(np.isinf(dispersion), parents * mean, drawn)
    if drawn.size and drawn.max() > MOST:
        raise InputError(
            f"a generation of {drawn.max():.2g} people is more than can be counted; take fewer generations or a lower mean."
        )
    return drawn


def _counts(values: object, what: str) -> np.ndarray:
    counts = np.asarray(values)
    if not np.issubdtype(counts.dtype, np.integer) or (counts.size and counts.min() < 0):
        raise InputError(
            f"{what} are whole numbers from 0, got {counts.dtype} with least {counts.min() if counts.size else '-'}."
        )
    return counts


def grow(rng: np.random.Generator, seeds: object, mean: object, dispersion: object, generations: int) -> np.ndarray:
    """Draw generations of a branching process, one per seed count.

    Parameters
    ----------
    seeds : array of int (replicates,)
        Members of generation 0.
    mean, dispersion : float or array (replicates,)
    generations : int
        How many follow generation 0.

    Returns
    -------
    ndarray of int64 (replicates, generations + 1)
        Sizes of the generations; their sum over a row is the total progeny, a last column of 0 is extinction.

    References
    ----------
    Harris (1963) The theory of branching processes; Lloyd-Smith et al. (2005) Nature 438:355 (negative-binomial offspring).

    Examples
    --------
    >>> sizes = grow(np.random.default_rng(1), np.ones(4, dtype=int), 0.0, 1.0, 2)
    >>> sizes.tolist()
    [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    """
    means, spread = check_offspring(mean, dispersion)
    first = np.atleast_1d(_counts(seeds, "seeds"))
    if generations < 0:
        raise InputError(f"generations is {generations}; allowed from 0.")
    sizes = np.zeros((len(first), generations + 1), dtype=np.int64)
    sizes[:, 0] = first
    for g in range(generations):
        sizes[:, g + 1] = rng.poisson(rates(rng, sizes[:, g], means, spread))
        if not sizes[:, g + 1].any():
            break
    return sizes


def generation_moments(seeds: int, mean: float, dispersion: float, generation: int) -> tuple[float, float]:
    """Return mean and variance of the size of a generation (closed form, Harris 1963 I.5)."""
    check_offspring(mean, dispersion)
    m, n = float(mean), int(generation)
    one = m + m * m / dispersion
    if n == 0:
        return float(seeds), 0.0
    growth = n if m == 1 else (m**n - 1) / (m - 1)
    return seeds * m**n, seeds * one * m ** (n - 1) * growth


def progeny_moments(seeds: int, mean: float, dispersion: float) -> tuple[float, float]:
    """Return mean and variance of the total progeny, seeds included; infinite where the mean reaches 1 (closed form)."""
    check_offspring(mean, dispersion)
    if mean >= 1:
        return math.inf, math.inf
    one = mean + mean * mean / dispersion
    return seeds / (1 - mean), seeds * one / (1 - mean) ** 3


def extinction(mean: float, dispersion: float, seeds: int = 1, generations: int | None = None) -> float:
    """Return the probability that the line of `seeds` members ends, ever or within `generations`.

    The smallest fixed point of the offspring's generating function, by iteration from 0 (each step is one more generation) and
    Newton steps from below, which cannot pass the smallest root of a convex function.
    """
    check_offspring(mean, dispersion)

    def pgf(s: float) -> float:
        if math.isinf(dispersion):
            return math.exp(mean * (s - 1))
        return (1 + mean * (1 - s) / dispersion) ** -dispersion

    def slope(s: float) -> float:
        if math.isinf(dispersion):
            return mean * pgf(s)
        return mean * (1 + mean * (1 - s) / dispersion) ** (-dispersion - 1)

    s = 0.0
    if generations is not None:
        for _ in range(generations):
            s = pgf(s)
        return s**seeds
    if mean <= 1:
        return 1.0
    for _ in range(200):
        step = (pgf(s) - s) / (1 - slope(s))
        s += step
        if step < 1e-15:
            break
    return min(s, 1.0) ** seeds
