"""What a check of the watch says: one alarm each, with its verdict, start, place, size and certainty; and the fits they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from sqkit.reading import Reading

__all__ = ["MONTH_DAYS", "NONE", "Alarm", "Estimate", "Fit", "given", "least", "step", "tail", "two_way"]

Verdict = Literal["found", "not_found", "not_enough_data", "missing"]
MONTH_DAYS = 365.25 / 12


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN where it cannot be told."""

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")

    @classmethod
    def of(cls, value: float, half: float) -> Estimate:
        """Return ``value ± half``."""
        return cls(float(value), float(value - half), float(value + half))

    @property
    def is_told(self) -> bool:
        return bool(np.isfinite([self.value, self.low, self.high]).all())

    def exp(self) -> Estimate:
        """Return the multiple of a difference of logarithms."""
        return Estimate(float(np.exp(self.value)), float(np.exp(self.low)), float(np.exp(self.high)))

    def times(self, factor: float) -> Estimate:
        """Return the estimate scaled by a constant."""
        ends = sorted((self.low * factor, self.high * factor))
        return Estimate(self.value * factor, *ends)


NONE = Estimate()


@dataclass(frozen=True)
class Alarm:
    """What one check found.

    Grain: one per check and reading.

    Attributes
    ----------
    check : {"fatigue", "guides", "promotion", "fraud"}
    finding : str
        Id of the finding that the check looks for.
    verdict : {"found", "not_found", "not_enough_data", "missing"}
    p, adjusted_p : float
        One-sided p-value of the check alone, and after Holm's correction over the checks that could be made; NaN where none was.
    since : date, optional
        First day of what was found, read from the data.
    stores : tuple of str
        Where; empty means everywhere.
    effect : Estimate
        The multiple that the check measures (leaving, orders, other days, invited who took the reward and went).
    loss : Estimate
        What it costs a month, in members (fatigue), orders (guides, promotion) or fen (fraud).
    money : Estimate
        The same in fen of sales or rewards a month where it can be said, else NaN.
    is_causal : bool
        Whether a comparison with what was not touched stands behind it; else the sentence only describes.
    n, n_clusters : int
        Events, and independent clusters behind the interval.
    reason : str
        Why there is not enough data (a phrase suffix), or ''.
    missing : tuple of str
        Tables or columns that the source lacks.
    facts : mapping of str to float, int, date or Estimate
        Further figures of the check.
    series : DataFrame
        What its chart shows.
    """

    check: str
    finding: str
    verdict: Verdict
    p: float = float("nan")
    adjusted_p: float = float("nan")
    since: date | None = None
    stores: tuple[str, ...] = ()
    effect: Estimate = NONE
    loss: Estimate = NONE
    money: Estimate = NONE
    is_causal: bool = False
    n: int = 0
    n_clusters: int = 0
    reason: str = ""
    missing: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    series: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def is_tested(self) -> bool:
        return bool(np.isfinite(self.p))


@dataclass(frozen=True)
class Fit:
    """Coefficients of covariates with their cluster-robust covariance, and the least error that chance alone leaves.

    With few clusters on one side the sandwich is itself noisy and may fall below Poisson's own error; `floor` keeps it there.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    df: float
    floor: np.ndarray

    def estimate(self, at: int = 0, df: float | None = None) -> Estimate:
        """Return a coefficient with its 95% interval."""
        return Estimate.of(self.coefficients[at], _t95(self.df if df is None else df) * self.error(at))

    def error(self, at: int = 0) -> float:
        return float(max(np.sqrt(max(self.covariance[at, at], 0.0)), self.floor[at]))


def _t95(df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(df, 1.0), 0.975))


def given(reading: Reading) -> dict[str, str] | None:
    """Return the parameters of a query: ``store`` where the reading is of one."""
    return {"store": reading.store} if reading.store else None


def least(alarm: Alarm, n_tests: int, level: float = 0.05, power: float = 0.8) -> float:
    """Return the least multiple (leaving) or the least bad multiple (orders) that a check would find four times in five.

    From its error and degrees of freedom on the log scale, at the level that the first of `n_tests` must reach under Holm's
    correction; NaN where the check measured no multiple.
    """
    from scipy.special import stdtrit

    error, df = (alarm.facts.get(key, float("nan")) for key in ("error", "df"))
    if not np.isfinite([error, df]).all():
        return float("nan")
    far = float(stdtrit(max(df, 1.0), 1 - level / max(n_tests, 1)) + stdtrit(max(df, 1.0), power)) * error
    return float(np.exp(-far if alarm.check == "guides" else far))


def tail(t: float, df: float) -> float:
    """Return the upper tail of Student's t."""
    from scipy.special import stdtr

    return float(stdtr(max(df, 1.0), -t)) if np.isfinite(t) else 1.0


