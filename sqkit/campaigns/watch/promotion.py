"""Do orders wait for the recurring promotion day: its pull rises, and the other days fall."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import calendar
from sqkit.campaigns.watch.alarm import MONTH_DAYS, Alarm, Estimate, given, step, tail
from sqkit.reading import Reading, remembered

__all__ = ["FINDING", "NEEDS", "check"]

FINDING = "orders_wait_for_member_day"
NEEDS = ("orders",)
LEAST_MONTHS = 12
LEAST_A_DAY = 5.0  # orders a day
LEAST_PULL = 1.2  # a day of the month that stands out has this multiple of the days around it
LEAST_RISE = 1.2  # of the pull
LAST = range(3, 19)  # months that a higher pull may have lasted
LEAST_BEFORE = 6
NEAR = 14  # days on either side that a day is held against
SIDE = 70  # days on either side of the start in which other days are compared
AFTER_FESTIVAL = 14


@dataclass(frozen=True)
class _Break:
    start: int
    change: float
    error: float
    df: float
    p: float


@remembered
def check(reading: Reading) -> Alarm:
    """Look for recurring days of the month whose pull rose while the days between them fell.

    Days are held against the median of the 14 days on either side, after the weekday's usual factor; shopping festivals, the
    two weeks after them and Spring Festival are left out. A day of the month stands out if its mean over the last 12 months
    does at p < .01 over all 31. The month from which its pull is higher for good is the clearest of 16, corrected for the
    search. Whether the other days fell is read around that start, day by day and in weeks: a level before, a level after, one
    common trend, 70 days on either side, the clearest start between the last old and the first raised promotion day,
    corrected for that search. The p-value is the larger of the two: a promotion that only adds orders raises no alarm.
    Seasons and growth are smooth over 140 days and go with the trend; a break of another origin on the same days would be
    taken for waiting, so this describes and does not prove.

    Returns
    -------
    Alarm
        ``effect``: multiple of orders on the other days; ``loss``: orders a month lost on them, ``facts``: ``days`` (tuple of
        days of the month), ``pull_before``, ``pull_after`` (multiple of the days around), ``share_before``, ``share_after``
        (of the month's orders), ``gained`` (orders a month on the promotion days), ``net`` (Estimate, orders a month),
        ``kind`` ("none", "steady", "good", "waiting"), ``least_pull``
        (a day of the month that would be found four times in five), ``first_on``. ``money``: fen a month of the net. ``series``: month_on, pull, share,
        is_after. Smallest sample: 12 months, 5 orders a day.
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Alarm("promotion", FINDING, "missing", missing=lacks)
    days = _days(reading)
    months = days.month.nunique() if len(days) else 0
    if months < LEAST_MONTHS or days.orders.tail(365).mean() < LEAST_A_DAY:
        reason = "few_months" if months < LEAST_MONTHS else "few_orders"
        return Alarm(
            "promotion", FINDING, "not_enough_data", reason=reason, n=int(days.orders.sum()) if months else 0, n_clusters=months
        )
    chosen, spread, least_pull = _recurring(days)
    base = {"days": tuple(chosen), "kind": "none", "least_pull": least_pull, "first_on": days.on_day.iloc[0].date()}
    n = int(days.orders.sum())
    if not chosen:
        return Alarm("promotion", FINDING, "not_found", p=1.0, n=n, n_clusters=months, facts=base)
    days["is_promotion"] = days.on_day.dt.day.isin(chosen)
    monthly = _monthly(days)
    late, rise, p_rise = step(monthly.pull.to_numpy(), LAST, LEAST_BEFORE)
    raised = late > 0 and p_rise < 0.05 and np.exp(rise) >= LEAST_RISE
    monthly["is_after"] = np.arange(len(monthly)) >= len(monthly) - late if raised else False
    facts = base | {
        "kind": "steady",
        "p_rise": p_rise,
        "pull_after": _pull(monthly[monthly.is_after] if raised else monthly, spread),
    }
    facts["share_after"] = float((monthly[monthly.is_after] if raised else monthly).share.mean())
    series = monthly.assign(pull=np.exp(monthly.pull))[["month_on", "pull", "share", "is_after"]]
    if not raised:
        return Alarm("promotion", FINDING, "not_found", p=max(p_rise, 0.5), n=n, n_clusters=months, facts=facts, series=series)
    facts |= {
        "pull_before": _pull(monthly[~monthly.is_after], spread),
        "share_before": float(monthly[~monthly.is_after].share.mean()),
    }
    first = monthly.month_on[monthly.is_after].iloc[0]
    found = _break(days, first)
    if found is None:
        return Alarm(
            "promotion", FINDING, "not_enough_data", reason="short_side", n=n, n_clusters=months, facts=facts, series=series
        )
    effect = Estimate.of(found.change, _t95(found.df) * found.error).exp()
    facts |= {"kind": "waiting" if found.p < 0.05 else "good", "p_fall": found.p}
    loss, gained, net, value = _cost(reading, days, found.start, effect, facts["pull_before"].value)
    return Alarm(
        "promotion",
        FINDING,
        "not_found",
        p=max(p_rise, found.p),
        since=days.on_day.iloc[found.start].date(),
        effect=effect,
        loss=loss,
        money=net.times(-value),
        n=n,
        n_clusters=months,
        facts=facts | {"gained": gained, "net": net},
        series=series,
    )


def _t95(df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(df, 1.0), 0.975))


