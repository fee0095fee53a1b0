"""What a trial did: the difference of two arms of whole clusters, with its interval and the relative lift."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import ContractError, InputError, unknown
from sqkit.stats import ENOUGH
from sqkit.stats.interval import check_level
from sqkit.trials.regression import columns, fit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clusters", "Effect", "clusters_of", "effect", "effect_of", "is_missing"]

COLLAPSE_FROM = 5_000  # from so many clusters of one unit, equal ones become one row with a count
UNEVEN_BELOW = 0.05  # shares without outcome that differ so clearly between arms end the reading; refusing too often does no harm


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
        Means of the arms, ``sum(outcome) / sum(denominator)``; with strata or a pre-period both as the model has them at the pooled mean
        of these, so that ``treated - control`` is the difference and their ratio the lift.
    difference, low, high, se, df, p : float
        Treated less control, adjusted for strata and pre-period where given; two-sided p of no difference.
    lift, lift_low, lift_high : float
        Difference over `control` with Fieller's interval; all three NaN where `control` is not above 0 or the interval has no end: then
        only the difference can be told.
    level : float
    n_control, n_treated : int
        Units (rows of the frame) with an outcome.
    clusters_control, clusters_treated : int
    reduction : float
        Share of the variance that strata and pre-period took away; 0 without them, negative where they cost more than they brought.
    method : str
        ``cr2``, with ``_strata`` and ``_cuped`` where used.
    is_enough : bool
        At least 8 clusters in each arm and 5 effective contributors to the outcome.
    note : str
        Why there is not enough: ``no_data``, ``few_clusters``, ``few_events``, else ''; ``missing_outcomes`` where outcomes lack in
        one arm more than in the other, and then nothing is estimated.
    n_missing : int
        Units left out because their outcome (or what it is divided by) was not recorded.
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
    n_missing: int = 0

    @property
    def is_lift_told(self) -> bool:
        """Whether the relative lift has a bounded interval; else only the difference is told."""
        return all(math.isfinite(x) for x in (self.lift, self.lift_low, self.lift_high))


def is_missing(frame: pd.DataFrame, outcome: str, denominator: str | None = None) -> np.ndarray:
    """Return which rows lack the outcome or what it is divided by (NaN, None)."""
    return frame[[outcome, *([denominator] if denominator else [])]].isna().any(axis=1).to_numpy()


def clusters_of(
    frame: pd.DataFrame, *, outcome: str, denominator: str | None = None, cluster: str = "cluster_id", arm: str = "arm",
    control: str = "holdout", treated: str = "treated", stratum: str | None = None, pre: str | None = None,
    pre_denominator: str | None = None,
) -> Clusters:  # fmt: skip
    """Add units up to clusters; arguments are those of :func:`effect`. Units without an outcome are left out."""
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
    kept = kept[~is_missing(kept, outcome, denominator)]
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
        One row per unit (member, group, store), columns as named below; money in fen. An outcome that did not happen is 0; one that was
        not recorded is NaN: where the share of these differs between the arms (p < .05, or an arm has none at all) nothing is
        estimated (``missing_outcomes``), else such units are left out and counted.
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
        Missing columns; infinite values; an empty pre-period; a negative denominator.
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
    draw = {"cluster": cluster, "arm": arm, "control": control, "treated": treated}
    made = clusters_of(
        frame, outcome=outcome, denominator=denominator, stratum=stratum, pre=pre, pre_denominator=pre_denominator, **draw
    )
    kept = frame[frame[arm].isin([control, treated])]
    lacks = is_missing(kept, outcome, denominator)
    if not lacks.any():
        return effect_of(made, outcome, level)
    sides = [lacks[(kept[arm] == name).to_numpy()] for name in (control, treated)]
    if any(side.all() for side in sides) or _is_uneven(kept.assign(_lacks=lacks.astype(float)), draw):
        nan, none = math.nan, [int((~side).sum()) for side in sides]
        used = [int((made.den[made.is_treated == k] > 0).sum()) for k in (False, True)]
        return Effect(outcome, *[nan] * 11, level, *none, *used, 0.0, "none", False, "missing_outcomes", int(lacks.sum()))
    return replace(effect_of(made, outcome, level), n_missing=int(lacks.sum()))


def _is_uneven(frame: pd.DataFrame, draw: dict[str, str]) -> bool:
    """Say whether the share without outcome differs between the arms, clusters being what was drawn; so too where it cannot be tested."""
    found = effect_of(clusters_of(frame, outcome="_lacks", **draw), "_lacks")
    return found.p < UNEVEN_BELOW if math.isfinite(found.p) else abs(found.difference) > 1e-9


def effect_of(made: Clusters, outcome: str, level: float = 0.95) -> Effect:
    """Estimate the effect from cluster sums; see :func:`effect`."""
    check_level(level)
    side = [made.is_treated == k for k in (False, True)]
    ratio = [_over(made.num[s].sum(), made.den[s].sum()) for s in side]
    used = [int((made.den[s] > 0).sum()) for s in side]
    counts = (level, *(int(made.units[s].sum()) for s in side), *used)
    note, nan = _note(made, used), math.nan
    method = "cr2" + ("_strata" if made.stratum is not None else "") + ("_cuped" if made.pre is not None else "")
    if min(used) < 2:  # before any fit: without a weight in an arm there is nothing to invert
        return Effect(outcome, *ratio, ratio[1] - ratio[0], *[nan] * 8, *counts, 0.0, method, False, note or "few_events")
    found = _fitted(made, made.stratum, made.pre)
    value, se, df, control = float(found.difference), float(found.se), float(found.df), float(found.control)
    if not (se > 0 and math.isfinite(df)):
        return Effect(outcome, *ratio, ratio[1] - ratio[0], *[nan] * 8, *counts, 0.0, method, False, note or "few_events")
    reduction = 0.0
    if method != "cr2":
        plain = float(_fitted(made, None, None).v11)
        reduction = 1 - float(found.v11) / plain if plain > 0 else 0.0
    low, high = (float(x) for x in found.bounds(level))
    lift = (_over(value, control), *(float(x) for x in found.lift_bounds(level)))
    if control <= 0 or not all(math.isfinite(x) for x in lift):
        lift = (nan, nan, nan)
    return Effect(
        outcome,
        control,
        control + value,
        value,
        low,
        high,
        se,
        df,
        float(found.p),
        *lift,
        *counts,
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
            problems.append(f"{name} is empty or infinite in {bad} rows; what did not happen is 0")
        if name in dens and (values < 0).any():
            problems.append(f"{name} is negative in {int((values < 0).sum())} rows; allowed from 0")
    if problems:
        raise ContractError("trial", problems)
