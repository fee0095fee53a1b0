"""Whether days of the calendar and the weather move response to posts, and orders: the unit is the day, not the post."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import calendar
from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.timing.checks import years_without_calendar
from sqkit.timing.clustered import t_quantile
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.posted import posted

__all__ = ["KINDS", "LEAST_DAYS", "OUTCOMES", "WEATHER", "Days", "days", "kinds_of_days"]

OUTCOMES = ("response", "orders")
# A day belongs to the first kind that holds; what is none of them is an ordinary day.
KINDS = (
    "shopping_peak", "spring_festival", "holiday", "make_up", "lunar", "holiday_eve", "lunar_eve", "mid_year_618", "double_11",
    "double_12", "women_38", "new_year_goods", "after_peak", "solar_term",
)  # fmt: skip
WEATHER = ("wet", "warm")
LUNAR = (
    (1, 15),
    (5, 5),
    (7, 7),
    (8, 15),
    (9, 9),
    (12, 8),
)  # lantern, dragon boat, double seventh, mid-autumn, double ninth, laba
LEAST_DAYS, LEAST_OCCASIONS, LEAST_ORDINARY, LEAST_EVENTS = 5, 2, 60, 500
BEFORE_PEAK, AFTER_PEAK, BEFORE_FESTIVAL = 2, 14, 3
AROUND = 45  # days on each side that give the level an ordinary day would have
LAGS = 7  # days over which neighbours may resemble each other
ROUNDS = 8
LEAST_CITIES, WARM = 4, 5.0  # degrees above what the city's month brings


@dataclass(frozen=True)
class Days:
    """What kinds of days do to one outcome.

    Attributes
    ----------
    outcome : str
        ``response`` (responders per member reached, given hour, weekday, class and group) or ``orders`` (per member and day, given the
        weekday).
    table : DataFrame
        One row per kind of :data:`KINDS` (and of :data:`WEATHER`, where the source has weather): ``kind``; ``n_days``; ``n_occasions`` (runs
        of days; weeks for the weather); ``y``; ``expected``; ``ratio`` to ordinary days around; ``low``, ``high`` (95% simultaneous over
        the kinds that could be read); ``p`` (Holm over them); ``is_named`` (p below the page's share); ``reason`` (``few_days``, ``one_occasion``, ``few_cities``,
        ``no_days`` or '').
    n_days, n_ordinary : int
    n : int
        Responders or orders.
    dispersion : float
        Variance of an ordinary day's count over its expectation; 1 is what independent events would give.
    estimated_years : tuple of int
        Years without an official holiday calendar.
    reason : str
        Why not: ``missing``, ``foreign`` (the source does not live by the Chinese calendar and has no weather), ``not_enough_data``;
        else ''.
    """

    outcome: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    n_days: int = 0
    n_ordinary: int = 0
    n: int = 0
    dispersion: float = float("nan")
    estimated_years: tuple[int, ...] = ()
    reason: str = ""

    @property
    def named(self) -> pd.DataFrame:
        """Kinds with an effect beyond chance, the strongest first."""
        if self.table.empty:
            return self.table
        held = self.table[self.table.is_named]
        return held.iloc[np.argsort(-np.abs(np.log(held.ratio.to_numpy(float))), kind="stable")]


@remembered
def days(reading: Reading, outcome: str) -> Days:
    """Compare days of each kind with the ordinary days around them.

    What a day would have brought is the product of main effects (of hour, weekday, content class and group for response; of the weekday
    for orders) and the level of the ordinary days within 45 days. Variance is that of ordinary days, with neighbours up to a week apart
    allowed to resemble each other, so one viral post or one busy day counts as what it is: one day. Weather is compared between cities
    on the same day, weeks as clusters. Descriptive. Smallest sample: 500 events, 60 ordinary days; a kind is read from 5 days and named
    from two occasions on. Domain S3.14, S3.15.

    Parameters
    ----------
    outcome : {"response", "orders"}

    Returns
    -------
    Days
    """
    cells = _response(reading) if outcome == "response" else _orders(reading)
    if cells is None or cells.empty:
        return Days(outcome, reason="missing")
    is_chinese = calendar.is_chinese(reading.source.time_zone)
    weather = _weather(reading)
    if not is_chinese and weather is None:
        return Days(outcome, reason="foreign")
    daily = cells.groupby("on_day")[["y", "base"]].sum()
    span = pd.date_range(daily.index.min(), daily.index.max())
    y, base = (daily[c].reindex(span, fill_value=0.0).to_numpy(float) for c in ("y", "base"))
    kinds = kinds_of_days(span[0].date(), span[-1].date()) if is_chinese else np.full(len(span), "")
    is_ordinary = (kinds == "") & (base > 0)
    known = {"n_days": int((base > 0).sum()), "n_ordinary": int(is_ordinary.sum()), "n": int(y.sum())}
    known["estimated_years"] = years_without_calendar(span[0].date(), span[-1].date()) if is_chinese else ()
    if known["n"] < LEAST_EVENTS or known["n_ordinary"] < LEAST_ORDINARY:
        return Days(outcome, reason="not_enough_data", **known)
    weekday = span.day_of_week.to_numpy()
    expected = base * _level(y, base, is_ordinary, weekday if outcome == "orders" else np.zeros(len(span), int))
    held = is_ordinary & (expected > 0)
    z = np.where(held, (y - expected) / np.sqrt(np.maximum(expected, 1e-9)), 0.0)
    dispersion = max(float((z[held] ** 2).mean()), 1e-9)
    alike = [1.0] + [_alike(z, held, lag, dispersion) for lag in range(1, LAGS + 1)]
    rows = [
        _kind(kind, np.flatnonzero((kinds == kind) & (base > 0)), y, expected, dispersion, alike) for kind in KINDS if is_chinese
    ]
    if weather is not None:
        rows += [_sky(cells, weather, kind) for kind in WEATHER]
    return Days(outcome, _judged(pd.DataFrame(rows), known["n_ordinary"]), dispersion=dispersion, **known)


def kinds_of_days(first: date, last: date) -> np.ndarray:
    """Return the kind of each day (one of :data:`KINDS`, '' for an ordinary one) from `first` to `last`."""
    around = calendar.days(first - timedelta(days=AFTER_PEAK + 1), last + timedelta(days=2))
    n = len(around)
    peaks = {day for year in range(first.year - 1, last.year + 1) for key, day in calendar.shopping_festival_peaks(year).items()
             if key in ("mid_year_618", "double_11")}  # fmt: skip
    on = around.on_day.dt.date.to_numpy()
    to_peak = np.array([min(((p - d).days for p in peaks), key=abs, default=999) for d in on])
    festival = around.days_to_spring_festival.to_numpy()
    holiday = around.holiday.to_numpy(str)
    lunar = np.array([(m, d) in LUNAR for m, d in zip(around.lunar_month, around.lunar_day, strict=True)])
    off = (holiday != "") & (holiday != "spring_festival")
    shop = around.shopping_festival.to_numpy(str)
    holds = {
        "shopping_peak": (to_peak >= 0) & (to_peak <= BEFORE_PEAK),
        "spring_festival": (holiday == "spring_festival") | ((festival >= 0) & (festival <= BEFORE_FESTIVAL)),
        "holiday": off,
        "make_up": around.is_make_up_day.to_numpy(),
        "lunar": lunar,
        "holiday_eve": _day_before(off) & ~off,
        "lunar_eve": _day_before(lunar),
        "after_peak": (to_peak < 0) & (to_peak >= -AFTER_PEAK),
        "solar_term": around.solar_term.to_numpy(str) != "",
    }
    made = np.full(n, "", dtype="<U20")
    for kind in reversed(KINDS):
        made[holds.get(kind, shop == kind)] = kind
    return made[AFTER_PEAK + 1 : n - 2]


def _day_before(holds: np.ndarray) -> np.ndarray:
    return np.r_[holds[1:], False]


def _response(reading: Reading) -> pd.DataFrame | None:
    """Return response by day and city: ``y``, and ``base``, what main effects expect."""
    made = posted(reading)
    if not made.is_dated or not made.n_rows:
        return None
    rows = reading.engine.execute(
        """SELECT p.on_day, coalesce(s.city, '') AS city, dense_rank() OVER (ORDER BY p.group_id) - 1 AS grp,
                  coalesce(p.hour, 24) AS hour, p.weekday, dense_rank() OVER (ORDER BY coalesce(p.content_class, '')) - 1 AS class,
                  sum(p.y) AS y, sum(p.m) AS m
        FROM posted AS p LEFT JOIN stores AS s ON s.store_id = p.store_id WHERE p.on_day IS NOT NULL
        GROUP BY p.on_day, s.city, p.group_id, p.hour, p.weekday, p.content_class ORDER BY ALL"""
    ).df()
    y, m = rows.y.to_numpy(float), rows.m.to_numpy(float)
    fitted = m.copy()
    for _ in range(ROUNDS):
        for factor in ("grp", "hour", "weekday", "class"):
            codes = rows[factor].to_numpy(int)
            seen, hoped = np.bincount(codes, y), np.bincount(codes, fitted)
            fitted *= np.divide(seen, hoped, out=np.ones_like(hoped), where=hoped > 0)[codes]
    rows["base"] = fitted
    return rows.groupby(["on_day", "city"], as_index=False)[["y", "base"]].sum()


def _orders(reading: Reading) -> pd.DataFrame | None:
    """Return orders of members by day and city, ``base`` being the members there were (in all cities) by that day."""
    if not reading.source.has("orders.ordered_at", "orders.member_id"):
        return None
    mine = "AND o.store_id = $store" if reading.store else ""
    rows = reading.engine.execute(
        f"""SELECT o.ordered_on AS on_day, coalesce(s.city, '') AS city, count(*) AS y
        FROM order_facts AS o LEFT JOIN stores AS s ON s.store_id = o.store_id
        WHERE o.member_id IS NOT NULL {mine} GROUP BY ALL ORDER BY ALL""",
        {"store": reading.store} if reading.store else None,
    ).df()
    home = "WHERE home_store_id = $store" if reading.store else ""
    joined = reading.engine.execute(
        f"SELECT joined_on, count(*) AS n FROM member_facts {home} GROUP BY ALL ORDER BY ALL",
        {"store": reading.store} if reading.store else None,
    ).df()
    members = joined.set_index(pd.to_datetime(joined.joined_on)).n.cumsum()
    on = pd.to_datetime(rows.on_day)
    so_far = members.reindex(members.index.union(on.unique())).ffill().reindex(on).fillna(0.0).to_numpy()
    rows["base"] = so_far / rows.groupby("on_day").city.transform("size")  # a day's parts add up to its members
    return rows[rows.base > 0]


def _level(y: np.ndarray, base: np.ndarray, is_ordinary: np.ndarray, weekday: np.ndarray) -> np.ndarray:
    """Return what ordinary days around bring per unit of `base`, with the weekday's factor; a day is no part of its own level."""
    near = np.abs(np.subtract.outer(np.arange(len(y)), np.arange(len(y)))) <= AROUND
    np.fill_diagonal(near, False)
    near = near[:, is_ordinary].astype(float)
    factor = np.ones(7)
    for _ in range(3):
        hoped = base * factor[weekday]
        below = near @ hoped[is_ordinary]
        level = np.divide(near @ y[is_ordinary], below, out=np.zeros(len(y)), where=below > 0)
        own = np.bincount(weekday[is_ordinary], y[is_ordinary], minlength=7)
        of = np.bincount(weekday[is_ordinary], (base * level)[is_ordinary], minlength=7)
        factor = np.divide(own, of, out=np.ones(7), where=of > 0)
    return level * factor[weekday]


