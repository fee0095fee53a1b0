"""From a fitted model to effects: each level against the mean, tests of all levels, intervals that hold together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sqkit.timing.poisson import FEWEST_GROUPS, Fit

__all__ = ["FEWEST_POSTS", "LEVEL", "Effect", "columns_p", "effect", "wald_p"]

LEVEL = 0.05
FEWEST_POSTS = 20  # a level with fewer posts, or responders, is shown and not compared
FEWEST_EFFECTIVE = 8  # ... or with fewer posts that count evenly
DRAWS = 20_000
WALD_DF = 4  # degrees of freedom per contrast below which the largest t decides instead of the Wald test


@dataclass(frozen=True)
class Effect:
    """Levels of one factor against the mean over the compared ones, as logs.

    Attributes
    ----------
    name : str
    levels : tuple
    is_compared : ndarray of bool
    log_ratio : ndarray
    contrast : ndarray
        ``log_ratio`` is linear in the coefficients with these rows (delta method).
    cov : ndarray
    df : ndarray
        Degrees of freedom of each level.
    reach : ndarray
        How many standard errors the simultaneous 95% interval reaches, by level.
    p : float
        Joint test that all compared levels are equal, uncorrected; NaN with fewer than two.
    method : str
        ``wald`` or ``largest``.
    weight : ndarray
        Exposure by level.
    """

    name: str
    levels: tuple[object, ...]
    is_compared: np.ndarray
    log_ratio: np.ndarray
    contrast: np.ndarray
    cov: np.ndarray
    df: np.ndarray
    reach: np.ndarray
    p: float
    method: str
    weight: np.ndarray = field(repr=False)

    @property
    def error(self) -> np.ndarray:
        """Standard errors of ``log_ratio``."""
        return np.sqrt(np.diag(self.cov))

    @property
    def low(self) -> np.ndarray:
        """Lower simultaneous bound of the log ratio; NaN where not compared."""
        return np.where(self.is_compared, self.log_ratio - self.reach * self.error, np.nan)

    @property
    def high(self) -> np.ndarray:
        """Upper simultaneous bound of the log ratio; NaN where not compared."""
        return np.where(self.is_compared, self.log_ratio + self.reach * self.error, np.nan)

    @property
    def largest(self) -> int:
        """Place of the compared level farthest from the mean by its standard error."""
        t = np.where(self.is_compared & (self.error > 0), np.abs(self.log_ratio) / np.where(self.error > 0, self.error, 1), -1.0)
        return int(t.argmax())


def _spread_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many clusters each level has, and how many if counted by how evenly they carry what is expected."""
    squares = (table**2).sum(0)
    even = np.divide(table.sum(0) ** 2, squares, out=np.zeros(len(squares)), where=squares > 0)
    return (table > 0).sum(0), even


def effect(fit: Fit, name: str, seed: int) -> Effect:
    """Return the levels of a factor against their mean.

    Parameters
    ----------
    fit : Fit
    name : str
        One of its factors.
    seed : int
        Of the draws that make the intervals hold together; derived from stable text.
    """
    f, span = fit.cells.factor(name), fit.span(name)
    size = len(f.levels)
    basis = np.zeros((size, len(fit.beta)))
    basis[:, span] = f.basis
    own = basis @ fit.beta
    of_level = np.eye(size)[fit.levels[name]]  # cells x levels
    seen, posts = _spread_of(fit.by_post_cell @ of_level)
    _, groups = _spread_of(fit.by_group_cell @ of_level)
    known = np.array([level not in ("", -1) for level in f.levels])
    compared = known & (seen >= FEWEST_POSTS) & (fit.responders @ of_level >= FEWEST_POSTS) & (posts >= FEWEST_EFFECTIVE)
    if not fit.is_within:  # levels of groups, not of posts
        compared &= groups >= FEWEST_GROUPS
    weight = fit.exposure @ of_level
    share = np.where(compared, weight, 0) * np.exp(own)
    total = share.sum()
    if not compared.any() or name in fit.aliased:
        nothing, empty = np.zeros(size, bool), np.full(size, np.nan)
        return Effect(name, f.levels, nothing, empty, basis, np.full((size, size), np.nan), empty, empty, np.nan, "", weight)
    contrast = basis - (share / total) @ basis
    log_ratio = own - np.log(total / weight[compared].sum())
    cov = fit.covariance(contrast)
    df = posts - 1 if fit.groups is None else np.minimum(posts, groups) - 1
    df = np.maximum(df, 1.0)
    reach, p, method = np.full(size, np.nan), np.nan, ""
    if compared.sum() >= 2:
        at = np.flatnonzero(compared)
        reach[at], p, method = _together(log_ratio[at], cov[np.ix_(at, at)], df[at], share[at], seed)
    return Effect(name, f.levels, compared, log_ratio, contrast, cov, df, reach, p, method, weight)


