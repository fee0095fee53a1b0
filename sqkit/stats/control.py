"""Control charts: has something changed, or is it the usual noise?

Points are in time order. ``baseline`` is the number of first points that set the limits; all points by default
(phase I, the textbook's constants). With a baseline the limits are prediction limits for the points after it: Student's t and the
uncertain centre make them wider than ``width`` sigmas, so that a new point beyond them is as rare as one beyond ``width`` known
sigmas.
With fewer than :data:`MIN_BASELINE` baseline points (less the parameters fitted) there is not enough data and nothing signals.
Charts describe; a signal names a day, not a cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from sqkit.errors import InputError

__all__ = [
    "MIN_BASELINE",
    "Chart",
    "Cusum",
    "FalseAlarms",
    "cusum",
    "cusum_arl",
    "ewma",
    "false_alarm_rate",
    "imr",
    "laney_p_prime",
    "residual_chart",
    "sigma_width",
]

MIN_BASELINE = 12
D2 = 1.128379167095513  # expected range of two standard normals, 2 / sqrt(pi)
MOVING_RANGE_DF = 0.62  # degrees of freedom a point adds to the mean moving range (Cryer and Ryan 1990, J Qual Tech 22:187)


@dataclass(frozen=True, eq=False)
class Chart:
    """Points, their centre line and limits.

    Attributes
    ----------
    points, centre, low, high : numpy.ndarray
        One value per point, in the unit of the series (for an EWMA the smoothed points).
    sigma : float
        Spread behind the limits: standard deviation of a point, or Laney's sigma_z for ``laney_p_prime``.
    signals : tuple of int
        Positions of points outside the limits; empty where there is not enough data.
    method : str
    enough : bool
        False with fewer than :data:`MIN_BASELINE` baseline points or without any spread.
    """

    points: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sigma: float
    signals: tuple[int, ...]
    method: str
    enough: bool

    def recent(self, window: int) -> tuple[int, ...]:
        """Return the signals among the last `window` points, which is what a report of that period may speak of."""
        return tuple(i for i in self.signals if i >= len(self.points) - window)


@dataclass(frozen=True, eq=False)
class Cusum:
    """Tabular CUSUM: one-sided sums above and below the target, decision interval and signals."""

    upper: np.ndarray
    lower: np.ndarray
    h: float
    signals: tuple[int, ...]


@dataclass(frozen=True)
class FalseAlarms:
    """Simulated false-alarm rates with their Monte-Carlo standard errors, from worlds in which nothing happens."""

    per_chart: float
    per_report: float
    per_batch: float
    per_report_se: float
    per_batch_se: float
    runs: int


def _series(values: Sequence[float], name: str) -> np.ndarray:
    series = np.array(values, float)
    if series.ndim != 1 or not np.isfinite(series).all():
        raise InputError(f"{name} must be one series of finite numbers; drop or fill missing points before charting.")
    return series


def _chart(points, centre, low, high, sigma: float, method: str, spare: int) -> Chart:
    enough = spare >= MIN_BASELINE and sigma > 1e-12 * np.abs(points).max(initial=0.0)  # below that it is rounding
    outside = np.flatnonzero((points < low) | (points > high)) if enough else []
    return Chart(points, centre, low, high, float(sigma), tuple(int(i) for i in outside), method, enough)


def _moving_range_sigma(series: np.ndarray) -> float:
    return float(np.abs(np.diff(series)).mean() / D2) if len(series) > 1 else 0.0


def _width(width: float, df: float, points: int, baseline: int | None, fitted: int = 1) -> float:
    if baseline is None or df <= 0:
        return width
    return -float(stdtrit(df, ndtr(-width))) * math.sqrt(1 + fitted / points)


def sigma_width(points: int, family: float = 0.05) -> float:
    """Return the limit width in sigmas at which `points` new points together raise a false alarm with chance <= `family`.

    Examples
    --------
    >>> round(sigma_width(1, 0.0027), 2), round(sigma_width(70), 2)
    (3.0, 3.38)
    """
    return float(-ndtri(family / points / 2))


def imr(values: Sequence[float], *, baseline: int | None = None, width: float = 3.0) -> Chart:
    """Chart individual values; sigma from the mean moving range (NIST e-Handbook 6.3.2.2)."""
    series = _series(values, "values")
    base = series[:baseline]
    sigma, centre = _moving_range_sigma(base), base.mean() if len(base) else math.nan
    level, half = np.full_like(series, centre), _width(width, MOVING_RANGE_DF * len(base), len(base), baseline) * sigma
    return _chart(series, level, level - half, level + half, sigma, "imr", len(base))


def laney_p_prime(
    x: Sequence[float],
    n: Sequence[float],
    *,
    baseline: int | None = None,
    phases: Sequence[object] | None = None,
    width: float = 3.0,
) -> Chart:
    """Chart proportions ``x / n`` with limits widened by the spread between points (Laney 2002, Quality Engineering 14:531).

    Parameters
    ----------
    phases : sequence, optional
        One label per point; each phase gets its own centre and limits from its first `baseline` points.
    """
    x, n = _series(x, "x"), _series(n, "n")
    if x.shape != n.shape or (n <= 0).any() or (x < 0).any() or (x > n).any():
        raise InputError("laney_p_prime needs 0 <= x <= n and n > 0 at every point; leave out periods without units.")
    labels = np.zeros(len(x), int) if phases is None else np.unique([str(p) for p in phases], return_inverse=True)[1]
    share = x / n
    centre, half = np.full_like(share, np.nan), np.full_like(share, np.nan)
    spare, sigma_z = len(x), 0.0
    for label in np.unique(labels):
        here = np.flatnonzero(labels == label)
        base = here[:baseline]
        p = x[base].sum() / n[base].sum()
        binomial = np.sqrt(p * (1 - p) / n)
        z = (share[base] - p) / binomial[base] if 0 < p < 1 else np.zeros(len(base))
        sigma_z = _moving_range_sigma(z)
        centre[here] = p
        half[here] = _width(width, MOVING_RANGE_DF * len(base), len(base), baseline) * sigma_z * binomial[here]
        spare = min(spare, len(base))
    return _chart(share, centre, np.maximum(centre - half, 0), np.minimum(centre + half, 1), sigma_z, "laney_p_prime", spare)


def residual_chart(
    values: Sequence[float],
    factors: Sequence[Sequence[object]] = (),
    *,
    baseline: int | None = None,
    width: float = 3.0,
) -> Chart:
    """Chart a series after taking out calendar effects and the memory of the day before.

    An additive level per label of each factor (weekday, festival, month ...) is fitted to the baseline by least squares, then a
    first-order autoregression of what is left (Alwan and Roberts 1988, J Bus Econ Stat 6:87). Chart logarithms
    where effects multiply.

    Raises
    ------
    InputError
        If a factor's length differs, or a label occurs only after the baseline (nothing is known about its level).
    """
    series = _series(values, "values")
    m = len(series) if baseline is None else min(baseline, len(series))
    design = [np.ones(len(series))]
    for factor in factors:
        labels = np.array([str(label) for label in factor])
        if len(labels) != len(series):
            raise InputError(f"a factor has {len(labels)} labels for {len(series)} points; give one label per point.")
        levels = np.unique(labels[:m])
        unseen = sorted(set(labels[m:]) - set(levels))
        if unseen:
            raise InputError(f"labels {', '.join(unseen)} do not occur among the {m} baseline points: {', '.join(levels)}")
        design += [(labels == level) * 1.0 for level in levels[1:]]
    matrix = np.column_stack(design)
    coefficients, _, rank, _ = np.linalg.lstsq(matrix[:m], series[:m], rcond=None)
    fitted = matrix @ coefficients
    rest = series - fitted
    lagged = float(rest[: m - 1] @ rest[: m - 1]) if m > 1 else 0.0
    phi = float(np.clip(rest[1:m] @ rest[: m - 1] / lagged, -0.95, 0.95)) if lagged > 0 else 0.0
    centre = fitted + phi * np.concatenate([[0.0], rest[:-1]])
    spare = m - int(rank) - 1
    sigma = math.sqrt(float(((series - centre)[:m] ** 2).sum()) / spare) if spare > 0 else 0.0
    half = _width(width, spare, m, baseline, int(rank)) * sigma
    return _chart(series, centre, centre - half, centre + half, sigma, "residual", spare)


def ewma(
    values: Sequence[float],
    target: float,
    sigma: float,
    lam: float = 0.2,
    L: float = 3.0,
    *,
    limits: Literal["asymptotic", "exact"] = "asymptotic",
) -> Chart:
    """Chart exponentially weighted moving averages ``z_t = lam y_t + (1 - lam) z_(t-1)``, ``z_0 = target``.

    `target` and `sigma` come from outside or from a baseline. Source: NIST/SEMATECH e-Handbook 6.3.2.4.
    """
    series = _series(values, "values")
    if not (0 < lam <= 1 and sigma > 0):
        raise InputError(f"ewma needs 0 < lam <= 1 and sigma > 0; given lam={lam!r}, sigma={sigma!r}.")
    z, last = np.empty_like(series), target
    for i, value in enumerate(series):
        z[i] = last = lam * value + (1 - lam) * last
    age = np.arange(1, len(series) + 1)
    growth = 1 - (1 - lam) ** (2 * age) if limits == "exact" else np.ones(len(series))
    half = L * sigma * np.sqrt(lam / (2 - lam) * growth)
    return _chart(z, np.full_like(z, target), target - half, target + half, sigma, "ewma", MIN_BASELINE)


def cusum(values: Sequence[float], target: float, k: float, h: float) -> Cusum:
    """Return the tabular CUSUM with reference value `k` and decision interval `h`, in the unit of the series.

    Source: NIST/SEMATECH e-Handbook 6.3.2.3. :func:`cusum_arl` tells how long it runs without a false alarm.
    """
    series = _series(values, "values")
    upper, lower = np.empty_like(series), np.empty_like(series)
    high = low = 0.0
    for i, value in enumerate(series):
        upper[i] = high = max(0.0, high + value - target - k)
        lower[i] = low = max(0.0, low + target - k - value)
    return Cusum(upper, lower, h, tuple(int(i) for i in np.flatnonzero((upper > h) | (lower > h))))


def cusum_arl(k: float, h: float, shift: float = 0.0) -> float:
    """Return the average run length of the two-sided tabular CUSUM of standard normal points shifted by `shift` sigmas.

    Page's (1954) integral equation by Gauss-Legendre quadrature, the limit of Brook and Evans' (1972) Markov chain; the two sides
    are joined by ``1 / ARL = 1 / ARL_up + 1 / ARL_down`` (exact for k > 0 and start at zero; van Dobben de Bruyn 1968).

    Examples
    --------
    >>> round(cusum_arl(0.5, 5), 1), round(cusum_arl(0.5, 5, 1), 2)
    (465.4, 10.38)
    """
    return 1 / (1 / _one_sided_arl(k, h, shift) + 1 / _one_sided_arl(k, h, -shift))


def _one_sided_arl(k: float, h: float, shift: float, nodes: int = 80) -> float:
    x, w = np.polynomial.legendre.leggauss(nodes)
    x, w = (x + 1) * h / 2, w * h / 2
    start = np.concatenate([[0.0], x])
    step = x[None, :] - start[:, None] + k - shift
    moves = np.column_stack([ndtr(-start + k - shift), np.exp(-(step**2) / 2) / math.sqrt(2 * math.pi) * w])
    return float(np.linalg.solve(np.eye(nodes + 1) - moves, np.ones(nodes + 1))[0])


def false_alarm_rate(
    quiet: Callable[[np.random.Generator], Sequence[Chart]],
    *,
    runs: int,
    rng: np.random.Generator,
    window: int,
    reports: int = 1,
) -> FalseAlarms:
    """Simulate how often charts signal among their last `window` points when nothing happens.

    Parameters
    ----------
    quiet : callable
        Draws one report's charts of a world without effects from the generator.
    runs : int
        Reports simulated; at least `reports`.
    reports : int
        Reports of one batch; a batch is `reports` consecutive runs.
    """
    if runs < reports:
        raise InputError(f"runs is {runs}, fewer than the {reports} reports of one batch; simulate at least one batch.")
    alarms, charts, raised = np.zeros(runs, bool), 0, 0
    for i in range(runs):
        fired = [bool(chart.recent(window)) for chart in quiet(rng)]
        alarms[i] = any(fired)
        charts, raised = charts + len(fired), raised + sum(fired)
    batches = alarms[: runs // reports * reports].reshape(-1, reports).any(1)
    report, batch = float(alarms.mean()), float(batches.mean())
    report_se, batch_se = math.sqrt(report * (1 - report) / runs), math.sqrt(batch * (1 - batch) / len(batches))
    return FalseAlarms(raised / charts if charts else 0.0, report, batch, report_se, batch_se, runs)