def _alike(z: np.ndarray, held: np.ndarray, lag: int, dispersion: float) -> float:
    both = held[lag:] & held[:-lag]
    return max(float((z[lag:] * z[:-lag])[both].mean()) / dispersion, 0.0) if both.sum() >= 30 else 0.0


def _kind(
    kind: str, at: np.ndarray, y: np.ndarray, expected: np.ndarray, dispersion: float, alike: list[float]
) -> dict[str, object]:
    runs = int((np.diff(at) > 1).sum()) + 1 if len(at) else 0
    told = {"kind": kind, "n_days": len(at), "n_occasions": runs, "y": float(y[at].sum()), "expected": float(expected[at].sum())}
    told |= {"log": float("nan"), "se": float("nan"), "reason": "no_days" if not len(at) else ""}
    if not len(at) or told["expected"] <= 0 or told["y"] <= 0:
        return told
    told["log"] = float(np.log(told["y"] / told["expected"]))
    root = np.sqrt(np.maximum(y[at], expected[at]))
    apart = np.abs(np.subtract.outer(at, at))
    likeness = np.where(apart <= LAGS, np.array([*alike, 0.0])[np.minimum(apart, LAGS + 1)], 0.0)
    variance = dispersion * max(float(root @ likeness @ root), float((root**2).sum())) / told["y"] ** 2
    own = (y[at] - np.exp(told["log"]) * expected[at]) ** 2  # days of the kind may differ more than ordinary ones
    if len(at) > 1:
        variance = max(variance, float(own.sum()) * len(at) / (len(at) - 1) / told["y"] ** 2)
    level = dispersion / max(float(expected[at].mean()) * min(2 * AROUND, 60), 1.0) * max(1, 2 * sum(alike) - 1) / runs
    told["se"] = float(np.sqrt(variance + level))
    if len(at) < LEAST_DAYS:
        told["reason"] = "few_days"
    elif runs < LEAST_OCCASIONS:
        told["reason"] = "one_occasion"
    return told