def two_way(
    counts: np.ndarray, offset: np.ndarray, row: np.ndarray, column: np.ndarray, covariates: np.ndarray, rounds: int = 60
) -> Fit | None:
    """Fit Poisson counts with a level per row, a level per column and covariates; rows are the clusters.

    Parameters
    ----------
    counts, offset : ndarray, shape (n,)
        Events of a cell, and the logarithm of what is expected of it but for the levels.
    row, column : ndarray of int
        Codes of the two levels, e.g. group and week.
    covariates : ndarray, shape (n, k)

    Returns
    -------
    Fit or None
        Coefficients on the log scale; the covariance is the sandwich over rows, scaled by ``G / (G - 1)``. None where a covariate
        does not vary beyond the levels. Rows and columns without an event say nothing of a multiple and drop out by themselves.

    Notes
    -----
    Newton steps on the covariates, with the two levels swept out by weighted alternating means.
    """
    row, column = (np.unique(c, return_inverse=True)[1] for c in (row, column))
    keep = (np.bincount(row, counts)[row] > 0) & (np.bincount(column, counts)[column] > 0)
    if keep.sum() < covariates.shape[1] + 2:
        return None
    counts, offset, covariates = counts[keep].astype(float), offset[keep], covariates[keep]
    row, column = (np.unique(c[keep], return_inverse=True)[1] for c in (row, column))
    beta = np.zeros(covariates.shape[1])
    log_row, log_column = np.zeros(row.max() + 1), np.zeros(column.max() + 1)
    by_row, by_column = np.bincount(row, counts), np.bincount(column, counts)
    swept, mean, hessian = covariates, counts, np.eye(len(beta))
    for _ in range(rounds):
        base = offset + covariates @ beta
        for _ in range(200):
            before = log_row
            log_row = np.log(by_row) - np.log(np.bincount(row, np.exp(base + log_column[column])))
            log_column = np.log(by_column) - np.log(np.bincount(column, np.exp(base + log_row[row])))
            if np.abs(log_row - before).max() < 1e-8:
                break
        mean = np.exp(base + log_row[row] + log_column[column])
        swept = _swept(covariates, mean, row, column)
        hessian = (swept * mean[:, None]).T @ swept
        if np.linalg.cond(hessian) > 1e12 or hessian.trace() < 1e-9:
            return None
        move = np.linalg.solve(hessian, swept.T @ (counts - mean))
        beta = beta + np.clip(move, -1, 1)
        if np.abs(move).max() < 1e-7:
            break
    bread = np.linalg.inv(hessian)
    clusters = row.max() + 1
    score = np.stack([np.bincount(row, (counts - mean) * x) for x in swept.T], axis=1)
    covariance = bread @ (score.T @ score) @ bread * clusters / max(clusters - 1, 1)
    return Fit(beta, covariance, float(clusters - 1), np.sqrt(np.diag(bread)))


def _swept(x: np.ndarray, weight: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    out = x.astype(float)
    w_row, w_column = np.bincount(row, weight), np.bincount(column, weight)
    for _ in range(200):
        before = out
        for code, total in ((row, w_row), (column, w_column)):
            means = np.stack([np.bincount(code, weight * c) / total for c in out.T], axis=1)
            out = out - means[code]
        if np.abs(out - before).max() < 1e-8:
            break
    return out


def step(values: np.ndarray, last: range, least_before: int) -> tuple[int, float, float]:
    """Find where a series steps up for good: the number of last values that lie above the rest most clearly.

    Parameters
    ----------
    values : ndarray
        Oldest first, on a scale where noise is even.
    last : range
        Numbers of last values tried.
    least_before : int
        Values that must lie before.

    Returns
    -------
    tuple of int, float, float
        How many last values are higher, by how much, and the one-sided p-value with Bonferroni's correction for the search;
        (0, nan, 1.0) where the series is too short.
    """
    found = (0, float("nan"), 1.0)
    tried = [k for k in last if len(values) - k >= least_before and k >= 2]
    best = -np.inf
    for k in tried:
        old, new = values[:-k], values[-k:]
        df = len(values) - 2
        spread = np.sqrt((((old - old.mean()) ** 2).sum() + ((new - new.mean()) ** 2).sum()) / df)
        t = (new.mean() - old.mean()) / max(spread * np.sqrt(1 / len(old) + 1 / len(new)), 1e-12)
        if t > best:
            best, found = t, (k, float(new.mean() - old.mean()), min(1.0, len(tried) * tail(t, df)))
    return found