def _days(reading: Reading) -> pd.DataFrame:
    """Paid orders of each day; ``adjusted`` is their logarithm without the weekday, ``apart`` that less the days around."""
    store = "WHERE store_id = $store" if reading.store else ""
    found = reading.engine.execute(
        f"SELECT ordered_on AS on_day, count(*) AS orders FROM order_facts {store} GROUP BY 1 ORDER BY 1",
        given(reading),
    ).df()
    if found.empty:
        return found.assign(month=[])
    first, last = pd.Timestamp(found.on_day.min()), pd.Timestamp(reading.as_of)
    grid = pd.DataFrame({"on_day": pd.date_range(first, last)})
    found["on_day"] = pd.to_datetime(found.on_day).astype("datetime64[ns]")
    grid["on_day"] = grid.on_day.astype("datetime64[ns]")
    days = grid.merge(found, on="on_day", how="left").fillna({"orders": 0})
    days["month"] = days.on_day.dt.year * 12 + days.on_day.dt.month - 1
    days["is_apart"] = _unusual(reading, first.date(), last.date())
    log = np.log(days.orders + 0.5)
    around = log.rolling(2 * NEAR + 1, center=True, min_periods=NEAR).median()
    weekday = (log - around)[~days.is_apart].groupby(days.on_day.dt.day_of_week).mean()
    days["adjusted"] = log - days.on_day.dt.day_of_week.map(weekday).fillna(0.0)
    days["apart"] = days.adjusted - days.adjusted.rolling(2 * NEAR + 1, center=True, min_periods=NEAR).median()
    return days


def _unusual(reading: Reading, first: date, last: date) -> np.ndarray:
    """Days of shopping festivals and the two weeks after, and around Spring Festival, where the source is Chinese."""
    if not calendar.is_chinese(str(reading.source.manifest.get("time_zone", ""))):
        return np.zeros((last - first).days + 1, bool)
    known = calendar.days(first - timedelta(AFTER_FESTIVAL), last)
    festival = known.shopping_festival.isin(["double_11", "mid_year_618"]).to_numpy()
    after = np.zeros(len(known), bool)
    for i in np.flatnonzero(festival):
        after[i : i + AFTER_FESTIVAL + 1] = True
    spring = known.days_to_spring_festival.between(-8, 25).to_numpy()
    return (after | (known.shopping_festival != "").to_numpy() | spring)[AFTER_FESTIVAL:]


def _recurring(days: pd.DataFrame) -> tuple[list[int], float, float]:
    """Return the days of the month that stand out in the last 12 months, the spread of a usual day, and the least pull seen.

    The last is the multiple of the days around that would be found four times in five.
    """
    from scipy.special import stdtrit

    usual = days[~days.is_apart & days.apart.notna()]
    spread = float(1.4826 * (usual.apart - usual.apart.median()).abs().median())
    last = usual[usual.on_day > usual.on_day.max() - pd.Timedelta(days=365)]
    by_day = last.groupby(last.on_day.dt.day).apart.agg(["mean", "count"])
    t = by_day["mean"] / (max(spread, 1e-9) / np.sqrt(by_day["count"]))
    p = np.array([31 * tail(v, len(usual) - 1.0) for v in t])
    out = (p < 0.01) & (by_day["mean"] >= np.log(LEAST_PULL)).to_numpy() & (by_day["count"] >= 6).to_numpy()
    df = len(usual) - 1.0
    far = float(stdtrit(df, 1 - 0.01 / 31) + stdtrit(df, 0.8)) * spread / np.sqrt(max(by_day["count"].median(), 1.0))
    return [int(d) for d in by_day.index[out]], spread, max(LEAST_PULL, float(np.exp(far)))


