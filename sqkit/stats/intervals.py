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

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sqkit.errors import InputError, unknown
from sqkit.stats import scales
from sqkit.stats.clusters import WORKING_ICC, Side, cross_from, side_from, spread
from sqkit.stats.rules import ENOUGH, known_coverage

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Interval",
    "clopper_pearson",
    "difference_interval",
    "independent",
    "multiple_interval",
    "newcombe_difference",
    "ratio_interval",
    "total_interval",
    "wilson",
]

Kind = Literal["proportion", "ratio"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes
    ----------
    value, low, high : float
        Estimate and bounds; NaN where they cannot be told.
    level : float
        Nominal level.
    n : float
        Units behind the denominator (both sides of a comparison together).
    n_clusters, effective_clusters : float
        Independent clusters, and ``D^2 / sum D_g^2``: how many equal ones they are worth.
    df, se : float
        Degrees of freedom of Student's t (inf for the normal law) and standard error of `value`.
    method : str
        ``wilson``, ``clopper_pearson``, ``newcombe``, or ``cr2_score``, ``cr2_linear``, ``cr2_log``, ``effective_exact``.
    design_effect : float or None
        Variance over that of as many independent units (proportions only).
    enough : bool
        False where the rule :data:`sqkit.stats.ENOUGH` says there is not enough data.
    note : str
        '' or one of ``no_data``, ``few_clusters``, ``few_units``, ``few_events``, ``known_coverage``.
    coverage : float or None
        The simulated coverage of a nominal 95% interval like this one, where ``note`` is ``known_coverage``.
    """

    value: float
    low: float
    high: float
    level: float
    n: float
    n_clusters: float
    effective_clusters: float
    df: float
    se: float
    method: str
    design_effect: float | None = None
    enough: bool = True
    note: str = ""
    coverage: float | None = None
    scale: scales.Scale = "linear"
    n_eff: float = math.nan
    unit: float = 1.0
    parts: tuple[Interval, ...] = ()

    def at(self, level: float) -> Interval:
        """Return the same estimate with its interval at another level."""
        _check_level(level)
        if self.parts:
            low, high = _newcombe(*(part.at(level) for part in self.parts))
        else:
            low, high = scales.bounds(self.scale, self.value / self.unit, self.se / self.unit, self.df, level, self.n_eff)
        return replace(self, low=float(low) * self.unit, high=float(high) * self.unit, level=level)

    def p_value(self, theta: float) -> float:
        """Return the two-sided p-value of `theta`: the smallest alpha whose interval excludes it (1 where nothing is known)."""
        if math.isnan(self.low):
            return 1.0
        if self.parts:
            return _p_by_bisection(self, theta)
        value, se, theta = self.value / self.unit, self.se / self.unit, theta / self.unit
        return float(scales.p_value(self.scale, value, se, self.df, theta, self.n_eff))

    def scaled(self, factor: float) -> Interval:
        """Return the interval of `factor` (> 0, known) times the quantity, e.g. a rate times a number of people."""
        if not factor > 0:
            raise InputError(f"factor is {factor!r}; it must be greater than 0.")
        named = {name: getattr(self, name) * factor for name in ("value", "low", "high", "se", "unit")}
        return replace(self, **named)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; it must lie between 0 and 1, for example 0.95.")


def _check_counts(successes: float, n: float) -> None:
    if not (math.isfinite(successes) and math.isfinite(n) and 0 <= successes <= n):
        raise InputError(f"a proportion of {successes!r} successes in {n!r}: both must be finite with 0 <= successes <= n.")


def _nothing(level: float, method: str) -> Interval:
    nan = math.nan
    return Interval(nan, nan, nan, level, 0, 0, 0.0, nan, nan, method, None, False, "no_data")


def _plain(successes: float, n: float, level: float, method: str, scale: scales.Scale) -> Interval:
    _check_counts(successes, n)
    _check_level(level)
    if n == 0:
        return _nothing(level, method)
    p = float(successes / n)
    events = None if scale == "exact" else min(successes, n - successes)
    reason = ENOUGH.reason(units=n, clusters=n, effective=n, events=events)
    se = math.sqrt(p * (1 - p) / n)
    made = Interval(p, 0.0, 1.0, level, n, n, n, math.inf, se, method, 1.0, not reason, reason, None, scale, float(n))
    return made.at(level)


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a plain proportion of independent units.

    Source: Newcombe 1998, Statistics in Medicine 17:857, method 3.

    Raises
    ------
    InputError
        If not ``0 <= successes <= n`` or the level is not between 0 and 1.

    Examples
    --------
    >>> interval = wilson(81, 263)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2553, 0.3662)
    """
    return _plain(successes, n, level, "wilson", "score")


def clopper_pearson(x: float, n: float, level: float = 0.95) -> Interval:
    """Return the exact interval of a plain proportion; it covers at least `level`.

    Source: Clopper and Pearson 1934, Biometrika 26:404.
    """
    return _plain(x, n, level, "clopper_pearson", "exact")


def _newcombe(first: Interval, second: Interval) -> tuple[float, float]:
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return value - down, value + up


def newcombe_difference(x1: float, n1: float, x2: float, n2: float, level: float = 0.95) -> Interval:
    """Return the interval of ``x1/n1 - x2/n2`` of independent units by Newcombe's method 10.

    Source: Newcombe 1998, Statistics in Medicine 17:873.
    """
    parts = (wilson(x1, n1, level), wilson(x2, n2, level))
    if n1 == 0 or n2 == 0:
        return _nothing(level, "newcombe")
    low, high = _newcombe(*parts)
    reason = next((part.note for part in parts if part.note), "")
    value, se, n = parts[0].value - parts[1].value, math.hypot(parts[0].se, parts[1].se), n1 + n2
    return Interval(value, low, high, level, n, n, n, math.inf, se, "newcombe", None, not reason, reason, parts=parts)


def _p_by_bisection(interval: Interval, theta: float) -> float:
    inside, outside = 1.0, 0.0  # alpha at which theta is surely out, and surely in
    for _ in range(60):
        alpha = (inside + outside) / 2
        moved = interval.at(1 - alpha) if alpha < 1 else interval
        if moved.low < theta < moved.high:
            outside = alpha
        else:
            inside = alpha
    return inside


def ratio_interval(blocks: pd.DataFrame, *, kind: Kind, level: float = 0.95) -> Interval:
    """Return the cluster-robust interval of ``sum(num) / sum(den)``.

    CR2 variance and Satterthwaite degrees of freedom (:mod:`sqkit.stats.clusters`). A proportion uses Wilson's score form with
    the effective sample size and Student's t (Korn and Graubard 1998; Dean and Pagano 2015), so it stays in [0, 1]; with no
    success or no failure, Clopper-Pearson on an effective size that assumes the working ICC. A ratio uses the plain t interval.

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
    """
    _check_level(level)
    _check_kind(kind)
    side = side_from(blocks, proportion=kind == "proportion")
    return _one(side, kind, level)


def total_interval(blocks: pd.DataFrame, *, level: float = 0.95) -> Interval:
    """Return the interval of ``sum(num)``, a flow such as sales, given the exposure ``den`` of each cluster.

    The clusters' exposure (members, days open) is held fixed: the interval is that of ``num / den`` times the total exposure.
    With ``den = 1`` per cluster the clusters' sizes count as chance as well.
    """
    rate = ratio_interval(blocks, kind="ratio", level=level)
    exposure = float(blocks["den"].sum())
    return rate.scaled(exposure) if exposure > 0 else rate


def _check_kind(kind: str) -> None:
    if kind not in ("proportion", "ratio"):
        raise InputError(unknown("kind of interval", kind, ["proportion", "ratio"]))


def _one(side: Side, kind: Kind, level: float) -> Interval:
    exposure = float(side.den.sum())
    if not exposure > 0:
        return _nothing(level, "cr2")
    value, units, clusters = float(side.value), float(side.units.sum()), float(side.count.sum())
    effective = float(side.effective_clusters)
    made = spread([side], [1 / side.den.sum(-1)])
    se, df = math.sqrt(float(made.variance)), float(made.df)
    base = Interval(value, math.nan, math.nan, level, units, clusters, effective, df, se, "cr2_linear")
    if kind == "proportion":
        base = _proportion(base, side)
    events = min(value, 1 - value) * units if kind == "proportion" and base.scale != "exact" else None
    return _judged(base, kind, events, level)


def _proportion(base: Interval, side: Side) -> Interval:
    if base.se > 0:
        deff = base.se**2 / (base.value * (1 - base.value) / base.n)
        return replace(base, method="cr2_score", scale="score", design_effect=deff, n_eff=base.n / deff)
    # Clusters that all show the same rate tell nothing of the design effect: the working model supplies it.
    deff = 1 + WORKING_ICC * (base.n / base.effective_clusters - 1)
    return replace(base, method="effective_exact", scale="exact", design_effect=deff, n_eff=base.n / max(deff, 1.0))


def _judged(base: Interval, kind: str, events: float | None, level: float) -> Interval:
    reason = ENOUGH.reason(units=base.n, clusters=base.n_clusters, effective=base.effective_clusters, events=events)
    coverage = None if reason else known_coverage(kind, base.n_clusters)
    note = reason or ("known_coverage" if coverage is not None else "")
    sure = math.isfinite(base.se) and (base.se > 0 or base.scale == "exact")
    made = base.at(level) if sure else base
    return replace(made, enough=sure and not reason, note=note if sure or reason else "few_clusters", coverage=coverage)


def independent(blocks_a: pd.DataFrame, blocks_b: pd.DataFrame) -> pd.DataFrame:
    """Return joint blocks of two frames that share no cluster: each row has zeros on the other side."""
    import pandas as pd

    own = ["n_units", "num", "den", "num_sq", "num_den", "den_sq"]
    frames = []
    for blocks, suffix in ((blocks_a, "_a"), (blocks_b, "_b")):
        frames.append(blocks.rename(columns={c: f"{c}{suffix}" for c in own}))
    joint = pd.concat(frames, ignore_index=True).fillna(0)
    return joint.assign(**dict.fromkeys(("num_a_num_b", "num_a_den_b", "den_a_num_b", "den_a_den_b"), 0.0))


def difference_interval(joint: pd.DataFrame, *, kind: Kind, level: float = 0.95) -> Interval:
    """Return the interval of ``R_b - R_a`` of the same ratio on two sides (periods, domains) of joint blocks.

    Clusters present on both sides are paired: what they share cancels. CR2 and Satterthwaite df on the linearised difference.
    """
    _check_level(level)
    _check_kind(kind)
    return _two(joint, kind, level, logarithm=False)


def multiple_interval(joint: pd.DataFrame, *, level: float = 0.95) -> Interval:
    """Return the interval of ``R_a / R_b`` on the log scale, e.g. orders per private buyer over orders per public buyer."""
    _check_level(level)
    return _two(joint, "ratio", level, logarithm=True)


def _two(joint: pd.DataFrame, kind: Kind, level: float, *, logarithm: bool) -> Interval:
    a, b = (side_from(joint, s, proportion=kind == "proportion", joint=True) for s in ("_a", "_b"))
    method = "cr2_log" if logarithm else "cr2_linear"
    if not (a.den.sum() > 0 and b.den.sum() > 0) or (logarithm and not (a.num.sum() > 0 and b.num.sum() > 0)):
        return _nothing(level, method)
    cross = cross_from(joint, a, b)
    if logarithm:
        value = float(a.value / b.value)
        made = spread([a, b], [1 / a.num.sum(-1), -1 / b.num.sum(-1)], cross)
        se = value * math.sqrt(float(made.variance))
    else:
        value = float(b.value - a.value)
        made = spread([a, b], [-1 / a.den.sum(-1), 1 / b.den.sum(-1)], cross)
        se = math.sqrt(float(made.variance))
    clusters = min(float(s.count[s.den > 0].sum()) for s in (a, b))
    effective = min(float(a.effective_clusters), float(b.effective_clusters))
    units = [float(s.units.sum()) for s in (a, b)]
    scale = "log" if logarithm else "linear"
    base = Interval(value, math.nan, math.nan, level, sum(units), clusters, effective, float(made.df), se, method, scale=scale)
    events = None
    if kind == "proportion":
        events = min(min(float(s.value), 1 - float(s.value)) * u for s, u in zip((a, b), units, strict=True))
    return _judged(base, "difference" if not logarithm else "multiple", events, level)