def _weather(reading: Reading) -> pd.DataFrame | None:
    if not reading.source.has("weather", "stores.city"):
        return None
    return reading.engine.execute(
        "SELECT city, on_day, is_wet, high_c FROM weather WHERE city IS NOT NULL ORDER BY city, on_day"
    ).df()


def _sky(cells: pd.DataFrame, weather: pd.DataFrame, kind: str) -> dict[str, object]:
    """Compare cities on the same day: wet with dry, and warmer with colder than the month is wont to be."""
    joined = cells.merge(weather, on=["city", "on_day"])
    on = pd.to_datetime(joined.on_day)
    month = joined.city + on.dt.strftime("|%Y-%m")
    usual = joined.groupby(month).high_c.transform("mean")
    x = joined.is_wet.astype(float) if kind == "wet" else (joined.high_c - usual) / WARM
    x, y, base = (np.asarray(v, float) for v in (x, joined.y, joined.base))
    told = {"kind": kind, "n_days": int(on[np.isfinite(x) & (x > 0)].nunique()), "n_occasions": 0, "y": 0.0, "expected": 0.0}
    told |= {"log": float("nan"), "se": float("nan"), "reason": ""}
    held = np.isfinite(x)
    if held.sum() == 0 or joined.city[held].nunique() < LEAST_CITIES or np.ptp(x[held]) == 0:
        return told | {"reason": "no_days" if not held.any() or joined.empty else "few_cities"}
    x, y, base = x[held], y[held], base[held]
    day, months = (pd.factorize(np.asarray(v)[held])[0] for v in (joined.on_day, month))
    week = pd.factorize(on[held].dt.strftime("%G-%V"))[0]
    slope = 0.0
    for _ in range(4):
        fitted = base * np.exp(slope * x)
        for _ in range(ROUNDS * 3):
            for codes in (day, months):
                hoped = np.bincount(codes, fitted)
                fitted *= np.divide(np.bincount(codes, y), hoped, out=np.zeros_like(hoped), where=hoped > 0)[codes]
        own = x.copy()
        for _ in range(ROUNDS * 3):
            for codes in (day, months):
                weight = np.bincount(codes, fitted)
                own -= np.divide(np.bincount(codes, fitted * own), weight, out=np.zeros_like(weight), where=weight > 0)[codes]
        information = float((fitted * own**2).sum())
        if information <= 0:
            return told | {"reason": "few_cities"}
        slope += float((own * (y - fitted)).sum()) / information
    by_week = np.bincount(week, own * (y - fitted))
    n_weeks = len(by_week)
    told |= {"n_occasions": n_weeks, "y": float(y[x > 0].sum()), "expected": float(y[x > 0].sum() / np.exp(slope)), "log": slope}
    told["se"] = float(np.sqrt((by_week**2).sum() * n_weeks / max(n_weeks - 1, 1)) / information)
    return told | {"reason": "few_days" if n_weeks < 8 else ""}


