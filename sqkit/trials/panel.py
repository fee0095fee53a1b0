"""Effects without a draw of lots: difference in differences and synthetic control over groups or stores, each with a placebo.

A panel is a matrix of counts, one row per unit (group, store), one column per period of equal length. Both methods work on relative
changes: a season that lifts everyone by a tenth cancels whatever the size of a unit. Both are causal only under the assumption that
treated and untreated units would have moved alike; the placebo in time asks whether they did before.

Sources: Bertrand, Duflo and Mullainathan (2004) for collapsing the periods; Abadie, Diamond and Hainmueller (2010) and Ferman and
Pinto (2021, demeaned) for synthetic control; Fisher's randomisation test for its placebo in space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import InputError
from sqkit.stats import Interval, independent, multiple_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEAST_PRE", "PanelEffect", "difference_in_differences", "synthetic_control"]

LEAST_PRE = {"did": 4, "synthetic": 8}  # periods before the start, and never fewer than those after it
LEAST_P = 0.05  # a placebo in space needs enough other assignments to get below this
WIDEST = 4.0  # the search for an interval ends at lifts of a fifth and of five times


@dataclass(frozen=True)
class PanelEffect:
    """What a panel says about one start.

    Attributes
    ----------
    method : {"did", "synthetic"}
    lift, low, high : float
        Relative change against what would have been expected, and its interval; NaN where it cannot be told.
    p : float
    pretrend_p : float
        The same analysis on a start in the middle of the time before; small where the units moved apart already. For synthetic
        control the smaller of that and of the placebo rank of the slope of the gap before.
    n_treated, n_control, n_pre, n_post : int
    reason : str
        '' or why there is no answer: ``short_pre``, ``few_units``, ``no_events``, ``pretrend``.
    """

    method: str
    lift: float
    low: float
    high: float
    p: float
    pretrend_p: float
    n_treated: int
    n_control: int
    n_pre: int
    n_post: int
    reason: str = ""

    @property
    def is_told(self) -> bool:
        return not self.reason


def _checked(counts: np.ndarray, treated: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    counts, treated = np.asarray(counts, float), np.asarray(treated, bool)
    if counts.ndim != 2 or treated.shape != counts.shape[:1]:
        raise InputError(f"a panel is units x periods with one flag per unit, got {counts.shape} and {treated.shape}.")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError(
            f"a panel holds counts or sums from 0 up; {int((~np.isfinite(counts) | (counts < 0)).sum())} cells break that."
        )
    if not 0 < start < counts.shape[1]:
        raise InputError(f"start is {start}; allowed: 1 to {counts.shape[1] - 1}, the period in which the campaign begins.")
    return counts, treated


def _unknown(method: str, treated: np.ndarray, start: int, periods: int, reason: str) -> PanelEffect:
    nan = float("nan")
    return PanelEffect(method, nan, nan, nan, nan, nan, int(treated.sum()), int((~treated).sum()), start, periods - start, reason)


def _moved(counts: np.ndarray, treated: np.ndarray, start: int, level: float) -> Interval:
    """Return the ratio of two relative changes, treated over untreated, units as clusters."""
    before, after = counts[:, :start].sum(1), counts[:, start:].sum(1)
    return multiple_interval(
        independent(_side(after[treated], before[treated]), _side(after[~treated], before[~treated])), level=level
    )


def _side(num: np.ndarray, den: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {"n_clusters": 1.0, "n_units": den, "num": num, "den": den, "num_sq": num**2, "num_den": num * den, "den_sq": den**2}
    )


def difference_in_differences(counts: np.ndarray, treated: np.ndarray, start: int, *, level: float = 0.95) -> PanelEffect:
    """Compare the relative change of treated units with that of the others.

    Parameters
    ----------
    counts : ndarray
        Units x periods: orders, leads, sums of money.
    treated : ndarray of bool
        One per unit.
    start : int
        First period of the campaign; all columns before it are the time before.

    Notes
    -----
    ``(after / before of the treated) / (after / before of the others) - 1``. Whole units are the clusters and periods are summed,
    so serial correlation does no harm. Needs 8 units a side and a time before that is at least as long as the time after.

    Raises
    ------
    InputError
        If the panel has the wrong shape, holds what is no count, or the start leaves no time before or after.
    """
    counts, treated = _checked(counts, treated, start)
    periods = counts.shape[1]
    if start < max(LEAST_PRE["did"], periods - start):
        return _unknown("did", treated, start, periods, "short_pre")
    made = _moved(counts, treated, start, level)
    if not made.enough:
        return _unknown("did", treated, start, periods, "no_events" if made.note in ("no_data", "few_events") else "few_units")
    past = _moved(counts[:, :start], treated, start // 2, level)
    pretrend = past.p_value(1.0) if past.enough else float("nan")
    found = PanelEffect(
        "did", made.value - 1, made.low - 1, made.high - 1, made.p_value(1.0), pretrend,
        int(treated.sum()), int((~treated).sum()), start, periods - start,
    )  # fmt: skip
    return replace(found, reason="pretrend") if pretrend < LEAST_P else found


def synthetic_control(
    counts: np.ndarray, treated: np.ndarray, start: int, *, rng: np.random.Generator, level: float = 0.95, most: int = 999
) -> PanelEffect:
    """Compare the treated units with the mix of the others that moved like them before.

    Each unit is divided by its own mean before the start; the mean of the treated is fitted by weights from 0 that sum to 1. The
    placebo in space does the same for other choices of as many units (all of them where there are at most `most`, otherwise as many
    drawn): p is the share with a relative gap, after over before, at least as large. The interval holds the lifts that this test does
    not reject. Exact where which units were treated is as good as random; otherwise a description. Nothing is said (``pretrend``) where
    the gap before has a slope, or its second half lies off a fit to its first, as hardly any other choice of units has.

    Raises
    ------
    InputError
        As for :func:`difference_in_differences`.
    """
    counts, treated = _checked(counts, treated, start)
    periods, n, m = counts.shape[1], len(treated), int(treated.sum())
    if start < max(LEAST_PRE["synthetic"], periods - start):
        return _unknown("synthetic", treated, start, periods, "short_pre")
    if m < 1 or n - m < 2 or 1 / min(comb(n, m), most + 1) > LEAST_P:
        return _unknown("synthetic", treated, start, periods, "few_units")
    mean = counts[:, :start].mean(1)
    if not (mean > 0).all():
        return _unknown("synthetic", treated, start, periods, "no_events")
    index = counts / mean[:, None]
    contrasts, misses = _contrasts(index[:, :start], _choices(treated, most, rng))
    after = index[:, start:].mean(1)

    def p_at(log_lift: float) -> float:
        gaps = np.abs(contrasts @ np.where(treated, after / np.exp(log_lift), after)) / misses
        return float((gaps >= gaps[0] * (1 - 1e-12)).mean())

    synthetic = float(after[treated].mean() - contrasts[0] @ after)
    centre = np.log(max(float(after[treated].mean()), 1e-9) / max(synthetic, 1e-9))
    ends = [_edge(p_at, centre, side, 1 - level) for side in (-1, 1)]
    half = start // 2
    past = np.abs(_halves(index[:, :start], half, _choices(treated, min(most, 199), rng)))
    week = np.arange(start) - (start - 1) / 2
    slopes = np.abs(contrasts @ (index[:, :start] @ week))
    ranks = [float((x >= x[0] * (1 - 1e-12)).mean()) for x in (past, slopes)]
    pretrend = min(ranks)
    found = PanelEffect(
        "synthetic", float(np.expm1(centre)), float(np.expm1(ends[0])), float(np.expm1(ends[1])), p_at(0.0), pretrend,
        m, n - m, start, periods - start,
    )  # fmt: skip
    return replace(found, reason="pretrend") if pretrend < LEAST_P else found


def _halves(before: np.ndarray, half: int, choices: np.ndarray) -> np.ndarray:
    """Return the relative gaps in the second half of the time before, fitted on its first half, of every choice of units."""
    first = before[:, :half] / np.maximum(before[:, :half].mean(1, keepdims=True), 1e-9)
    second = before[:, half:].mean(1) / np.maximum(before[:, :half].mean(1), 1e-9)
    contrasts, misses = _contrasts(first, choices)
    return (contrasts @ second) / misses


def _choices(treated: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return choices x units of flags, the real one first."""
    n, m = len(treated), int(treated.sum())
    if comb(n, m) <= most + 1:
        rows = np.zeros((comb(n, m), n), bool)
        for row, chosen in zip(rows, combinations(range(n), m), strict=True):
            row[list(chosen)] = True
        same = (rows == treated).all(1)
        return np.r_[rows[same], rows[~same]]
    rows = np.zeros((most + 1, n), bool)
    rows[0] = treated
    order = np.argsort(rng.random((most, n)), axis=1)[:, :m]
    np.put_along_axis(rows[1:], order, True, axis=1)
    return rows


def _contrasts(before: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per choice the vector whose product with the units' values is the gap, and the root mean squared gap before."""
    from scipy.optimize import nnls

    contrasts = np.zeros(choices.shape)
    heavy = 1e3  # pins the sum of the weights to 1 inside the least squares
    for chosen, row in zip(choices, contrasts, strict=True):
        target, pool = before[chosen].mean(0), before[~chosen]
        weights, _ = nnls(np.r_[pool.T, np.full((1, len(pool)), heavy)], np.r_[target, heavy])
        row[chosen] = 1 / chosen.sum()
        row[~chosen] = -weights / max(weights.sum(), 1e-9)
    misses = np.sqrt(((contrasts @ before) ** 2).mean(1))
    return contrasts, np.maximum(misses, 1e-6)


def _edge(p_at, centre: float, side: int, alpha: float) -> float:
    """Return where the test begins to reject on one side of the estimate, by bisection over the log of the lift."""
    far = centre + side * np.log(1 + WIDEST)
    if p_at(far) > alpha:
        return side * float("inf")
    near = centre
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if p_at(middle) > alpha else (near, middle)
    return far
