"""Logistic regression with clustered errors, and whether predicted chances hold on later data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit, stdtrit

from sqkit.errors import InputError
from sqkit.stats.blocks import blocks_of, joint_of
from sqkit.stats.interval import Interval
from sqkit.stats.intervals import difference_interval, ratio_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibration", "Logistic", "calibrate", "fit_logistic", "reliability"]

CLIP = 1e-4


@dataclass(frozen=True)
class Logistic:
    """A fitted model.

    Attributes
    ----------
    coefficients : numpy.ndarray
    covariance : numpy.ndarray
        Cluster-robust (CR1).
    n, n_events, n_clusters : int
    is_converged : bool
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    n: int
    n_events: int
    n_clusters: int
    is_converged: bool

    def predict(self, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the chance of each row and the standard error of its logit."""
        line = design @ self.coefficients
        variance = (design @ self.covariance * design).sum(axis=1)
        return expit(line), np.sqrt(np.maximum(variance, 0.0))


def fit_logistic(design: np.ndarray, happened: np.ndarray, clusters: np.ndarray, *, ridge: float = 1e-3) -> Logistic:
    """Fit by Newton's method; `design` holds its own constant, `clusters` are codes from 0.

    Parameters
    ----------
    ridge : float
        Penalty on squared coefficients, tiny beside any data: it keeps columns without events finite.

    Raises
    ------
    InputError
        If there is no row, or all rows have the same outcome.
    """
    x, y = np.asarray(design, float), np.asarray(happened, float)
    if not len(y) or y.min() == y.max():
        raise InputError(f"a logistic regression needs both outcomes; {len(y)} rows hold {int(y.sum())} events.")
    beta, penalty, done = np.zeros(x.shape[1]), ridge * np.eye(x.shape[1]), False
    for _ in range(50):
        p = expit(x @ beta)
        w = np.maximum(p * (1 - p), 1e-10)
        step = np.linalg.solve((x * w[:, None]).T @ x + penalty, x.T @ (y - p) - ridge * beta)
        beta += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-8:
            done = True
            break
    p = expit(x @ beta)
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + penalty)
    codes = np.asarray(clusters)
    n = int(codes.max()) + 1
    scores = np.stack([np.bincount(codes, column, n) for column in (x * (y - p)[:, None]).T], axis=1)
    g = int((np.bincount(codes, minlength=n) > 0).sum())
    meat = scores.T @ scores * (g / max(g - 1, 1))
    return Logistic(beta, bread @ meat @ bread, len(y), int(y.sum()), g, done)


@dataclass(frozen=True)
class Calibration:
    """Predicted chances against what then happened.

    Attributes
    ----------
    slope, slope_low, slope_high : float
        Of the outcome's logit on the predicted logit; 1 is right, below 1 the predictions are too extreme.
    intercept, intercept_low, intercept_high : float
        With the slope held at 1; 0 is right, above 0 more happened than predicted (log odds).
    brier, brier_base : float
        Mean squared error of the predictions, and of the base rates.
    gain : Interval
        ``brier - brier_base``; below 0 the predictions are better.
    n, n_events : int
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    brier: float
    brier_base: float
    gain: Interval
    n: int
    n_events: int

    @property
    def beats_base(self) -> bool:
        """Whether the predictions are better than the base rates, beyond chance."""
        return bool(self.gain.enough and self.gain.high < 0)


def calibrate(happened: np.ndarray, chance: np.ndarray, base: np.ndarray, clusters: np.ndarray) -> Calibration:
    """Judge predicted chances made before the outcome was known.

    Errors are clustered (t with clusters less one degrees of freedom). Source: Cox 1958, Biometrika 45:562 (slope and intercept);
    Brier 1950, Monthly Weather Review 78:1.
    """
    y, p = np.asarray(happened, float), np.clip(np.asarray(chance, float), CLIP, 1 - CLIP)
    line = logit(p)
    both = fit_logistic(np.column_stack([np.ones(len(y)), line]), y, clusters, ridge=1e-8)
    t = float(stdtrit(max(both.n_clusters - 1, 1), 0.975))
    half = t * float(np.sqrt(both.covariance[1, 1]))
    shift, error = _shift(line, y, clusters)
    ones = np.ones(len(y))
    gain = difference_interval(joint_of(clusters, ((y - base) ** 2, ones), ((y - p) ** 2, ones)), kind="ratio")
    slope = float(both.coefficients[1])
    return Calibration(
        slope, slope - half, slope + half, shift, shift - t * error, shift + t * error,
        float(np.mean((y - p) ** 2)), float(np.mean((y - base) ** 2)), gain, len(y), int(y.sum()),
    )  # fmt: skip


def _shift(line: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Return the constant added to predicted logits that makes the totals right, and its clustered standard error."""
    a = 0.0
    for _ in range(50):
        p = expit(line + a)
        step = (y - p).sum() / (p * (1 - p)).sum()
        a += float(np.clip(step, -4, 4))
        if abs(step) < 1e-10:
            break
    p = expit(line + a)
    scores = np.bincount(clusters, y - p)
    return a, float(np.sqrt((scores**2).sum()) / (p * (1 - p)).sum())


def reliability(happened: np.ndarray, chance: np.ndarray, clusters: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Return what happened per bin of predicted chance: the points of a reliability plot.

    Grain: one row per bin of equal size. Columns: ``predicted`` (mean), ``observed``, ``low``, ``high`` (95%, clustered), ``n``,
    ``is_enough``.
    """
    import pandas as pd

    y, p = np.asarray(happened, float), np.asarray(chance, float)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
    place, rows = np.searchsorted(edges, p, side="left"), []
    for b in np.unique(place):
        here = place == b
        made = ratio_interval(blocks_of(np.asarray(clusters)[here], y[here], np.ones(here.sum())), kind="proportion")
        rows.append((float(p[here].mean()), made.value, made.low, made.high, int(here.sum()), made.enough))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n", "is_enough"])
