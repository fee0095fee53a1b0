"""Intervals for proportions, ratios, totals and their comparisons, from aggregated blocks.

**Blocks.** A ratio is ``sum(num) / sum(den)`` over independent clusters (groups, stores, or members alone). A frame has one
row per named cluster, plus rows that stand for many clusters of one (members without a group):

=============  ================================================================================
n_clusters     clusters in the row (1 for a named cluster)
n_units        people, orders ... behind the denominator
num, den       sums of numerator N and denominator D
num_sq         sum over the row's clusters of N^2  (read only where n_clusters > 1)
num_den        sum of N D                          (read only where n_clusters > 1)
den_sq         sum of D^2                          (read only where n_clusters > 1)
=============  ================================================================================

**Joint blocks** compare two ratios over the same clusters (a: before or first, b: after or second): ``n_clusters``,
``n_units_a``, ``n_units_b`` (or one ``n_units``), the five columns above with suffix ``_a`` and ``_b``, and for rows with
n_clusters > 1 the cross moments ``num_a_num_b, num_a_den_b, den_a_num_b, den_a_den_b``. A cluster that exists on one side only
has zeros on the other. :func:`independent` makes joint blocks of two frames that share no cluster.

Every interval is descriptive: it says how far the value could be off had other clusters been drawn, nothing causal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sqkit.errors import InputError, unknown
from sqkit.stats import scales
from sqkit.stats.clusters import PAIR_ICC, WORKING_ICC, Cross, Side, cross_from, side_from, spread
from sqkit.stats.interval import Interval, check_level, nothing
from sqkit.stats.rules import ENOUGH, remark

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Estimate",
    "compare",
    "difference_interval",
    "estimate",
    "independent",
    "multiple_interval",
    "ratio_interval",
    "total_interval",
]

Kind = Literal["proportion", "ratio"]


@dataclass(frozen=True)
class Estimate:
    """What an interval is made of, elementwise over simulated data sets (reports use a single one)."""

    value: np.ndarray
    se: np.ndarray
    df: np.ndarray
    scale: np.ndarray
    n: np.ndarray
    n_clusters: np.ndarray
    effective_clusters: np.ndarray
    n_eff: np.ndarray
    contributors: np.ndarray

    def bounds(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        return scales.bounds(self.scale, self.value, self.se, self.df, level, self.n_eff)

    def p_value(self, theta: float) -> np.ndarray:
        return scales.p_value(self.scale, self.value, self.se, self.df, theta, self.n_eff)


def estimate(side: Side, kind: Kind) -> Estimate:
    """Estimate one ratio: score or exact scale for a proportion, log scale for a positive ratio, linear otherwise."""
    den = side.den.sum(-1)
    value, n, effective = side.value, side.units.sum(-1), side.effective_clusters
    with np.errstate(divide="ignore", invalid="ignore"):
        made = spread([side], [1 / den], icc=WORKING_ICC)
        if kind == "proportion":
            size = np.where(made.variance > 0, value * (1 - value) / made.variance, np.inf)
            # Few events tell little of the design effect, none tell nothing: the working model bounds it.
            prior = n / (1 + WORKING_ICC * np.maximum(n / effective - 1, 0))
            rare = ~(np.minimum(value, 1 - value) * size >= ENOUGH.exact_below) | ~np.isfinite(size)
            n_eff = np.where(rare, np.minimum(size, prior), size)
            scale, contributors = np.where(rare, "exact", "score"), np.minimum(value, 1 - value) * size
            contributors = np.where(np.isfinite(contributors), contributors, 0.0)
        else:
            scale, n_eff, contributors = np.where(value > 0, "log", "linear"), np.full_like(value, np.nan), side.contributors()
        se = np.sqrt(made.variance)
    return Estimate(value, se, made.df, scale, n, side.count.sum(-1), effective, n_eff, contributors)


def compare(a: Side, b: Side, cross: Cross, kind: Literal["proportion", "ratio", "multiple"]) -> Estimate:
    """Estimate ``R_b - R_a`` on the linear scale, or for ``multiple`` ``R_a / R_b`` on the log scale."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "multiple":
            value, scale = a.value / b.value, "log"
            made = spread([a, b], [1 / a.num.sum(-1), -1 / b.num.sum(-1)], cross, icc=PAIR_ICC)
            se = value * np.sqrt(made.variance)
        else:
            value, scale = b.value - a.value, "linear"
            made = spread([a, b], [-1 / a.den.sum(-1), 1 / b.den.sum(-1)], cross, icc=PAIR_ICC)
            se = np.sqrt(made.variance)
    behind = [s.contributors() for s in (a, b)]
    if kind == "proportion":
        behind += [s.contributors(complement=True) for s in (a, b)]
    clusters = np.minimum(*(np.where(s.den > 0, s.count, 0).sum(-1) for s in (a, b)))
    effective = np.minimum(a.effective_clusters, b.effective_clusters)
    n = a.units.sum(-1) + b.units.sum(-1)
    none = np.full_like(value, np.nan)
    return Estimate(value, se, made.df, np.full(value.shape, scale), n, clusters, effective, none, np.minimum.reduce(behind))


