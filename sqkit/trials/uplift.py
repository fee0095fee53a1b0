"""Who reacted: effects by segments named beforehand, a test that they differ at all, and a Qini curve with what chance alone draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit import stats
from sqkit.errors import ContractError, InputError
from sqkit.trials.effect import Effect, effect

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cells", "Qini", "Segments", "by_segment", "cells_of", "interaction_p", "qini"]

FOLDS = 5
PRIOR_CLUSTERS = 10.0  # a segment's effect counts as much as the overall one when this many clusters an arm speak of it


@dataclass(frozen=True)
class Cells:
    """Sums by cluster and segment; rows are clusters, columns segments.

    Attributes
    ----------
    num, den : ndarray (clusters, segments)
    is_treated : ndarray of bool (clusters,)
    segments : tuple of str
    """

    num: np.ndarray
    den: np.ndarray
    is_treated: np.ndarray
    segments: tuple[str, ...]


@dataclass(frozen=True)
class Segments:
    """Effects by segment.

    Attributes
    ----------
    effects : tuple of (str, Effect)
        Segments in the order given; intervals at ``1 - alpha / k`` for k segments, so that all hold together.
    adjusted_p : tuple of float
        Holm over the segments, of no effect in a segment; NaN where a segment is too small to be tested.
    p_differs : float
        Of one and the same relative lift in all segments; NaN where it cannot be tested.
    is_different : bool
        ``p_differs`` below alpha: only then do segments differ.
    """

    effects: tuple[tuple[str, Effect], ...]
    adjusted_p: tuple[float, ...]
    p_differs: float
    is_different: bool


@dataclass(frozen=True)
class Qini:
    """Gain from treating the best segments first.

    Attributes
    ----------
    x, y : ndarray
        Share of members treated, best first, and the outcome gained per member of all.
    low, high : ndarray
        Band of 90% of the curves that a lift equal for all would draw.
    coefficient, coefficient_low, coefficient_high : float
        Area between the curve and the straight line, per member, with its interval (bootstrap of clusters).
    p : float
        Share of equal-lift curves that stand at least as far above the curve of an equal lift in the same order.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    coefficient: float
    coefficient_low: float
    coefficient_high: float
    p: float


def cells_of(
    frame: pd.DataFrame, *, segment: str, outcome: str, denominator: str | None = None, cluster: str = "cluster_id", arm: str = "arm",
    control: str = "holdout", treated: str = "treated",
) -> Cells:  # fmt: skip
    """Add up rows (members, or clusters by segment) to cluster and segment.

    Raises
    ------
    ContractError
        If a column is missing.
    InputError
        If a cluster stands in both arms, or there is a single segment.
    """
    import pandas as pd

    missing = [c for c in (segment, outcome, cluster, arm, *([denominator] if denominator else [])) if c not in frame]
    if missing:
        raise ContractError("trial", [f"column {c!r} is missing" for c in missing])
    kept = frame[frame[arm].isin([control, treated])]
    rows, names = pd.factorize(kept[cluster], sort=True)
    cols, segments = pd.factorize(kept[segment].astype(str), sort=True)
    if len(segments) < 2:
        raise InputError(f"{segment} has {len(segments)} value; segments take two or more.")
    is_treated = (kept[arm] == treated).to_numpy()
    share = np.bincount(rows, is_treated, len(names)) / np.bincount(rows, minlength=len(names))
    if ((share > 0) & (share < 1)).any():
        raise InputError("a cluster stands in both arms; name as `cluster` the units that were drawn.")
    shape, at = (len(names), len(segments)), rows * len(segments) + cols
    size = shape[0] * shape[1]
    weight = np.ones(len(kept)) if denominator is None else kept[denominator].to_numpy(float)
    num = np.bincount(at, kept[outcome].to_numpy(float), size).reshape(shape)
    return Cells(num, np.bincount(at, weight, size).reshape(shape), share > 0.5, tuple(str(s) for s in segments))


