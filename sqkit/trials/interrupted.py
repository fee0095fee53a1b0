"""One series, one interruption: what came in the window and after it against what the time before foretold, judged by placebos.

The forecast is a quasi-Poisson regression on a design that the caller gives (level, trend, weekdays, season). How far such a forecast
misses when nothing happened is not assumed but measured: the same forecast is made at earlier days, from what was known there, and the
largest of these misses set the bar and the width of the interval (as in conformal prediction; for synthetic control see Abadie 2010).
Causal only if nothing else happened in the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from sqkit.errors import InputError

__all__ = ["LEAST_PLACEBOS", "RANKED", "Interrupted", "Span", "interrupted"]

LEAST_PLACEBOS = 5  # windows
RANKED = 19  # from here on the ranks of the misses are a second judge; fewer cannot reach a p of .05
LEAST_DAYS = 56  # of history before a forecast
USABLE_SHARE = 2 / 3  # of a placebo window; its other days are left out


@dataclass(frozen=True)
class Span:
    """Actual and foretold sums over some days; `lift` and its interval are relative, `extra` is in units of the series."""

    actual: float
    expected: float
    low: float
    high: float
    p: float

    @property
    def lift(self) -> float:
        return self.actual / self.expected - 1

    @property
    def extra(self) -> float:
        return self.actual - self.expected

    @property
    def extra_range(self) -> tuple[float, float]:
        """Interval of `extra`."""
        return self.actual - self.actual / (1 + self.low), self.actual - self.actual / (1 + self.high)


@dataclass(frozen=True)
class Interrupted:
    """The window, the days after it, and both together.

    Attributes
    ----------
    window, after, both : Span or None
        None where it cannot be told (or no days after were asked for).
    n_placebos, n_days : int
        Placebo windows, and days of history that the forecast rests on.
    misses : ndarray
        Log of actual over expected of every placebo window, in order of time.
    n_after : int
        Days after the window that were judged: those asked for, or as many as the series has.
    reason : str
        '' or ``short_pre``, ``few_placebos``, ``no_events``.
    """

    window: Span | None
    after: Span | None
    both: Span | None
    n_placebos: int
    n_days: int
    misses: np.ndarray
    reason: str = ""
    n_after: int = 0


def interrupted(
    values: np.ndarray,
    design: np.ndarray,
    start: int,
    length: int,
    *,
    after: int = 0,
    usable: np.ndarray | None = None,
    ridge: float = 1e-6,
    level: float = 0.95,
) -> Interrupted:
    """Judge the `length` values from `start` on, and the `after` values behind them (as many as there are: ``n_after``).

    Parameters
    ----------
    values : ndarray
        Counts or sums per period, in order of time.
    design : ndarray
        Periods x columns, known without `values`; a constant is added.
    usable : ndarray of bool, optional
        Periods that forecasts may learn from and placebos may lie in; other campaigns and festivals are not.

    Notes
    -----
    Placebo windows do not overlap each other. Misses are taken as normal with mean zero (Student's t, as many degrees of freedom as
    windows). From 19 windows on the ranks are a second judge: the interval is never narrower than the order statistic, and the p-value
    never below ``(1 + worse) / (1 + placebos)`` unless the gap is larger than every miss. Assumes that misses before and now are alike.

    Raises
    ------
    InputError
        If lengths do not fit, or values are negative or not finite.
    """
    values = np.asarray(values, float)
    usable = np.ones(len(values), bool) if usable is None else np.asarray(usable, bool)
    if not (len(values) == len(design) == len(usable)):
        raise InputError(f"values, design and usable differ in length: {len(values)}, {len(design)}, {len(usable)}.")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError("a series holds counts or sums from 0 up; it has negative or missing values.")
    if length < 1 or after < 0 or not 0 < start <= len(values) - length:
        raise InputError(f"the window {start} + {length} lies outside the series; allowed: 1 to {len(values) - length}.")
    after = min(after, len(values) - start - length)
    none = np.zeros(0)
    if usable[:start].sum() < LEAST_DAYS:
        return Interrupted(None, None, None, 0, int(usable[:start].sum()), none, "short_pre", after)
    if not values[:start][usable[:start]].sum() > 0:
        return Interrupted(None, None, None, 0, int(usable[:start].sum()), none, "no_events", after)
    spans = {"window": (0, length), "after": (length, length + after), "both": (0, length + after)}
    spans = {k: v for k, v in spans.items() if v[1] > v[0]}
    whole = length + after
    places = [
        s
        for s in range(start - whole, 0, -whole)
        if usable[:s].sum() >= LEAST_DAYS and all(usable[s + a : s + b].mean() >= USABLE_SHARE for a, b in spans.values())
    ][::-1]
    if len(places) < LEAST_PLACEBOS:
        return Interrupted(None, None, None, len(places), int(usable[:start].sum()), none, "few_placebos", after)
    misses = {k: np.empty(len(places)) for k in spans}
    for i, place in enumerate(places):
        expected = _foretold(values, design, usable, place, whole, ridge)
        kept = usable[place : place + whole]
        for k, (a, b) in spans.items():
            actual = values[place + a : place + b][kept[a:b]].sum()
            misses[k][i] = np.log((actual + 0.5) / (expected[a:b][kept[a:b]].sum() + 0.5))
    expected = _foretold(values, design, usable, start, whole, ridge)
    made = {k: _span(values[start + a : start + b].sum(), expected[a:b].sum(), misses[k], level) for k, (a, b) in spans.items()}
    return Interrupted(
        made["window"], made.get("after"), made["both"], len(places), int(usable[:start].sum()), misses["window"], "", after
    )


def _span(actual: float, expected: float, misses: np.ndarray, level: float) -> Span:
    gap = np.log((actual + 0.5) / (expected + 0.5))
    size = np.sort(np.abs(misses))
    spread = max(float(np.sqrt((size**2).mean())), 1e-9)
    p = 2 * float(stdtr(len(size), -abs(gap) / spread))
    bar = spread * stdtrit(len(size), 0.5 + level / 2)
    worse = (size >= abs(gap)).sum()
    if len(size) >= RANKED:
        bar = max(bar, size[int(np.ceil(level * (len(size) + 1))) - 1])
        p = max(p, (1 + worse) / (1 + len(size))) if worse else p
    return Span(float(actual), float(expected), float(np.expm1(gap - bar)), float(np.expm1(gap + bar)), float(p))


def _foretold(values: np.ndarray, design: np.ndarray, usable: np.ndarray, start: int, length: int, ridge: float) -> np.ndarray:
    """Return the forecast of `length` periods from `start` on, from usable periods before it."""
    rows = np.flatnonzero(usable[:start])
    design = np.column_stack([np.ones(len(design)), design])
    x, y = design[rows], values[rows]
    level = np.log(max(y.mean(), 1e-9))
    beta = np.zeros(x.shape[1])
    penalty = ridge * len(rows) * np.eye(x.shape[1])
    for _ in range(25):
        rate = np.exp(np.clip(level + x @ beta, -30, 30))
        step = np.linalg.solve((x.T * rate) @ x + penalty * y.mean(), x.T @ (y - rate) - penalty @ beta * y.mean())
        beta = beta + step
        if np.abs(x @ step).max() < 1e-8:
            break
    return np.exp(np.clip(level + design[start : start + length] @ beta, -30, 30))
