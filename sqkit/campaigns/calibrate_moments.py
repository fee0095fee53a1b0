"""How far windows lie from what was expected of them: forecasts from the past only, and variances net of counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri, ndtr, ndtri

from sqkit.campaigns.model import Range
from sqkit.stats.shrinkage import gamma_poisson

__all__ = ["DEPTHS", "Backtest", "backtest", "cut_at_zero", "expected", "level_sd", "positive", "shared_sd"]

DEPTHS = (1, 3, 6, 13)  # windows that a forecast may look back
USUAL = 3
LATE = 9  # windows that tell how groups and stores differ
LEAST = 6  # windows with a forecast, below which the spread is not told
Z90 = 1.6448536269514722


def expected(past: pd.DataFrame, now: pd.DataFrame, weeks: int) -> np.ndarray:
    """Return the orders a member and week that are expected of each cell of `now`, from the cohorts of `past`.

    The rate of a segment (inside and outside groups apart) is pooled over everybody; a group differs from it by a ratio that is shrunk
    towards 1 (gamma-Poisson, counts at their effective size: one member's orders come together), a cell from its group likewise.
    A segment never seen before gets the rate of all members.
    """
    if now.empty:
        return np.zeros(0)
    both = _Coded.of(pd.concat([past, now], ignore_index=True))
    is_past = np.arange(len(both.kind)) < len(past)
    return both.expected(is_past, ~is_past) / weeks


@dataclass(frozen=True)
class _Coded:
    """Cells of cohorts as numbers: segment inside or outside groups, group of a store, cell; members, orders, squares."""

    kind: np.ndarray
    unit: np.ndarray
    cell: np.ndarray
    heads: np.ndarray
    orders: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Coded:
        segment = pd.factorize(frame["segment"])[0]
        unit = pd.factorize(frame["store_id"].astype(str) + "\x1f" + frame["group_id"].astype(str))[0]
        kind = segment * 2 + (frame["group_id"] != "").to_numpy()
        cell = unit * (int(segment.max(initial=0)) + 1) + segment
        heads, orders, squares = (frame[c].fillna(0).to_numpy(float) for c in ("n_members", "n_orders", "sum_sq"))
        return cls(kind, unit, cell, heads, orders, squares)

    def expected(self, past: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Return orders a member and window, for the rows `now`, from the rows `past`."""
        size = int(self.kind.max(initial=0)) + 1
        heads, orders = (np.bincount(self.kind[past], x[past], size) for x in (self.heads, self.orders))
        total, whole = orders.sum(), orders.sum() / max(heads.sum(), 1.0)
        rate = np.where(heads > 0, orders / np.maximum(heads, 1.0), whole)
        noise = max(self.squares[past].sum() / total, 1.0) if total else 1.0
        expect = rate[self.kind[past]] * self.heads[past]
        ratio = self._shrunk(self.unit, past, expect, noise)
        own = self._shrunk(self.cell, past, expect * ratio[self.unit[past]], noise)
        return rate[self.kind[now]] * ratio[self.unit[now]] * own[self.cell[now]]

    def _shrunk(self, code: np.ndarray, past: np.ndarray, expect: np.ndarray, noise: float) -> np.ndarray:
        size = int(code.max(initial=0)) + 1
        seen, due = np.bincount(code[past], self.orders[past], size), np.bincount(code[past], expect, size)
        made = np.ones(size)
        told = due > 0
        made[told] = gamma_poisson(seen[told] / noise, due[told] / noise).value
        return made


@dataclass(frozen=True)
class Backtest:
    """Each past window as it would have been forecast on its eve.

    Attributes
    ----------
    windows : DataFrame
        One row per window, the earliest first: ``origin_on``, ``actual``, ``forecast`` (orders), ``error`` (log of their ratio),
        ``noise`` (variance of the error from counting alone), ``looked`` (windows looked back, chosen from what had been seen by then),
        ``error_1`` ... (the error at each depth).
    cells : DataFrame
        The latest 9 per store and group: ``origin_on``, ``store_id``, ``group_id``, ``actual``, ``forecast``.
    depth : int
        Windows that the coming forecast looks back, chosen by the smallest squared error.
    """

    windows: pd.DataFrame
    cells: pd.DataFrame
    depth: int


def backtest(frame: pd.DataFrame, weeks: int) -> Backtest:
    """Forecast every past window from those that had ended before it began."""
    days = sorted(frame["origin_on"].unique())
    kinds = frame["segment"] + np.where(frame["group_id"] != "", "+", "")
    heads, orders = (frame.pivot_table(c, "origin_on", kinds, "sum", 0).to_numpy(float) for c in ("n_members", "n_orders"))
    actual = orders.sum(1) if len(days) else np.zeros(0)
    squares = frame.groupby("origin_on")["sum_sq"].sum().reindex(days).to_numpy(float)
    errors = {}
    for depth in DEPTHS:
        forecast = _forecasts(heads, orders, depth)
        told = (actual > 0) & (forecast > 0)
        errors[depth] = forecast, np.log(np.where(told, actual, np.nan) / np.where(told, forecast, np.nan))
    looked = _depths({k: e for k, (_, e) in errors.items()})
    depth, at = int(looked[-1]), np.arange(len(days))
    forecast, error = (np.array([errors[k][part][i] for i, k in zip(at, looked[:-1], strict=True)], float) for part in (0, 1))
    noise = squares / np.maximum(actual, 1) ** 2
    windows = pd.DataFrame({"origin_on": days, "actual": actual, "forecast": forecast, "error": error, "noise": noise})
    windows = windows.assign(looked=looked[:-1], **{f"error_{k}": e for k, (_, e) in errors.items()})
    windows = windows.dropna(subset=["error"]).reset_index(drop=True)
    coded, place = _Coded.of(frame), np.searchsorted(days, frame["origin_on"].to_numpy()) if len(frame) else np.zeros(0, int)
    cells = []
    for at in range(max(1, len(days) - LATE), len(days)):
        now = place == at
        made = frame.loc[now, ["origin_on", "store_id", "group_id"]].assign(
            actual=coded.orders[now],
            forecast=coded.expected((place < at) & (place >= at - max(depth, USUAL)), now) * coded.heads[now],
        )
        cells.append(made.groupby(["origin_on", "store_id", "group_id"], as_index=False).sum())
    columns = ["origin_on", "store_id", "group_id", "actual", "forecast"]
    return Backtest(windows, pd.concat(cells, ignore_index=True) if cells else pd.DataFrame(columns=columns), depth)


def _depths(errors: dict[int, np.ndarray]) -> np.ndarray:
    """Return how far back each window's forecast looks, and last the coming one's: what erred least over the windows before it."""
    n = len(errors[USUAL])
    made = np.full(n + 1, USUAL)
    for i in range(n + 1):
        if np.isfinite(errors[USUAL][USUAL:i]).sum() >= LEAST:
            made[i] = min(DEPTHS, key=lambda k, i=i: float(np.nansum(errors[k][USUAL:i] ** 2)))
    return made


def _forecasts(heads: np.ndarray, orders: np.ndarray, depth: int) -> np.ndarray:
    """Forecast the brand's windows from the rates, by segment and inside or outside groups, of the `depth` windows before each."""
    made = np.full(len(heads), np.nan)
    for place in range(1, len(heads)):
        before = slice(max(0, place - depth), place)
        n, y = heads[before].sum(0), orders[before].sum(0)
        made[place] = heads[place] @ np.where(n > 0, y / np.maximum(n, 1), y.sum() / max(n.sum(), 1))
    return made


def level_sd(windows: pd.DataFrame, least: int = LEAST) -> tuple[float, float, float] | None:
    """Return the sd of the level of a window around its forecast, with a 90% range, net of counting noise; None for too few windows.

    Errors count from 0, so that a lasting bias widens the range; the range is that of a variance of normal errors (chi-square).
    """
    m = len(windows)
    if m < least:
        return None
    square, noise = float(np.mean(windows["error"] ** 2)), float(np.mean(windows["noise"]))
    ends = [m * square / chdtri(m, q) for q in (0.05, 0.5, 0.95)]
    low, mid, high = (np.sqrt(max(x - noise, 0.05 * x)) for x in ends)
    return float(mid), float(low), float(high)


def shared_sd(cells: pd.DataFrame, level: str, inner: float = 0.0) -> tuple[float, float, float, int] | None:
    """Return the sd of log levels that differ between the units of a window, net of Poisson noise, and how many units tell it.

    Parameters
    ----------
    cells : DataFrame
        ``origin_on``, ``store_id``, ``group_id``, ``actual``, ``forecast``.
    level : {"group", "store"}
        Groups around their store's level in the window, or stores around the brand's.
    inner : float
        Variance of group levels, which stores inherit; 0 when `level` is "group".

    Returns
    -------
    tuple or None
        Median, 5% and 95% of the sd (a normal law of the variance cut at 0), and the number of units; None below 8 units.

    Notes
    -----
    Within a set of units with forecasts F and outcomes O, residuals O - F sum(O)/sum(F) have variance (1-2w)V + w² sum(V), where w is
    a unit's share of F and V = F + s²F². The moments are solved for s²; its error comes from the units' own contributions.
    """
    told = cells[cells["forecast"] > 0]
    inside = told[told["group_id"] != ""]
    if inside.empty and level == "store":
        inside = told
    outer = ["origin_on", "store_id"] if level == "group" else ["origin_on"]
    unit = "group_id" if level == "group" else "store_id"
    made = (
        inside.assign(sq=inside["forecast"] ** 2)
        .groupby([*dict.fromkeys([*outer, unit])], as_index=False)[["actual", "forecast", "sq"]]
        .sum()
    )
    total = made.groupby(outer)[["actual", "forecast"]].transform("sum")
    forecast = made["forecast"].to_numpy(float)
    share = forecast / total["forecast"].to_numpy(float)
    scaled = forecast * (total["actual"] / total["forecast"]).to_numpy(float)
    gap = made["actual"].to_numpy(float) - scaled
    lift = (total["actual"] / total["forecast"]).to_numpy(float)
    noise = scaled + inner * made["sq"].to_numpy(float) * lift**2
    made = made.assign(noise=noise, square=scaled**2)
    sums = made.groupby(outer)[["noise", "square"]].transform("sum")
    keep = 1 - 2 * share
    top = gap**2 - (noise * keep + share**2 * sums["noise"].to_numpy(float))
    bottom = scaled**2 * keep + share**2 * sums["square"].to_numpy(float)
    by = pd.DataFrame({"unit": made[unit], "top": top, "bottom": bottom})
    if level == "store":
        by["unit"] = np.arange(len(by))  # store-windows: stores are few
    by = by[bottom > 0].groupby("unit").sum()
    if len(by) < 8 or by["bottom"].sum() <= 0:
        return None
    value = float(by["top"].sum() / by["bottom"].sum())
    rest = by["top"] - value * by["bottom"]
    se = float(np.sqrt((rest**2).sum() * len(by) / (len(by) - 1)) / by["bottom"].sum())
    low, mid, high = (float(np.sqrt(v)) for v in cut_at_zero(value, se))
    return mid, low, high, len(by)


def cut_at_zero(value: float, se: float) -> tuple[float, float, float]:
    """Return the 5%, 50% and 95% points of a quantity that is normal around `value` and known not to be negative."""
    if se <= 0:
        return (max(value, 0.0),) * 3
    floor = float(ndtr(-value / se))
    points = [value + se * float(ndtri(min(floor + q * (1 - floor), 1 - 1e-12))) for q in (0.05, 0.5, 0.95)]
    return tuple(max(p, 0.0) for p in points)


def positive(found: tuple[float, float, float], n: float, source: str) -> Range:
    """Return a median and its ends as a range of a positive quantity."""
    mid, low, high = found
    return Range(mid, min(low, mid), max(high, mid), "positive", "data", float(n), source)
