"""How far windows lie from what was expected of them: forecasts from the past only, and variances net of counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtri, ndtr, ndtri

from sqkit.campaigns.model import Range
from sqkit.stats.shrinkage import gamma_poisson

__all__ = ["Backtest", "backtest", "cut_at_zero", "expected", "level_sd", "positive", "shared_sd"]

CELL = ["store_id", "group_id", "segment"]
DEPTHS = (1, 3, 6, 13)  # windows that a forecast may look back
USUAL = 3
LATE = 12  # windows that tell how groups and stores differ
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
    seen = past.assign(inside=past["group_id"] != "")
    asked = now.assign(inside=now["group_id"] != "")
    pooled = seen.groupby(["segment", "inside"])[["n_orders", "n_members", "sum_sq"]].sum()
    whole = float(seen["n_orders"].sum()) / max(float(seen["n_members"].sum()), 1.0)
    rate = {key: row.n_orders / row.n_members for key, row in zip(pooled.index, pooled.itertuples(), strict=True)}
    base_seen = _looked_up(seen, rate, whole)
    base_now = _looked_up(asked, rate, whole)
    total = float(seen["n_orders"].sum())
    noise = max(float(seen["sum_sq"].sum()) / total, 1.0) if total else 1.0
    seen = seen.assign(expect=base_seen * seen["n_members"])
    groups = seen.groupby(["store_id", "group_id"], as_index=False)[["n_orders", "expect"]].sum()
    groups["ratio"] = gamma_poisson(groups["n_orders"] / noise, groups["expect"] / noise).value
    cells = seen.groupby(CELL, as_index=False)[["n_orders", "expect"]].sum().merge(groups[["store_id", "group_id", "ratio"]])
    cells["own"] = gamma_poisson(cells["n_orders"] / noise, cells["expect"] * cells["ratio"].fillna(1) / noise).value
    made = asked[CELL].merge(groups[["store_id", "group_id", "ratio"]], how="left").merge(cells[[*CELL, "own"]], how="left")
    factor = made["ratio"].fillna(1.0).to_numpy() * made["own"].fillna(1.0).to_numpy()
    return base_now * factor / weeks


def _looked_up(frame: pd.DataFrame, rate: dict, default: float) -> np.ndarray:
    return np.array([rate.get(key, default) for key in zip(frame["segment"], frame["inside"], strict=True)], float)


@dataclass(frozen=True)
class Backtest:
    """Each past window as it would have been forecast on its eve.

    Attributes
    ----------
    windows : DataFrame
        One row per window, the earliest first: ``origin_on``, ``actual``, ``forecast`` (orders), ``error`` (log of their ratio),
        ``noise`` (variance of the error from counting alone).
    cells : DataFrame
        The latest 12 per store and group: ``origin_on``, ``store_id``, ``group_id``, ``actual``, ``forecast``.
    depth : int
        Windows that forecasts look back, chosen by the smallest squared error.
    """

    windows: pd.DataFrame
    cells: pd.DataFrame
    depth: int


def backtest(frame: pd.DataFrame, weeks: int) -> Backtest:
    """Forecast every past window from those that had ended before it began."""
    days = sorted(frame["origin_on"].unique())
    whole = frame.groupby(["origin_on", "segment", frame["group_id"] != ""])[["n_orders", "n_members", "sum_sq"]].sum()
    errors = {depth: _errors(whole, days, depth) for depth in DEPTHS}
    common = [d for d in days[min(USUAL, len(days)) :] if all(d in e for e in errors.values())]
    depth = USUAL
    if len(common) >= LEAST:
        depth = min(DEPTHS, key=lambda k: sum(errors[k][d][0] ** 2 for d in common))
    found = errors[depth]
    windows = pd.DataFrame(
        [(d, found[d][2], found[d][1], found[d][0]) for d in days if d in found],
        columns=["origin_on", "actual", "forecast", "error"],
    )
    sq = frame.groupby("origin_on")["sum_sq"].sum().reindex(windows["origin_on"]).to_numpy(float)
    windows["noise"] = sq / windows["actual"].to_numpy(float) ** 2
    cells = []
    for place, day in list(enumerate(days))[1:][-LATE:]:
        past = frame[frame["origin_on"].isin(days[max(0, place - max(depth, USUAL)) : place])]
        now = frame[frame["origin_on"] == day]
        made = now[["origin_on", "store_id", "group_id"]].assign(
            actual=now["n_orders"].to_numpy(float), forecast=expected(past, now, weeks) * now["n_members"].to_numpy() * weeks
        )
        cells.append(made.groupby(["origin_on", "store_id", "group_id"], as_index=False).sum())
    columns = ["origin_on", "store_id", "group_id", "actual", "forecast"]
    return Backtest(windows, pd.concat(cells, ignore_index=True) if cells else pd.DataFrame(columns=columns), depth)


def _errors(whole: pd.DataFrame, days: list, depth: int) -> dict:
    made = {}
    for place, day in enumerate(days):
        if place == 0:
            continue
        past = whole.loc[days[max(0, place - depth) : place]].groupby(level=[1, 2]).sum()
        now = whole.loc[day]
        rate = (past["n_orders"] / past["n_members"]).reindex(now.index).fillna(past["n_orders"].sum() / past["n_members"].sum())
        forecast, actual = float((rate * now["n_members"]).sum()), float(now["n_orders"].sum())
        if forecast > 0 and actual > 0:
            made[day] = (float(np.log(actual / forecast)), forecast, actual)
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
