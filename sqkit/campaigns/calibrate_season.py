"""Season and drift of the baseline: what the year before did in the same days, used only where the back-test gets better by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.reading import Period, Reading, remembered
from sqkit.reading.aligned import aligned_year_before

__all__ = ["Adjusted", "adjusted", "season_index"]

FIT, LEAST = 4, 6  # windows that a correction is fitted to, and that it is scored on
KINDS = {"none": (False, False), "drift": (True, False), "season": (False, True), "both": (True, True)}
PENALTY = 0.05  # each fitted number must pay with this share of the squared error
BASE_WEEKS = 24


@dataclass(frozen=True)
class Adjusted:
    """A correction of forecasts on the log scale.

    Attributes
    ----------
    kind : {"none", "drift", "season", "both"}
    shift : float
        Added to the log forecast of the coming window.
    shifts : ndarray
        The same for each past window, chosen and fitted from the windows before it.
    """

    kind: str
    shift: float
    shifts: np.ndarray


@remembered
def _daily(reading: Reading) -> pd.Series:
    store = "AND store_id = $store" if reading.store else ""
    frame = reading.engine.execute(
        f"SELECT ordered_on, count(*) AS n FROM order_facts WHERE member_id IS NOT NULL {store} GROUP BY ordered_on ORDER BY ordered_on",
        {"store": reading.store} if reading.store else None,
    ).df()
    days = pd.Series(frame["n"].to_numpy(float), index=pd.to_datetime(frame["ordered_on"]))
    return days.reindex(pd.date_range(days.index.min(), days.index.max()), fill_value=0.0) if len(days) else days


def season_index(reading: Reading, origins: Sequence[date], weeks: int) -> np.ndarray:
    """Return how far orders of the same days a year before lay above the half-year before them, as a log; NaN where unknown.

    The year before is aligned to the Spring Festival. Growth of the brand is in it too; :func:`adjusted` centres it.
    """
    days = _daily(reading)
    if not len(days):
        return np.full(len(origins), np.nan)
    total, first = np.r_[0.0, np.cumsum(days.to_numpy())], days.index[0].date()
    spans = max(1, round(BASE_WEEKS / weeks))
    made = []
    for origin in origins:
        same = aligned_year_before(Period(origin + timedelta(days=1), origin + timedelta(days=7 * weeks))).period
        begin = (same.first - first).days
        end, early = begin + 7 * weeks, begin - 7 * weeks * spans
        inside = early >= 0 and end <= len(days)
        top, low = (total[end] - total[begin], (total[begin] - total[early]) / spans) if inside else (0.0, 0.0)
        made.append(np.log(top / low) if top > 0 and low > 0 else np.nan)
    return np.array(made, float)


def adjusted(error: np.ndarray, index: np.ndarray, coming: float) -> Adjusted:
    """Choose a correction by how well it would have forecast each past window from the windows before it.

    Parameters
    ----------
    error : array
        Log of actual over forecast of past windows, the earliest first.
    index : array
        :func:`season_index` of the same windows.
    coming : float
        The same of the coming window.

    Notes
    -----
    Candidates: none; a constant (drift); the season's index times a slope between 0 and 1; both. Each is fitted to the windows before
    (at least 4), so that it is scored as it would be used; each fitted number is charged 5% of the squared error. The choice itself is made
    anew at every window from the scores before it: errors after `shifts` are those of the whole procedure. Fewer than 6 scored
    windows leave forecasts as they are. Rolling origin: Tashman 2000.
    """
    error, index = np.asarray(error, float), np.r_[np.asarray(index, float), coming]
    n = len(error)
    tried = {
        kind: np.array([_before(error, index, i, drift, season) for i in range(n + 1)]) for kind, (drift, season) in KINDS.items()
    }
    kinds = [_best(error, tried, i) for i in range(n + 1)]
    shifts = np.array([tried[kind][i] for i, kind in enumerate(kinds)])
    return Adjusted(kinds[-1], float(shifts[-1]), shifts[:-1])


def _before(error: np.ndarray, index: np.ndarray, at: int, drift: bool, season: bool) -> float:
    """Return the shift of window `at` fitted to the windows before it; NaN where they are too few."""
    if not drift and not season:
        return 0.0
    use = np.isfinite(error[:at]) & (np.isfinite(index[:at]) if season else True)
    if use.sum() < FIT or season and not np.isfinite(index[at]):
        return np.nan
    return _fit(error[:at][use], index[:at][use], float(index[at]), drift, season)


def _best(error: np.ndarray, tried: dict[str, np.ndarray], at: int) -> str:
    """Return what erred least, charged, over the windows before `at`; each is held against no correction on the same windows."""
    best, best_gain = "none", 0.0
    for kind, (drift, season) in KINDS.items():
        rows = np.isfinite(tried[kind][:at]) & np.isfinite(error[:at])
        if kind == "none" or not np.isfinite(tried[kind][at]) or rows.sum() < LEAST:
            continue
        plain = float(np.mean(error[:at][rows] ** 2))
        loss = float(np.mean((error[:at] - tried[kind][:at])[rows] ** 2)) * (1 + PENALTY * (drift + season))
        gain = 1 - loss / plain if plain > 0 else 0.0
        if gain > best_gain:
            best, best_gain = kind, gain
    return best


def _fit(error: np.ndarray, index: np.ndarray, at: float, drift: bool, season: bool) -> float:
    shift = float(error.mean()) if drift else 0.0
    if season:
        gap = index - index.mean()
        square = float(gap @ gap)
        slope = float(np.clip(gap @ (error - error.mean()) / square, 0, 1)) if square > 0 else 0.0
        shift += slope * float(at - index.mean())
    return shift
