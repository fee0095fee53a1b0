"""How alike members of one cluster are: the intraclass correlation, with its interval, from sums per cluster.

A post reaches a whole group, so groups are drawn and groups are the sample. With a correlation ``icc``, ``m`` members of one group
are worth only ``m / (1 + (m - 1) icc)`` independent ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import ContractError, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEFAULT", "LEAST_CLUSTERS", "Icc", "default_icc", "icc", "icc_of"]

LEAST_CLUSTERS = 10  # with fewer the interval is wider than the default range
DEFAULT = (0.005, 0.016, 0.05)  # low, middle (their geometric mean), high
TOP = 0.999


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation and what a design needs beside it.

    Attributes
    ----------
    value, low, high : float
        Between 0 and 1; a negative estimate is shown as 0.
    level : float
        Nominal level of the interval.
    mean, variance : float
        Mean of all units, and the variance of one unit (between and within clusters); NaN for a default.
    n_clusters, n_units : float
    size, size_cv : float
        Mean cluster size and its coefficient of variation.
    kurtosis : float
        Excess kurtosis of the clusters' means by which the interval was widened (0 where they look normal).
    origin : {"data", "default"}
        ``default``: too few clusters, the range :data:`DEFAULT` stands.
    """

    value: float
    low: float
    high: float
    level: float
    mean: float
    variance: float
    n_clusters: float
    n_units: float
    size: float
    size_cv: float
    kurtosis: float = 0.0
    origin: str = "data"

    @property
    def design_effect(self) -> float:
        """Variance of a mean over that of as many independent units."""
        return 1 + ((1 + self.size_cv**2) * self.size - 1) * self.value


def icc(clusters: pd.DataFrame, *, level: float = 0.95) -> Icc:
    """Return the intraclass correlation of a metric.

    Parameters
    ----------
    clusters : DataFrame
        One row per cluster: ``n`` (units), ``sum``, ``sum_sq`` of the metric over its units (a yes-or-no metric has sum_sq = sum);
        optional ``stratum``: the correlation is then that within strata, which is what a stratified design meets. Clusters without
        units are left out. The order of rows does not matter.
    level : float

    Returns
    -------
    Icc
        ANOVA estimate (Donner 1986). The interval inverts Wald's F test (1940), exact for normal clusters of unequal size; its degrees
        of freedom are divided by ``1 + kurtosis / 2`` where clusters' means have heavier tails (seen, or to be expected of a metric that is
        never negative). With fewer than 10 clusters
        (or strata that leave fewer than 9 degrees of freedom), or without any spread, the default range with ``origin`` 'default'.

    Raises
    ------
    ContractError
        If columns are missing, not finite, or impossible (negative n; sum_sq below sum^2 / n).

    Notes
    -----
    Descriptive: it says how far groups differ in one window, for whatever reason. 40 groups of 150 at .005 know it to about
    ± .005. Simulated coverage in ``benchmarks/power_calibration.py``.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"n": 50, "sum": [20, 25, 30, 24, 26, 20, 31, 25, 22, 28, 24, 26]})
    >>> found = icc(rows.assign(sum_sq=rows["sum"]))
    >>> round(found.value, 3), found.low, round(found.high, 3), found.origin
    (0.0, 0.0, 0.035, 'data')
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; allowed: a number between 0 and 1.")
    _check(clusters)
    kept = clusters[clusters["n"] > 0]
    n, s, q = (kept[c].to_numpy(float) for c in ("n", "sum", "sum_sq"))
    strata = None if "stratum" not in kept else np.unique(kept["stratum"].astype(str), return_inverse=True)[1]
    lost = 1 if strata is None or not len(strata) else int(strata.max()) + 1
    if len(kept) - lost < LEAST_CLUSTERS - 1 or n.sum() <= len(kept):
        return default_icc(n, s, q, level)
    made = icc_of(n, s, q, strata, level=level)
    if not np.isfinite(made["value"]):
        return default_icc(n, s, q, level)
    return Icc(
        **{k: float(made[k]) for k in ("value", "low", "high")}, level=level, **_facts(n, s, q), kurtosis=float(made["kurtosis"])
    )


def default_icc(n: np.ndarray, s: np.ndarray, q: np.ndarray, level: float = 0.95) -> Icc:
    """Return the default range, with mean and variance of what there is."""
    low, value, high = DEFAULT
    return Icc(value, low, high, level, **_facts(n, s, q), origin="default")


def icc_of(
    n: np.ndarray, s: np.ndarray, q: np.ndarray, strata: np.ndarray | None = None, *, level: float = 0.95
) -> dict[str, np.ndarray]:
    """Return value, low, high, f and kurtosis, elementwise over leading axes; the last axis is the clusters.

    Parameters
    ----------
    n, s, q : arrays
        Units, sum and sum of squares of each cluster; ``n`` above 0.
    strata : array of int, optional
        Stratum of each cluster (last axis only).

    Notes
    -----
    Thousands of simulated data sets run at once through the code that reports use. NaN where nothing varies within clusters.
    """
    n, s, q = np.broadcast_arrays(*(np.asarray(x, float) for x in (n, s, q)))
    k = n.shape[-1]
    member = np.ones((k, 1)) if strata is None else np.eye(int(strata.max()) + 1)[strata]
    within_df = n.sum(-1) - k
    between_df = k - member.shape[1]
    mean = s / n
    shift = s.sum(-1, keepdims=True) / n.sum(-1, keepdims=True)
    within = (q - s * mean).sum(-1) / within_df
    within = np.where(within > 1e-12 * np.abs(q).sum(-1) / n.sum(-1), within, np.nan)
    mean = mean - shift

    def squares(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = n / (1 + n * theta[..., None])
        total = w @ member
        centre = ((w * mean) @ member) / np.where(total > 0, total, 1)
        left = mean - centre @ member.T
        return w, left

    def f_of(theta: np.ndarray) -> np.ndarray:
        w, left = squares(theta)
        return (w * left * left).sum(-1) / between_df / within

    zero = np.zeros(within.shape)
    f = f_of(zero)
    strata_n = n @ member
    n0 = (n.sum(-1) - (((n * n) @ member) / np.where(strata_n > 0, strata_n, 1)).sum(-1)) / between_df
    value = np.clip((f - 1) / (f - 1 + n0), 0, TOP)
    w, left = squares(value / (1 - value))
    kurtosis = np.maximum(_kurtosis(np.sqrt(w) * left, k), _skewed(n, s, value, within))
    df = between_df / (1 + kurtosis / 2)
    tail = (1 - level) / 2
    low, high = (_solve(f_of, f, _fdtri(df, within_df, p)) for p in (1 - tail, tail))
    missing = np.isnan(within)
    low, high, value = (np.where(missing, np.nan, x) for x in (np.minimum(low, value), np.maximum(high, value), value))
    return {"value": value, "low": low, "high": high, "f": f, "kurtosis": kurtosis}


def _solve(f_of, at_zero: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the correlation at which the falling F reaches `wanted`; 0 where it starts below."""
    low, high = np.zeros(at_zero.shape), np.full(at_zero.shape, TOP)
    for _ in range(40):
        middle = (low + high) / 2
        above = f_of(middle / (1 - middle)) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(at_zero > wanted, (low + high) / 2, 0.0)