def _together(value: np.ndarray, cov: np.ndarray, df: np.ndarray, share: np.ndarray, seed: int) -> tuple[np.ndarray, float, str]:
    """Return the reach of the simultaneous intervals, the joint p and how it was made.

    `value` are deviations from their mean weighted by `share`, so one of them follows from the others and is left out of the Wald test.
    """
    from scipy.special import ndtr, stdtrit

    error = np.sqrt(np.diag(cov))
    if not (error > 0).all():
        return np.full(len(value), np.nan), np.nan, ""
    top = _largest(cov, seed)
    reach = stdtrit(df, ndtr(np.quantile(top, 1 - LEVEL)))
    rest = np.delete(np.arange(len(value)), share.argmax())
    p, method = wald_p(value[rest], cov[np.ix_(rest, rest)], float(1 / np.mean(1 / df))), "wald"
    if not np.isfinite(p):
        p, method = _largest_p(value, error, df, top), "largest"
    return reach, p, method


def _largest(cov: np.ndarray, seed: int) -> np.ndarray:
    """Draw the largest of correlated standard normal deviates, in size."""
    error = np.sqrt(np.diag(cov))
    values, vectors = np.linalg.eigh(cov / np.outer(error, error))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.abs(np.random.default_rng(seed).standard_normal((DRAWS, len(cov))) @ root.T).max(axis=1)


def _largest_p(value: np.ndarray, error: np.ndarray, df: np.ndarray | float, top: np.ndarray) -> float:
    from scipy.special import ndtri, stdtr

    return float((1 + (top >= -ndtri(stdtr(df, -np.abs(value) / error).min())).sum()) / (1 + DRAWS))


def wald_p(value: np.ndarray, cov: np.ndarray, df: float) -> float:
    """Return the p-value of the Wald test that all of `value` are 0, in the approximate Hotelling form; NaN if clusters are too few.

    With ``q`` values and ``df`` degrees of freedom, ``(df - q + 1) / (df q) Q`` is F on q and df - q + 1 (Pustejovsky and Tipton 2018).
    """
    from scipy.special import fdtrc

    q = len(value)
    if df < WALD_DF * q or not q:
        return float("nan")
    try:
        statistic = max(float(value @ np.linalg.solve(cov, value)), 0.0)
    except np.linalg.LinAlgError:
        return float("nan")
    return float(fdtrc(q, df - q + 1, statistic * (df - q + 1) / (df * q)))


def columns_p(fit: Fit, name: str, seed: int) -> float:
    """Return the joint p that all columns of a factor are 0: Wald, or by the largest where clusters are few; NaN if none could be told."""
    span = fit.span(name)
    kept = fit.kept[(fit.kept >= span.start) & (fit.kept < span.stop)]
    if not len(kept):
        return float("nan")
    value, cov = fit.beta[kept], fit.covariance(np.eye(len(fit.beta))[kept])
    clusters = fit.cells.post if fit.groups is None else fit.cells.group
    df = float(len(np.unique(clusters)) - 1)
    p = wald_p(value, cov, df)
    error = np.sqrt(np.diag(cov))
    return p if np.isfinite(p) or not (error > 0).all() else _largest_p(value, error, df, _largest(cov, seed))