def by_segment(
    frame: pd.DataFrame, *, segment: str, outcome: str, denominator: str | None = None, cluster: str = "cluster_id",
    arm: str = "arm", control: str = "holdout", treated: str = "treated", stratum: str | None = None, pre: str | None = None,
    pre_denominator: str | None = None, order: tuple[str, ...] = (), alpha: float = 0.05,
) -> Segments:  # fmt: skip
    """Estimate the effect in each segment, corrected together, and test whether the segments differ.

    Segments must be known before the trial (what members did before, never what they did in it).

    Parameters
    ----------
    frame : DataFrame
        One row per unit and segment (members, or groups by segment); see :func:`sqkit.trials.effect.effect`.
    order : tuple of str
        Segments in the order to report; sorted where not given.

    Returns
    -------
    Segments
        Segments with too little data keep their note and take no part in the correction. "No evidence that any segment differs" is a
        result, and the usual one: it takes about four times the sample to see that one of two segments reacts than that both do.
    """
    cells = cells_of(
        frame, segment=segment, outcome=outcome, denominator=denominator, cluster=cluster, arm=arm, control=control, treated=treated
    )  # fmt: skip
    names = [s for s in (order or cells.segments) if s in cells.segments]
    level = 1 - alpha / len(names)
    own = {"cluster": cluster, "arm": arm, "control": control, "treated": treated, "stratum": stratum, "pre": pre}
    found = []
    for name in names:
        part = frame[frame[segment].astype(str) == name]
        if part[part[arm] == control].empty or part[part[arm] == treated].empty:
            continue
        made = effect(part, outcome=outcome, denominator=denominator, pre_denominator=pre_denominator, level=level, **own)
        found.append((name, made))
    told = [i for i, (_, e) in enumerate(found) if e.is_enough]
    adjusted = dict(zip(told, stats.holm([found[i][1].p for i in told]), strict=True))
    enough = {found[i][0] for i in told}
    p = interaction_p(cells, [i for i, s in enumerate(cells.segments) if s in enough])
    return Segments(tuple(found), tuple(adjusted.get(i, math.nan) for i in range(len(found))), p, p < alpha)


def interaction_p(cells: Cells, which: list[int] | None = None) -> float:
    """Return the p-value of one and the same relative lift in all segments.

    Wald's test on the logarithms of the lifts with their joint covariance over clusters (segments of a group share its chance), with
    Hotelling's approximation of the F distribution. NaN with fewer than two segments or where a segment bought nothing.
    """
    from scipy.special import fdtrc

    chosen = list(range(len(cells.segments))) if which is None else which
    q = len(chosen) - 1
    if q < 1:
        return math.nan
    logs, covariance, least = np.zeros(q + 1), np.zeros((q + 1, q + 1)), math.inf
    for sign, side in ((-1.0, ~cells.is_treated), (1.0, cells.is_treated)):
        num, den = cells.num[side][:, chosen], cells.den[side][:, chosen]
        total, size, g = num.sum(0), den.sum(0), int(side.sum())
        if g < 2 or not ((total > 0) & (size > 0)).all():
            return math.nan
        logs += sign * np.log(total / size)
        influence = (num - den * (total / size)) / total
        covariance += influence.T @ influence * g / (g - 1)
        least = min(least, g)
    contrast = np.eye(q + 1)[1:] - np.eye(q + 1)[:1]
    shift, spread = contrast @ logs, contrast @ covariance @ contrast.T
    square = float(shift @ np.linalg.pinv(spread, hermitian=True) @ shift)
    df = 2 * (least - 1)
    return float(fdtrc(q, df - q + 1, square * (df - q + 1) / (df * q))) if df > q else math.nan