def _interval(made: Estimate, rule: str, level: float, units: float) -> Interval:
    """Turn a single estimate into an interval and judge by the stated rules whether there is enough data for it."""
    value, se, n_eff, scale = float(made.value), float(made.se), float(made.n_eff), str(made.scale)
    clusters, effective, contributors = float(made.n_clusters), float(made.effective_clusters), float(made.contributors)
    inexact = None if scale == "exact" else np.inf if scale == "score" else contributors
    reason = ENOUGH.reason(units=units, clusters=clusters, effective=effective, contributors=inexact)
    low, high = (float(bound) for bound in made.bounds(level))
    if not (np.isfinite([low, high]).all() and low < high):
        low, high, reason = np.nan, np.nan, reason or "few_events"
    note, coverage = reason, None
    if not reason:
        note, coverage = remark(rule, clusters=clusters, effective=effective, contributors=contributors)
    design = None if np.isnan(n_eff) else float(made.n) / n_eff
    return Interval(
        value, low, high, level, float(made.n), clusters, effective, float(made.df), se, f"cr2_{scale}", design, not reason, note,
        coverage, scale, n_eff,
    )  # fmt: skip


def ratio_interval(blocks: pd.DataFrame, *, kind: Kind, level: float = 0.95) -> Interval:
    """Return the cluster-robust interval of ``sum(num) / sum(den)``.

    CR2 variance and Satterthwaite degrees of freedom (:mod:`sqkit.stats.clusters`). A proportion uses Wilson's score form with
    the effective sample size and Student's t, so it stays in [0, 1]; with fewer than 10 effective successes or failures,
    Clopper-Pearson on the effective size, never more than a design effect with an ICC of .05 allows (Korn and Graubard 1998).
    A ratio is symmetric on the log scale (linear where it is not positive).

    Parameters
    ----------
    blocks : DataFrame
        Grain and columns as in the module's docstring.
    kind : {"proportion", "ratio"}
        ``proportion`` when the numerator counts some of the denominator's units.

    Raises
    ------
    ContractError
        If columns are missing or hold NaN, infinite or impossible values.
    InputError
        If `kind` or `level` is not one that is allowed.
    """
    check_level(level)
    _check_kind(kind)
    side = side_from(blocks, proportion=kind == "proportion")
    if not side.den.sum() > 0:
        return nothing(level, "cr2")
    return _interval(estimate(side, kind), kind, level, float(side.units.sum()))


def total_interval(blocks: pd.DataFrame, *, level: float = 0.95) -> Interval:
    """Return the interval of ``sum(num)``, a flow such as sales, given the exposure ``den`` of each cluster.

    The exposure (members, days open) is held fixed: this is the interval of ``num / den`` times the total exposure. With
    ``den = 1`` per cluster the clusters' sizes count as chance as well.
    """
    rate = ratio_interval(blocks, kind="ratio", level=level)
    exposure = float(blocks["den"].sum())
    return rate.scaled(exposure) if exposure > 0 else rate


def difference_interval(joint: pd.DataFrame, *, kind: Kind, level: float = 0.95) -> Interval:
    """Return the interval of ``R_b - R_a``, the same ratio on two sides (periods, arms) of joint blocks.

    Clusters present on both sides are paired: what they share cancels. CR2 and Satterthwaite df on the linearised difference.
    """
    _check_kind(kind)
    return _compared(joint, kind, "difference", level)


def multiple_interval(joint: pd.DataFrame, *, level: float = 0.95) -> Interval:
    """Return the interval of ``R_a / R_b`` on the log scale, e.g. orders per private buyer over orders per public buyer."""
    return _compared(joint, "multiple", "multiple", level)


def _compared(joint: pd.DataFrame, kind: str, rule: str, level: float) -> Interval:
    check_level(level)
    a, b = (side_from(joint, suffix, proportion=kind == "proportion", joint=True) for suffix in ("_a", "_b"))
    if not (a.den.sum() > 0 and b.den.sum() > 0):
        return nothing(level, "cr2")
    smaller = min(float(side.units.sum()) for side in (a, b))
    return _interval(compare(a, b, cross_from(joint, a, b), kind), rule, level, smaller)


def independent(blocks_a: pd.DataFrame, blocks_b: pd.DataFrame) -> pd.DataFrame:
    """Return joint blocks of two frames that share no cluster: each row has zeros on the other side."""
    import pandas as pd

    own = ["n_units", "num", "den", "num_sq", "num_den", "den_sq"]
    sides = [f.rename(columns={c: f"{c}{s}" for c in own}) for f, s in ((blocks_a, "_a"), (blocks_b, "_b"))]
    crossed = ("num_a_num_b", "num_a_den_b", "den_a_num_b", "den_a_den_b")
    return pd.concat(sides, ignore_index=True).fillna(0).assign(**dict.fromkeys(crossed, 0.0))


def _check_kind(kind: str) -> None:
    if kind not in ("proportion", "ratio"):
        raise InputError(unknown("kind of interval", kind, ["proportion", "ratio"]))