def _monthly(days: pd.DataFrame) -> pd.DataFrame:
    """Pull (log) and share of the promotion days in each month that holds one outside festivals."""
    told = days[days.is_promotion & ~days.is_apart & days.apart.notna()].groupby("month").apart.agg(["mean", "count"])
    total = days.groupby("month").orders.sum()
    promotion = days[days.is_promotion].groupby("month").orders.sum()
    frame = pd.DataFrame({"pull": told["mean"], "n": told["count"]})
    frame["share"] = (promotion / total).reindex(frame.index)
    frame["month_on"] = [date(int(m) // 12, int(m) % 12 + 1, 1) for m in frame.index]
    return frame.reset_index(drop=True)


def _pull(monthly: pd.DataFrame, spread: float) -> Estimate:
    n = len(monthly)
    error = monthly.pull.std(ddof=1) / np.sqrt(n) if n > 2 else np.nan
    error = (
        max(error, spread / np.sqrt(max(monthly.n.sum(), 1))) if np.isfinite(error) else spread / np.sqrt(max(monthly.n.sum(), 1))
    )
    return Estimate.of(monthly.pull.mean(), _t95(max(n - 1, 1)) * error).exp()


def _break(days: pd.DataFrame, month_on: date) -> _Break | None:
    """Find the day from which the other days are lower, between the last old promotion day and the first raised one."""
    promotion = np.flatnonzero(days.is_promotion.to_numpy())
    first = int(promotion[days.on_day.iloc[promotion] >= pd.Timestamp(month_on)][0])
    older = promotion[promotion < first - 1]
    begin = int(older[-1]) + 1 if len(older) else max(first - 31, 0)
    usable = ~days.is_promotion.to_numpy() & ~days.is_apart.to_numpy() & np.isfinite(days.adjusted.to_numpy())
    y = days.adjusted.to_numpy()
    tried = list(range(begin, first + 1))
    best = None
    for start in tried:
        fit = _level(y, usable, start)
        if fit is not None and (best is None or fit[0] / fit[1] < best[1] / best[2]):
            best = (start, *fit)
    if best is None:
        return None
    start, change, error, df = best
    return _Break(start, change, error, df, min(1.0, len(tried) * tail(-change / error, df)))


def _level(y: np.ndarray, usable: np.ndarray, start: int) -> tuple[float, float, float] | None:
    """Change of level at `start` with one trend, in means of weeks counted from it; value, error and degrees of freedom."""
    rows = []
    for k in range(-SIDE // 7, SIDE // 7):
        span = np.arange(start + 7 * k, start + 7 * k + 7)
        span = span[(span >= 0) & (span < len(y))]
        span = span[usable[span]]
        if len(span) >= 4:
            rows.append((k + 0.5, k >= 0, y[span].mean()))
    frame = np.array(rows, float)
    if len(frame) < 8 or min(frame[:, 1].sum(), (1 - frame[:, 1]).sum()) < 3:
        return None
    x = np.column_stack([np.ones(len(frame)), frame[:, 0], frame[:, 1]])
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ frame[:, 2]
    rest = frame[:, 2] - x @ beta
    df = len(frame) - 3.0
    error = float(np.sqrt((rest**2).sum() / df * inverse[2, 2]))
    return float(beta[2]), max(error, 1e-9), df


def _cost(
    reading: Reading, days: pd.DataFrame, start: int, effect: Estimate, pull_before: float
) -> tuple[Estimate, Estimate, Estimate, float]:
    """Orders a month lost on other days, gained on promotion days, their difference, and what an order is worth in fen.

    The gain is what promotion days have now beyond what they would have if the other days had kept their level and the pull
    its own.
    """
    since = days.iloc[start:]
    a_month = MONTH_DAYS / max(len(since), 1)
    other = since.orders[~since.is_promotion].sum() * a_month
    promotion = since.orders[since.is_promotion].sum() * a_month
    per_day = since.orders[~since.is_promotion].mean()
    n_days = since.is_promotion.sum() * a_month
    ends = [
        (other * (1 / m - 1), promotion - per_day / m * pull_before * n_days) for m in (effect.value, effect.high, effect.low)
    ]
    loss = Estimate(*(lost for lost, _ in ends))
    gains = [g for _, g in ends]
    gained = Estimate(gains[0], min(gains[1:]), max(gains[1:]))
    nets = [g - lost for lost, g in ends]
    net = Estimate(nets[0], min(nets[1:]), max(nets[1:]))
    store = "AND store_id = $store" if reading.store else ""
    value = reading.engine.execute(
        f"SELECT avg(net_fen) FROM order_facts WHERE ordered_on >= DATE '{since.on_day.iloc[0].date().isoformat()}' {store}",
        given(reading),
    ).fetchone()[0]
    return loss, gained, net, float(value or 0)
