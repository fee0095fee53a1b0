"""What a trial of two arms of clusters can see: power, the smallest lift it detects, and how many clusters it needs.

Normal approximation to means of clusters with Student's t at the degrees of freedom that the read-out will have. Every promise is held
against simulation in ``benchmarks/power_calibration.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from sqkit.errors import InputError, unknown
from sqkit.trials import sequential

__all__ = ["KINDS", "LEAST_ARM", "Trial", "detectable", "final_alpha", "needed_clusters", "power", "standard_error"]

Kind = Literal["share", "count", "money", "mean"]
KINDS: tuple[str, ...] = Kind.__args__
LEAST_ARM = 2
MOST = 100_000  # clusters
HIGHEST = 20.0  # a lift of 2,000%


@dataclass(frozen=True)
class Trial:
    """A planned comparison of two arms of whole clusters.

    Attributes
    ----------
    n_treated, n_holdout : float
        Clusters in each arm, at least 2.
    size, size_cv : float
        Mean members of a cluster, and their coefficient of variation.
    mean, variance : float
        Of one member, without the campaign.
    icc : float
        Within strata, if the draw is stratified.
    kind : {"share", "count", "money", "mean"}
        How the spread grows with a lift: a share's as p(1 - p), a count's and money's in proportion (but for a count's own chance,
        which grows with the mean); a plain mean's not at all.
    n_strata : int
        Strata that the read-out adjusts for; each costs one degree of freedom.
    explained : float
        Share of the variance of clusters' means that their pre-period explains (CUPED), 0 for none; costs one degree of freedom.
    contamination : float
        Share of the holdout that is reached nevertheless, 0 to below 1.
    reach : float
        Share of the treated that the campaign reaches, above 0 to 1.
    looks : int
        Planned looks at the result, equally spaced, the last at the end (O'Brien-Fleming boundaries).
    alpha : float
        Two-sided.
    """

    n_treated: float
    n_holdout: float
    size: float
    mean: float
    variance: float
    icc: float
    size_cv: float = 0.0
    kind: Kind = "mean"
    n_strata: int = 1
    explained: float = 0.0
    contamination: float = 0.0
    reach: float = 1.0
    looks: int = 1
    alpha: float = 0.05

    def __post_init__(self) -> None:
        allowed = {
            "n_treated": (self.n_treated >= LEAST_ARM, "at least 2"), "n_holdout": (self.n_holdout >= LEAST_ARM, "at least 2"),
            "size": (self.size >= 1, "at least 1"), "variance": (self.variance >= 0, "0 or more"), "icc": (0 <= self.icc < 1, "0 to below 1"),
            "size_cv": (self.size_cv >= 0, "0 or more"), "explained": (0 <= self.explained < 1, "0 to below 1"),
            "contamination": (0 <= self.contamination < 1, "0 to below 1"), "reach": (0 < self.reach <= 1, "above 0 to 1"),
            "looks": (1 <= self.looks <= 20, "1 to 20"), "alpha": (0 < self.alpha < 1, "between 0 and 1"),
            "n_strata": (self.n_strata >= 1, "at least 1"), "mean": (math.isfinite(self.mean), "a number"),
        }  # fmt: skip
        wrong = [f"{name} is {getattr(self, name)!r}; allowed: {text}" for name, (good, text) in allowed.items() if not good]
        if self.kind not in KINDS:
            wrong.append(unknown("kind of metric", self.kind, KINDS))
        if self.kind == "share" and not 0 <= self.mean <= 1:
            wrong.append(f"mean is {self.mean!r}; allowed: 0 to 1 for a share")
        if wrong:
            raise InputError("; ".join(wrong) + ".")

    @property
    def dilution(self) -> float:
        """What is left of a lift of the reached in the difference between the arms."""
        return max(self.reach - self.contamination, 0.0)


def _arm(trial: Trial, clusters: float, lift: float) -> tuple[float, float]:
    """Return variance of the arm's mean and its degrees of freedom.

    Satterthwaite's df of a sum of squares with unequal weights, at the quantiles of log-normal sizes.
    """
    between, within = trial.variance * trial.icc, trial.variance * (1 - trial.icc)
    grown = 1 + lift
    if trial.kind == "share" and 0 < trial.mean < 1:
        p, q = trial.mean, min(trial.mean * grown, 1.0)
        moved = q * (1 - q) / (p * (1 - p))  # groups keep their distances on the logit
        between, within = between * moved**2, within * moved
    elif trial.kind in ("count", "money"):
        alone = min(max(trial.mean, 0.0), within) if trial.kind == "count" else 0.0  # orders apart from how members differ
        between, within = between * grown**2, alone * grown + (within - alone) * grown**2
    variance = (between * (1 + trial.size_cv**2) + within / trial.size) / clusters
    return variance * (1 - trial.explained), max(_df(clusters, trial.size, trial.size_cv, between, within), 0.5)


@lru_cache(4096)
def _df(clusters: float, size: float, size_cv: float, between: float, within: float) -> float:
    if size_cv == 0 or between + within <= 0:
        return clusters - 1
    from scipy.special import ndtri

    k, s = int(min(max(round(clusters), 2), 2000)), math.sqrt(math.log(1 + size_cv**2))
    n = size * np.exp(s * ndtri((np.arange(k) + 0.5) / k) - s * s / 2)
    part = n * n * between + n * within
    return float(part.sum() ** 2 / (part * part).sum()) * clusters / k - 1


def standard_error(trial: Trial, lift: float = 0.0) -> tuple[float, float]:
    """Return standard error of the difference between the arms' means at a lift of the treated, and its degrees of freedom."""
    seen = lift * trial.dilution
    treated, df_treated = _arm(trial, trial.n_treated, lift * trial.reach)
    holdout, df_holdout = _arm(trial, trial.n_holdout, lift * trial.contamination if seen else 0.0)
    total = treated + holdout
    if total <= 0:
        return 0.0, trial.n_treated + trial.n_holdout - 2
    df = total**2 / (treated**2 / df_treated + holdout**2 / df_holdout)
    lost = (trial.n_strata - 1) + (1 if trial.explained > 0 else 0)
    return math.sqrt(total), max(df - lost, 1.0)


@lru_cache(256)
def final_alpha(alpha: float, looks: int) -> float:
    """Return the two-sided level of the last of several equally spaced looks with O'Brien-Fleming boundaries.

    Examples
    --------
    >>> round(final_alpha(0.05, 1), 3), round(final_alpha(0.05, 5), 4)
    (0.05, 0.0413)
    """
    from scipy.special import ndtr

    return alpha if looks <= 1 else float(2 * ndtr(-sequential.classical(looks, alpha=alpha)[-1]))


def power(trial: Trial, lift: float) -> float:
    """Return the chance that the two-sided test finds the campaign.

    Parameters
    ----------
    trial : Trial
    lift : float
        Relative change of the mean among those reached, e.g. 0.05; -1 or more. At 0 the answer is ``alpha`` (of the last look).

    Notes
    -----
    Noncentral t. With several looks only the last is counted, which is a little too low. Assumes whole clusters drawn at random and
    a read-out weighted by members; smallest sample: 2 clusters an arm.
    """
    if not lift >= -1:
        raise InputError(f"lift is {lift!r}; allowed: -1 (nothing is left) or more.")
    from scipy.special import nctdtr, stdtrit

    level = final_alpha(trial.alpha, trial.looks)
    error, df = standard_error(trial, lift)
    moved = abs(lift * trial.mean) * trial.dilution
    if error == 0:
        return 1.0 if moved > 0 else trial.alpha
    critical = float(stdtrit(df, 1 - level / 2))
    away = min(moved / error, 37.0)
    found = 1 - float(nctdtr(df, away, critical)) + (float(nctdtr(df, away, -critical)) if away < 5 else 0.0)
    return min(max(found, 0.0), 1.0)


def detectable(trial: Trial, wanted: float = 0.8) -> float:
    """Return the smallest lift (relative, upwards) that is found with the chance `wanted`; infinity if none up to 2,000% is."""
    if not trial.alpha < wanted < 1:
        raise InputError(f"the wanted power is {wanted!r}; allowed: between alpha ({trial.alpha}) and 1.")
    if trial.mean == 0 or trial.dilution == 0:
        return math.inf
    top = HIGHEST if trial.kind != "share" else max(1 / trial.mean - 1, 0.0)
    return _least(lambda lift: power(trial, lift) >= wanted, top)


def needed_clusters(trial: Trial, lift: float, wanted: float = 0.8) -> float:
    """Return how many clusters both arms need together, in the shares of `trial`; infinity if 100,000 are too few."""
    if lift == 0 or trial.mean == 0 or trial.dilution == 0:
        return math.inf
    share = trial.n_treated / (trial.n_treated + trial.n_holdout)
    least = max(math.ceil(LEAST_ARM / min(share, 1 - share)), 2 * LEAST_ARM)

    def enough(n: int) -> bool:
        return power(replace(trial, n_treated=n * share, n_holdout=n * (1 - share)), lift) >= wanted

    low, high = least, least
    while not enough(high):
        if high >= MOST:
            return math.inf
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)


def _least(holds: Callable[[float], bool], top: float) -> float:
    low, high = 0.0, min(0.01, top)
    while not holds(high):
        if high >= top:
            return math.inf
        low, high = high, min(high * 2, top)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
