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

LEAST = 8  # windows that a correction is tested on
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
        The same for each past window, each fitted without it; NaN where the year before is not known and season is used.
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
    """Choose a correction by how well it would have forecast each past window without having seen it.

    Parameters
    ----------
    error : array
        Log of actual over forecast of past windows.
    index : array
        :func:`season_index` of the same windows.
    coming : float
        The same of the coming window.

    Notes
    -----
    Candidates: none; a constant (drift); the season's index times a slope between 0 and 1; both. Leave-one-out squared errors, each
    fitted number charged 5%. Fewer than 8 windows are left as they are.
    """
    n, plain = len(error), np.zeros(len(error))
    if n < LEAST:
        return Adjusted("none", 0.0, plain)
    told = np.isfinite(index)
    has_season = told.sum() >= LEAST and np.isfinite(coming)
    rows = told if has_season else np.ones(n, bool)
    best, best_loss = Adjusted("none", 0.0, plain), float((error[rows] ** 2).sum())
    for kind, drift, season in (("drift", True, False), ("season", False, True), ("both", True, True)):
        if season and not has_season:
            continue
        use = rows if season else np.ones(n, bool)
        shifts = np.full(n, np.nan)
        for i in np.flatnonzero(use):
            others = use & (np.arange(n) != i)
            shifts[i] = _fit(error[others], index[others], index[i], drift, season)
        loss = float(((error - shifts)[rows] ** 2).sum()) * (1 + PENALTY * (drift + season))
        if loss < best_loss:
            best, best_loss = Adjusted(kind, _fit(error[use], index[use], coming, drift, season), shifts), loss
    return best


def _fit(error: np.ndarray, index: np.ndarray, at: float, drift: bool, season: bool) -> float:
    shift = float(error.mean()) if drift else 0.0
    if season:
        gap = index - index.mean()
        square = float(gap @ gap)
        slope = float(np.clip(gap @ (error - error.mean()) / square, 0, 1)) if square > 0 else 0.0
        shift += slope * float(at - index.mean())
    return shift