def _fdtri(df: np.ndarray, within_df: np.ndarray, p: float) -> np.ndarray:
    from scipy.special import fdtri

    return fdtri(df, within_df, p)


def _kurtosis(e: np.ndarray, k: int) -> np.ndarray:
    """Return the excess kurtosis of standardised residuals (bias corrected), never below 0."""
    e = e - e.mean(-1, keepdims=True)
    squares = (e * e).mean(-1)
    raw = (e**4).mean(-1) / np.where(squares > 0, squares, 1) ** 2 - 3
    made = (k - 1) / ((k - 2) * (k - 3)) * ((k + 1) * raw + 6)
    return np.where(squares > 0, np.maximum(made, 0), 0.0)


def _skewed(n: np.ndarray, s: np.ndarray, value: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the excess kurtosis that groups of a gamma law with the estimated spread would have; 0 for a metric that falls below 0.

    A few dozen clusters rarely show the long tail of a rare event, so that their own kurtosis says too little.
    """
    mean = s.sum(-1) / n.sum(-1)
    between = value / (1 - value) * within
    size = n.mean(-1)
    share = value * size / (1 + (size - 1) * value)
    fits = (s.min(-1) >= 0) & (mean > 0)
    return np.where(fits, 6 * between / np.where(fits, mean, 1) ** 2 * share**2, 0.0)


def _facts(n: np.ndarray, s: np.ndarray, q: np.ndarray) -> dict[str, float]:
    units, k = float(n.sum()), len(n)
    mean = float(s.sum()) / units if units else math.nan
    variance = max(float(q.sum()) / units - mean * mean, 0.0) * units / (units - 1) if units > 1 else math.nan
    size = units / k if k else math.nan
    return {
        "mean": mean, "variance": variance, "n_clusters": float(k), "n_units": units, "size": size,
        "size_cv": float(n.std() / size) if k and size else math.nan,
    }  # fmt: skip


def _check(clusters: pd.DataFrame) -> None:
    missing = [c for c in ("n", "sum", "sum_sq") if c not in clusters]
    if missing:
        raise ContractError(
            "clusters", [f"column {c!r} is missing; given: {', '.join(map(str, clusters.columns))}" for c in missing]
        )
    n, s, q = (clusters[c].to_numpy(float) for c in ("n", "sum", "sum_sq"))
    problems = [
        f"{c} holds values that are NaN or infinite; give numbers"
        for c, x in (("n", n), ("sum", s), ("sum_sq", q))
        if not np.isfinite(x).all()
    ]
    if not problems and (n < 0).any():
        problems.append(f"n must not be negative, lowest is {n.min():g}")
    if not problems:
        floor = s * s / np.where(n > 0, n, 1)
        if (q < floor * (1 - 1e-9)).any() or ((n == 0) & ((s != 0) | (q != 0))).any():
            problems.append("sum_sq must be at least sum^2 / n in every cluster, and sums need units")
    if problems:
        raise ContractError("clusters", problems)
