"""Checks that an effect is not the work of one post or a few: winsorised rates, ranks, medians, and the fit without the top posts.

They compare posts, not members: each post at each level has what was answered over what the model without the factor expects. For
the kind of group the same is done with groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sqkit.reading import Reading
from sqkit.timing.contrasts import Effect, effect
from sqkit.timing.poisson import Fit, fit

__all__ = ["CHECKS", "post_rates", "rank_test", "robust", "welch_test", "without"]

CHECKS = ("winsorised", "rank", "without_top_post", "without_top_percent", "medians")
WINSORISED = 0.05  # at either end
TOP = 0.01  # share of posts left out


def rank_test(values: Sequence[float], levels: Sequence[object]) -> tuple[float, float]:
    """Return Kruskal and Wallis's H, corrected for ties, and its p-value; NaN where there is nothing to compare.

    Parameters
    ----------
    values : sequence of float
        One per post.
    levels : sequence
        The level of each.
    """
    from scipy.special import chdtrc

    x = np.asarray(values, float)
    names, code = np.unique(np.asarray(levels).astype(str), return_inverse=True)
    _, place, ties = np.unique(x, return_inverse=True, return_counts=True)
    n = len(x)
    even = 1 - (ties.astype(float) ** 3 - ties).sum() / (float(n) ** 3 - n) if n > 1 else 0.0
    if len(names) < 2 or even <= 0:
        return float("nan"), float("nan")
    rank = (np.cumsum(ties) - (ties - 1) / 2)[place]
    sums, counts = np.bincount(code, rank), np.bincount(code)
    h = (12 / (n * (n + 1)) * (sums**2 / counts).sum() - 3 * (n + 1)) / even
    return float(h), float(chdtrc(len(names) - 1, h))


def welch_test(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> float:
    """Return Welch's test that weighted means are equal, with variances of their own; NaN with fewer than two levels of two posts."""
    from scipy.special import fdtrc

    size = int(codes.max()) + 1 if len(codes) else 0
    count = np.bincount(codes, minlength=size)
    total = np.bincount(codes, weights, size)
    mean = np.divide(np.bincount(codes, weights * values, size), total, out=np.zeros(size), where=total > 0)
    square = np.bincount(codes, (weights * (values - mean[codes])) ** 2, size)
    n = np.divide(total**2, np.bincount(codes, weights**2, size), out=np.zeros(size), where=total > 0)
    ok = (count > 1) & (n > 1.5) & (square > 0)
    k = int(ok.sum())
    if k < 2:
        return float("nan")
    n, mean = n[ok], mean[ok]
    w = total[ok] ** 2 / square[ok] * (n - 1) / n
    middle = (w * mean).sum() / w.sum()
    odd = ((1 - w / w.sum()) ** 2 / (n - 1)).sum()
    statistic = (w * (mean - middle) ** 2).sum() / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * odd)
    return float(fdtrc(k - 1, (k**2 - 1) / (3 * odd), statistic))


def post_rates(reading: Reading, factor: str) -> pd.DataFrame:
    """Return posts with their level of a factor, as they are: ``level``, ``y`` (responders), ``m`` (members reached), ``rate``.

    One row per post and level, summed over groups. Needs the table ``posted``; descriptive.
    """
    frame = reading.engine.execute(
        f"""SELECT {factor} AS level, CAST(sum(y) AS DOUBLE) AS y, CAST(sum(m) AS DOUBLE) AS m FROM posted
        WHERE {factor} IS NOT NULL GROUP BY post_id, level ORDER BY post_id, level"""
    ).df()
    return frame.assign(rate=frame.y / frame.m)


