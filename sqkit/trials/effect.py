"""What a trial did: the difference of two arms of whole clusters, with its interval and the relative lift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import ContractError, InputError, unknown
from sqkit.stats import ENOUGH
from sqkit.stats.interval import check_level
from sqkit.trials.regression import columns, fit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clusters", "Effect", "clusters_of", "effect", "effect_of"]

COLLAPSE_FROM = 5_000  # from so many clusters of one unit, equal ones become one row with a count


@dataclass(frozen=True)
class Clusters:
    """Cluster sums of a trial with two arms; arrays of equal length.

    Attributes
    ----------
    num, den : ndarray
        Sums of the outcome and of what it is divided by.
    is_treated : ndarray of bool
    stratum : ndarray of int or None
        Codes from 0.
    pre_num, pre_den : ndarray or None
        The same sums in the pre-period.
    units : ndarray
        Rows of the frame behind each cluster.
    names : ndarray
        Cluster ids.
    """

    num: np.ndarray
    den: np.ndarray
    is_treated: np.ndarray
    stratum: np.ndarray | None
    pre_num: np.ndarray | None
    pre_den: np.ndarray | None
    units: np.ndarray
    names: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        return np.divide(self.num, self.den, out=np.zeros(len(self.num)), where=self.den > 0)

    @property
    def pre(self) -> np.ndarray | None:
        """Rate in the pre-period; clusters without one have the mean of all."""
        if self.pre_num is None:
            return None
        total = self.pre_den.sum()
        mean = self.pre_num.sum() / total if total > 0 else 0.0
        return np.divide(self.pre_num, self.pre_den, out=np.full(len(self.num), mean), where=self.pre_den > 0)


@dataclass(frozen=True)
class Effect:
    """The effect of one treated arm on one outcome.

    Attributes
    ----------
    outcome : str
    control, treated : float
        The arms' own ratios ``sum(outcome) / sum(denominator)``, not adjusted for anything.
    difference, low, high, se, df, p : float
        Treated less control, adjusted for strata and pre-period where given; two-sided p of no difference.
    lift, lift_low, lift_high : float
        Difference over the control arm's ratio (adjusted alike), with Fieller's interval; NaN where it is unbounded.
    level : float
    n_control, n_treated : int
        Units (rows of the frame).
    clusters_control, clusters_treated : int
    reduction : float
        Share of the variance that strata and pre-period took away; 0 without them, negative where they cost more than they brought.
    method : str
        ``cr2``, with ``_strata`` and ``_cuped`` where used.
    is_enough : bool
        At least 8 clusters in each arm and 5 effective contributors to the outcome.
    note : str
        Why there is not enough: ``no_data``, ``few_clusters``, ``few_events``, else ''.
    """

    outcome: str
    control: float
    treated: float
    difference: float
    low: float
    high: float
    se: float
    df: float
    p: float
    lift: float
    lift_low: float
    lift_high: float
    level: float
    n_control: int
    n_treated: int
    clusters_control: int
    clusters_treated: int
    reduction: float
    method: str
    is_enough: bool
    note: str


def clusters_of(
    frame: pd.DataFrame, *, outcome: str, denominator: str | None = None, cluster: str = "cluster_id", arm: str = "arm",
    control: str = "holdout", treated: str = "treated", stratum: str | None = None, pre: str | None = None,
    pre_denominator: str | None = None,
) -> Clusters:  # fmt: skip
    """Add units up to clusters; arguments are those of :func:`effect`."""
    import pandas as pd

    used = dict.fromkeys(c for c in (outcome, denominator, cluster, arm, stratum, pre, pre_denominator) if c)
    missing = [c for c in used if c not in frame]
    if missing:
        raise ContractError(
            "trial", [f"column {c!r} is missing; given: {', '.join(map(str, frame.columns)) or '(none)'}" for c in missing]
        )
    arms = [str(a) for a in frame[arm].dropna().unique()]
    for name in (control, treated):
        if name not in arms:
            raise InputError(unknown("arm", name, sorted(arms), "the trial's assignments"))
    if control == treated:
        raise InputError(f"control and treated are both {control!r}; a comparison takes two arms.")
    kept = frame[frame[arm].isin([control, treated])]
    _check_numbers(kept, outcome, [c for c in (denominator, pre_denominator) if c], pre)
    codes, names = pd.factorize(kept[cluster])
    if (codes < 0).any():
        raise ContractError("trial", [f"{cluster} is empty in {int((codes < 0).sum())} rows; give each unit its cluster"])
    n = len(names)
    is_treated = (kept[arm] == treated).to_numpy()
    units = np.bincount(codes, minlength=n)
    share = np.bincount(codes, is_treated, n) / units
    if ((share > 0) & (share < 1)).any():
        mixed = [str(x) for x in names[(share > 0) & (share < 1)][:3]]
        raise InputError(
            f"clusters {', '.join(mixed)} stand in both arms; name as `{cluster}` the units that were drawn (members, groups or stores)."
        )

    def total(column: str | None) -> np.ndarray:
        return units.astype(float) if column is None else np.bincount(codes, kept[column].to_numpy(float), n)

    strata = None
    if stratum is not None:
        first = np.zeros(n, int)
        own, levels = pd.factorize(kept[stratum].fillna(""), sort=True)
        first[codes] = own
        if (first[codes] != own).any():
            raise InputError(f"a cluster lies in two strata of {stratum!r}; strata are of whole clusters.")
        strata = first if len(levels) > 1 else None
    before = (None, None) if pre is None else (total(pre), total(pre_denominator or denominator))
    return Clusters(total(outcome), total(denominator), share > 0.5, strata, *before, units, np.asarray(names))


def effect(
    frame: pd.DataFrame, *, outcome: str, denominator: str | None = None, cluster: str = "cluster_id", arm: str = "arm",
    control: str = "holdout", treated: str = "treated", stratum: str | None = None, pre: str | None = None,
    pre_denominator: str | None = None, level: float = 0.95,
) -> Effect:  # fmt: skip
    """Estimate what the treated arm did to ``sum(outcome) / sum(denominator)``.

    Causal where the arms were drawn at random at the level of `cluster`; otherwise only a comparison.

    Parameters
    ----------
    frame : DataFrame
        One row per unit (member, group, store), columns as named below; money in fen.
    outcome, denominator : str
        Without a denominator the outcome is per unit (row). With one it is a ratio metric: orders per member where rows are groups,
        value per order.
    cluster : str
        What was drawn. Units of a cluster share chance; only clusters are independent.
    arm, control, treated : str
        Column, and the two arms compared; other arms take no part.
    stratum : str, optional
        Stratum of the draw.
    pre, pre_denominator : str, optional
        The outcome in a window before the draw (CUPED: Deng and others 2013, WSDM); its denominator is `denominator` unless named.

    Returns
    -------
    Effect
        Difference by least squares of clusters weighted by their denominators, variance CR2, Satterthwaite's degrees of freedom
        (:mod:`sqkit.trials.regression`). False positives 4-6% from 20 clusters an arm: ``benchmarks/readout_calibration.py``.

    Raises
    ------
    ContractError
        Missing columns; values that are not numbers; a negative denominator.
    InputError
        Unknown arms, or a cluster in both arms or in two strata.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"unit": range(8), "arm": ["holdout", "treated"] * 4, "orders": [1, 3, 2, 4, 1, 3, 2, 4]})
    >>> found = effect(rows, outcome="orders", cluster="unit")
    >>> found.difference, found.clusters_treated, found.note
    (2.0, 4, 'few_clusters')
    """
    made = clusters_of(
        frame, outcome=outcome, denominator=denominator, cluster=cluster, arm=arm, control=control, treated=treated, stratum=stratum,
        pre=pre, pre_denominator=pre_denominator,
    )  # fmt: skip
    return effect_of(made, outcome, level)


def effect_of(made: Clusters, outcome: str, level: float = 0.95) -> Effect:
    """Estimate the effect from cluster sums; see :func:`effect`."""
    check_level(level)
    side = [made.is_treated == k for k in (False, True)]
    ratio = [_over(made.num[s].sum(), made.den[s].sum()) for s in side]
    used = [int((made.den[s] > 0).sum()) for s in side]
    units = [int(made.units[s].sum()) for s in side]
    note = _note(made, used)
    found = _fitted(made, made.stratum, made.pre)
    method = "cr2" + ("_strata" if made.stratum is not None else "") + ("_cuped" if made.pre is not None else "")
    reduction = 0.0
    if method != "cr2":
        plain = float(_fitted(made, None, None).v11)
        reduction = 1 - float(found.v11) / plain if plain > 0 else 0.0
    value, se, df = float(found.difference), float(found.se), float(found.df)
    if min(used) < 2 or not (se > 0 and math.isfinite(df)):
        nothing = [math.nan] * 4
        value = ratio[1] - ratio[0]
        lift = _over(value, ratio[0])
        return Effect(
            outcome, *ratio, value, *nothing[:3], math.nan, math.nan, lift, math.nan, math.nan, level, *units, *used, 0.0, method,
            False, note or "few_events",
        )  # fmt: skip
    low, high = (float(x) for x in found.bounds(level))
    lift = _over(value, float(found.control))
    ends = (float(x) for x in found.lift_bounds(level))
    return Effect(
        outcome,
        *ratio,
        value,
        low,
        high,
        se,
        df,
        float(found.p),
        lift,
        *ends,
        level,
        *units,
        *used,
        reduction,
        method,
        not note,
        note,
    )


def _fitted(made: Clusters, stratum: np.ndarray | None, pre: np.ndarray | None):
    rate, weights, treated, count = made.rate, made.den, made.is_treated, 1.0
    if len(rate) >= COLLAPSE_FROM:
        keys = [rate, weights, treated, *([] if stratum is None else [stratum]), *([] if pre is None else [pre])]
        table, count = np.unique(np.stack([np.asarray(k, float) for k in keys]), axis=1, return_counts=True)
        rate, weights, treated = table[:3]
        stratum = None if stratum is None else table[3].astype(int)
        pre = None if pre is None else table[-1]
    return fit(rate, weights, columns(weights, treated, stratum, pre, count), count)


def _note(made: Clusters, used: list[int]) -> str:
    if min(used) == 0:
        return "no_data"
    if min(used) < ENOUGH.clusters:
        return "few_clusters"
    squares = [(made.num[made.is_treated == k] ** 2).sum() for k in (False, True)]
    totals = [made.num[made.is_treated == k].sum() ** 2 for k in (False, True)]
    return "few_events" if max(_over(t, s) if s else 0.0 for t, s in zip(totals, squares, strict=True)) < ENOUGH.events else ""


def _over(a: float, b: float) -> float:
    return float(a / b) if b else math.nan


def _check_numbers(frame: pd.DataFrame, outcome: str, dens: list[str], pre: str | None) -> None:
    problems = []
    for name in [outcome, *dens, *([pre] if pre else [])]:
        values = frame[name].to_numpy(float)
        bad = int((~np.isfinite(values)).sum())
        if bad:
            problems.append(f"{name} is empty or infinite in {bad} rows; an outcome that did not happen is 0")
        if name in dens and (values < 0).any():
            problems.append(f"{name} is negative in {int((values < 0).sum())} rows; allowed from 0")
    if problems:
        raise ContractError("trial", problems)