def _judged(rows: pd.DataFrame, n_ordinary: int) -> pd.DataFrame:
    from scipy.special import stdtr

    read = (rows.reason == "") & (rows.se > 0)
    df = np.where(rows.kind.isin(WEATHER), rows.n_occasions - 1, np.minimum(rows.n_days - 1, n_ordinary - 1)).clip(1)
    # few days lean on the variance of the ordinary ones as well: their degrees of freedom count in part
    df = np.where(rows.kind.isin(WEATHER), df, df + np.sqrt(n_ordinary))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stdtr(df, -np.abs(rows.log / rows.se))
    wide = np.array([t_quantile(1 - 0.025 / max(int(read.sum()), 1), d) for d in df])
    corrected = pd.Series(np.nan, index=rows.index)
    if read.any():
        corrected[read] = holm(p[read].tolist())
    return pd.DataFrame(
        {
            **rows[["kind", "n_days", "n_occasions", "y", "expected"]],
            "ratio": np.exp(rows.log),
            "low": np.where(read, np.exp(rows.log - wide * rows.se), np.nan),
            "high": np.where(read, np.exp(rows.log + wide * rows.se), np.nan),
            "p": corrected,
            "is_named": (corrected < OTHER_LEVEL).to_numpy(),
            "reason": rows.reason,
        }
    )