def _units(model: Fit, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return level, expected (without the factor) and answered over expected, one per post (or group) and level."""
    f, c = model.cells.factor(name), model.cells
    size = len(f.levels)
    plain = model.mu * np.exp(-(f.basis @ model.beta[model.span(name)]))[f.codes]
    unit, n = _clusters(model)
    code = unit.astype(np.int64) * size + f.codes
    expected = np.bincount(code, plain, n * size)
    there = np.flatnonzero(expected > 0)
    expected = expected[there] * (c.y.sum() / plain.sum())
    return there % size, expected, np.bincount(code, c.y, n * size)[there] / expected


def _clusters(model: Fit) -> tuple[np.ndarray, int]:
    """Return what a level has several of: posts, or groups where groups are compared."""
    c = model.cells
    return (c.post, c.n_posts) if model.is_within else (c.group, c.n_groups)


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values, kind="stable")
    run = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(run, share * run[-1])])


def without(model: Fit, found: Effect, units: np.ndarray, seed: int) -> Effect:
    """Return the effect fitted again without some posts (or groups, where groups are compared)."""
    keep = ~np.isin(_clusters(model)[0], units)
    return effect(fit(model.cells.where(keep), by_group=model.is_within), found.name, seed)


def robust(model: Fit, found: Effect, seed: int, *, refit: bool = True) -> tuple[dict[str, object], np.ndarray]:
    """Check an effect on posts.

    Parameters
    ----------
    model : Fit
    found : Effect
        An effect with at least two compared levels.
    seed : int
    refit : bool
        Whether to fit again without the top posts (only of use where the joint test is below its level).

    Returns
    -------
    dict
        p-values ``winsorised``, ``rank``, ``without_top_post``, ``without_top_percent`` and, under ``medians``, the level with the
        highest median of answered over expected.
    ndarray of bool
        Levels whose winsorised mean and median lie on the side of 1 that their ratio says, and whose interval alone (95%) stays off 1
        without the post that does most for it.
    """
    level, expected, ratio = _units(model, found.name)
    some = found.is_compared[level]
    level, expected, ratio = level[some], expected[some], ratio[some]
    low, high = (_quantile(ratio, expected, s) for s in (WINSORISED, 1 - WINSORISED))
    capped = np.clip(ratio, low, high)
    size = len(found.levels)
    means, medians = np.full(size, np.nan), np.full(size, np.nan)
    for k in np.flatnonzero(found.is_compared):
        mine = level == k
        means[k] = np.average(capped[mine], weights=expected[mine])
        medians[k] = _quantile(ratio[mine], expected[mine], 0.5)
    large = expected >= 1 if (expected >= 1).mean() > 0.5 else np.ones(len(expected), bool)
    checks: dict[str, object] = {
        "winsorised": welch_test(capped, level, expected),
        "rank": rank_test(ratio[large], level[large])[1],
    }
    side = np.sign(found.log_ratio)
    agree = (np.sign(means - np.average(capped, weights=expected)) == side) & (
        np.sign(medians - _quantile(ratio, expected, 0.5)) == side
    )
    pull = (
        (model.by_post if model.is_within else model.by_group) @ found.contrast.T * side
    )  # what each post does for the level's distance from 1
    agree &= _stays(found, pull)
    if refit:
        top = int(np.nanargmax(pull[:, found.largest]))
        checks["without_top_post"] = without(model, found, np.array([top]), seed).p
        error = np.where(found.error > 0, found.error, np.inf)
        sway = np.abs(pull / error)[:, found.is_compared].max(axis=1)
        few = np.argsort(-sway, kind="stable")[: max(1, round(TOP * len(np.unique(_clusters(model)[0]))))]
        checks["without_top_percent"] = without(model, found, few, seed).p
    checks["medians"] = found.levels[int(np.nanargmax(medians))]
    return checks, agree & found.is_compared


def _stays(found: Effect, pull: np.ndarray) -> np.ndarray:
    from scipy.special import stdtrit

    most = pull.max(axis=0)
    rest = np.sqrt(np.maximum(found.error**2 - most**2, 0))
    return np.abs(found.log_ratio) - np.maximum(most, 0) > stdtrit(found.df, 0.975) * rest