def qini(cells: Cells, rng: np.random.Generator, *, runs: int = 400) -> Qini | None:
    """Return the Qini curve of a cross-fitted score, with the band of an equal lift and the interval of its coefficient.

    Clusters fall into five folds; a segment's score in a fold is its effect in the other folds, drawn towards the overall effect. Curve
    and coefficient are made on the fold itself, so a score cannot praise itself. The band re-draws the arms of whole clusters after
    dividing the treated outcomes by the common lift: what would have come out had all segments reacted alike.

    Parameters
    ----------
    rng : numpy Generator
        Folds, draws of arms, bootstrap.
    runs : int
        Draws of the band and of the bootstrap.

    Returns
    -------
    Qini or None
        None with fewer than 20 clusters in an arm, or without any outcome in one.

    Source: Radcliffe 2007, Direct Marketing Analytics Journal 1:14.
    """
    n = len(cells.is_treated)
    sides = [cells.num[cells.is_treated == k].sum() for k in (False, True)]
    if min(int(cells.is_treated.sum()), int((~cells.is_treated).sum())) < 20 or min(sides) <= 0:
        return None
    folds = np.zeros(n, int)
    for side in (cells.is_treated, ~cells.is_treated):
        folds[rng.permutation(np.flatnonzero(side))] = np.arange(side.sum()) % FOLDS
    x, y, (num, den) = _curve(cells.num, cells.den, cells.is_treated, folds)
    coefficient, above = _area(x, y), _above(x, y, num, den)
    lift = (sides[1] / cells.den[cells.is_treated].sum()) / (sides[0] / cells.den[~cells.is_treated].sum())
    base = np.where(cells.is_treated[:, None], cells.num / lift, cells.num)
    curves, areas = [], []
    for _ in range(runs):
        drawn = rng.permutation(cells.is_treated)
        a, b, ranked = _curve(np.where(drawn[:, None], base * lift, base), cells.den, drawn, folds)
        curves.append(np.interp(x, a, b))
        areas.append(_above(a, b, *ranked))
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)
    boot = [
        _area(*_gain(_resampled(num, cells.is_treated, w), _resampled(den, cells.is_treated, w)))
        for w in _weights(cells, rng, runs)
    ]
    down, up = np.quantile(boot, [0.025, 0.975])
    p = (1 + sum(a >= above for a in areas)) / (runs + 1)
    return Qini(x, y, low, high, coefficient, float(down), float(up), float(p))


def _curve(num: np.ndarray, den: np.ndarray, is_treated: np.ndarray, folds: np.ndarray):
    """Return x, y and the cluster sums by rank of the cross-fitted score."""
    ranked_num, ranked_den = np.zeros_like(num), np.zeros_like(den)
    for f in range(FOLDS):
        here = folds == f
        rank = np.argsort(-_score(num[~here], den[~here], is_treated[~here]), kind="stable")
        ranked_num[here], ranked_den[here] = num[here][:, rank], den[here][:, rank]
    sums = [np.stack([v[is_treated == k].sum(0) for k in (False, True)]) for v in (ranked_num, ranked_den)]
    return *_gain(*sums), (ranked_num, ranked_den)


def _score(num: np.ndarray, den: np.ndarray, is_treated: np.ndarray) -> np.ndarray:
    sides = [is_treated == k for k in (False, True)]
    rates = [np.divide(num[s].sum(0), den[s].sum(0), out=np.zeros(num.shape[1]), where=den[s].sum(0) > 0) for s in sides]
    whole = [num[s].sum() / max(den[s].sum(), 1e-300) for s in sides]
    behind = np.minimum(*((den[s] > 0).sum(0) for s in sides))
    trust = behind / (behind + PRIOR_CLUSTERS)
    return trust * (rates[1] - rates[0]) + (1 - trust) * (whole[1] - whole[0])


def _gain(num: np.ndarray, den: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rate = np.divide(num, den, out=np.zeros_like(num), where=den > 0)
    size = den.sum(0)
    total = size.sum()
    return np.r_[0.0, np.cumsum(size) / total], np.r_[0.0, np.cumsum(size * (rate[1] - rate[0])) / total]


def _area(x: np.ndarray, y: np.ndarray) -> float:
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() - y[-1] / 2)


def _above(x: np.ndarray, y: np.ndarray, num: np.ndarray, den: np.ndarray) -> float:
    """Return the area above what the same total gain would draw were the lift equal (segments that buy more then gain more)."""
    equal = np.r_[0.0, np.cumsum(num.sum(0))]
    return _area(x, y) - _area(x, equal * (y[-1] / equal[-1] if equal[-1] > 0 else 0.0))


def _weights(cells: Cells, rng: np.random.Generator, runs: int):
    for _ in range(runs):
        weights = np.zeros(len(cells.is_treated))
        for k in (False, True):
            inside = np.flatnonzero(cells.is_treated == k)
            weights[inside] = np.bincount(rng.integers(0, len(inside), len(inside)), minlength=len(inside))
        yield weights


def _resampled(values: np.ndarray, is_treated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.stack([weights[is_treated == k] @ values[is_treated == k] for k in (False, True)])
