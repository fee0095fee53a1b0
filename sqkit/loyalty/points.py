"""What points cost: how many are issued, how many are redeemed, what is owed, and what a purchase's promotion really costs (S3.5)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from sqkit.errors import InputError, unknown
from sqkit.loyalty import ledger as book
from sqkit.loyalty.benefits import cost_rate
from sqkit.loyalty.grades import YEAR
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval, ratio_interval
from sqkit.stats.blocks import blocks_sql

__all__ = [
    "READINGS",
    "SHARDS",
    "VALUE_POINTS",
    "Amount",
    "Points",
    "PromotionCost",
    "cohorts",
    "issuance",
    "points",
    "promotion_cost",
]

READINGS = ("halved", "whole")
VALUE_POINTS = 100.0  # claim of S3.5: 100 points are worth one yuan
SHARDS = 100
RESAMPLES = 400
LEAST_COHORT = 1000  # points issued in a cohort


@dataclass(frozen=True)
class Amount:
    """An amount with a central 95% interval; NaN where it cannot be told."""

    value: float
    low: float = np.nan
    high: float = np.nan


@dataclass(frozen=True)
class PromotionCost:
    """What points cost as a promotion, as a share of the sales they were issued for.

    Attributes
    ----------
    reading : str
        How the source's formula is read: ``halved`` or ``whole``; see :func:`promotion_cost`.
    perceived : float
        What members see: value of the points on one yuan of sales.
    redemption, cost_rate, value : float
    """

    reading: str
    perceived: float
    redemption: float
    cost_rate: float
    value: float


@dataclass(frozen=True)
class Points:
    """Points economics as of the reading's day.

    Attributes
    ----------
    reason : str
        '' or ``no_ledger``.
    ledger : Ledger or None
    issuance : Interval or None
        Points earned per yuan paid, of the last 365 days.
    cohorts : DataFrame
        See :func:`cohorts`.
    redemption : Interval or None
        Redeemed of issued over complete cohorts; None while no cohort is complete.
    cost_rate : Interval or None
        Product cost over sales.
    owed_share : Amount
        Share of the usable points that is expected to be redeemed before it expires; 1 for points that never expire.
    liability_fen, face_fen : Amount, float
        Usable points expected to be redeemed x value x cost rate (x 1 where products carry no cost); and all usable points at full
        value.
    backtest : float or None
        Points redeemed over points projected, by the same projection a year earlier; what is owed is corrected by it. None where there
        was nothing to test it on.
    calendar : DataFrame
        Per month of expiry (NULL: never): ``month_on, points, n_members, owed_share, redeemed, expiring, value_fen`` (the expiring ones
        at full value).
    """

    reason: str
    value_points: float = VALUE_POINTS
    ledger: book.Ledger | None = None
    issuance: Interval | None = None
    cohorts: pd.DataFrame = field(default_factory=pd.DataFrame)
    redemption: Interval | None = None
    cost_rate: Interval | None = None
    owed_share: Amount = field(default_factory=lambda: Amount(np.nan))
    liability_fen: Amount = field(default_factory=lambda: Amount(np.nan))
    face_fen: float = np.nan
    backtest: float | None = None
    calendar: pd.DataFrame = field(default_factory=pd.DataFrame)


def promotion_cost(
    perceived: float, redemption: float, rate: float, reading: Literal["halved", "whole"] = "halved"
) -> PromotionCost:
    """Return the real promotion cost of points per yuan of sales.

    ``perceived value x redemption rate x product cost rate``, and halved for one purchase, because points cause two (earning and
    redeeming). The formula is garbled in the source; ``halved`` is our reading, ``whole`` the other one, in which nothing is halved.
    The halving belongs to the promotion cost of a purchase only, never to the liability.

    Raises
    ------
    InputError
        For a reading other than the two, or a share outside 0 to 1.

    Examples
    --------
    >>> round(promotion_cost(0.01, 0.5, 0.6).value, 6), round(promotion_cost(0.01, 0.5, 0.6, "whole").value, 6)
    (0.0015, 0.003)
    """
    if reading not in READINGS:
        raise InputError(unknown("reading of the formula", reading, READINGS))
    for name, share in (("perceived value", perceived), ("redemption rate", redemption), ("cost rate", rate)):
        if not (0 <= share <= 1 or share != share or (name == "cost rate" and 0 <= share <= 5)):
            raise InputError(f"the {name} is {share}; allowed: 0 to 1.")
    cost = perceived * redemption * rate
    return PromotionCost(reading, perceived, redemption, rate, cost / 2 if reading == "halved" else cost)


@remembered
def issuance(reading: Reading) -> Interval | None:
    """Return points earned per yuan paid over the orders that earned some, of the last 365 days; groups as clusters.

    Where the ledger names no orders: points issued over members' net sales of the same days. None without either.
    """
    if not book.moves(reading):
        return None
    since = reading.as_of - timedelta(days=YEAR)
    named = f"""
        SELECT coalesce(m.cluster_id, concat('member:', l.member_id)) AS cluster_id, 1 AS n, l.points AS num, o.paid_fen / 100.0 AS den
        FROM (SELECT order_id, min(member_id) AS member_id, sum(points) AS points FROM points_ledger
              WHERE order_id IS NOT NULL AND kind = 'earn' AND points > 0 AND posted_at >= DATE '{since}' + INTERVAL '1' DAY
              GROUP BY order_id) AS l
        JOIN orders AS o ON o.order_id = l.order_id LEFT JOIN member_facts AS m ON m.member_id = l.member_id WHERE o.paid_fen > 0"""
    made = ratio_interval(reading.engine.execute(blocks_sql(named)).df(), kind="ratio")
    if made.n:
        return made
    if reading.source.missing("orders.member_id"):
        return None
    whole = f"""
        SELECT coalesce(m.cluster_id, concat('member:', u.member_id)) AS cluster_id, 1 AS n, u.num, u.den FROM (
            SELECT member_id, sum(num) AS num, sum(den) AS den FROM (
                SELECT member_id, points AS num, 0.0 AS den FROM points_moves WHERE kind = 'issue' AND on_day > DATE '{since}'
                UNION ALL
                SELECT member_id, 0, net_fen / 100.0 FROM order_facts WHERE member_id IS NOT NULL AND ordered_on > DATE '{since}'
            ) AS sides GROUP BY member_id
        ) AS u LEFT JOIN member_facts AS m ON m.member_id = u.member_id"""
    made = ratio_interval(reading.engine.execute(blocks_sql(whole)).df(), kind="ratio")
    return made if made.n else None


@remembered
def cohorts(reading: Reading) -> pd.DataFrame:
    """Return issued, redeemed and expired points by the year in which they expire, complete years of the past only.

    A cohort is complete when its last points have expired by the reading's day; younger points may still be redeemed and are not
    counted as unredeemed. Redeemed is issued less expired, so points taken back count as redeemed here (the ledger names them).
    An expiry booked in the first week of a year belongs to the year before.

    Grain: one row per year of expiry with a complete cohort. Columns: ``year, issued, expired, redeemed, share, low, high`` (95%,
    groups as clusters), ``is_enough``.
    """
    if not book.lots(reading):
        return pd.DataFrame()
    per_member = _cohort_sql(reading)
    years = [y for (y,) in reading.engine.execute(f"SELECT DISTINCT year FROM ({per_member}) ORDER BY 1").fetchall()]
    rows = []
    for year in years:
        made, issued, expired = _redeemed(reading, f"{per_member}", f"year = {year}")
        if issued >= LEAST_COHORT:
            rows.append((year, issued, expired, issued - expired, made.value, made.low, made.high, made.enough))
    return pd.DataFrame(rows, columns=["year", "issued", "expired", "redeemed", "share", "low", "high", "is_enough"])


def _cohort_sql(reading: Reading) -> str:
    day = reading.as_of
    return f"""
        WITH due AS (
            SELECT member_id, extract(YEAR FROM expires_on) AS year, issued AS due, CASE WHEN expires_on <= DATE '{day}' THEN held ELSE 0 END AS lost
            FROM points_lots WHERE expires_on IS NOT NULL
            UNION ALL
            SELECT member_id, extract(YEAR FROM CASE WHEN extract(MONTH FROM on_day) = 1 AND extract(DAY FROM on_day) <= 7
                   THEN on_day - INTERVAL '7' DAY ELSE on_day END), 0, -points FROM points_moves WHERE kind IN ('expire', 'lapse')
        ),
        complete AS (SELECT extract(YEAR FROM expires_on) AS year FROM points_lots WHERE expires_on IS NOT NULL
                     GROUP BY 1 HAVING max(expires_on) <= DATE '{day}')
        SELECT d.member_id, d.year, sum(d.due) AS due, sum(d.lost) AS lost
        FROM due AS d JOIN complete AS c ON c.year = d.year GROUP BY d.member_id, d.year"""


def _redeemed(reading: Reading, per_member: str, where: str) -> tuple[Interval, int, int]:
    units = f"""
        SELECT coalesce(m.cluster_id, concat('member:', c.member_id)) AS cluster_id, 1 AS n, CAST(due - lost AS DOUBLE) AS num, CAST(due AS DOUBLE) AS den
        FROM ({per_member}) AS c LEFT JOIN member_facts AS m ON m.member_id = c.member_id WHERE {where}"""
    made = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="ratio")
    issued, expired = reading.engine.execute(
        f"SELECT coalesce(sum(due), 0), coalesce(sum(lost), 0) FROM ({per_member}) WHERE {where}"
    ).fetchone()
    return made, int(issued), int(expired)


@remembered
def redemption(reading: Reading) -> Interval | None:
    """Return redeemed of issued over all complete cohorts (see :func:`cohorts`); None while there is none."""
    if not len(cohorts(reading)):
        return None
    made, _, _ = _redeemed(reading, _cohort_sql(reading), "TRUE")
    return made


@remembered
def pace(reading: Reading, day: date) -> pd.DataFrame:
    """Return how much of the points held at a month's start is redeemed within it, by full months left until they expire.

    Complete calendar months of the 365 days up to a day (all, where there is less). Grain: one row per shard (code from 0; whole clusters)
    and ``left``. Columns: ``held, redeemed``. Points issued and redeemed within the same month are not in it.
    """
    engine = reading.engine
    return engine.execute(f"""
        WITH starts AS (
            SELECT CAST(unnest(generate_series(date_trunc('month', DATE '{day - timedelta(days=YEAR - 31)}'), DATE '{day}', INTERVAL '1' MONTH)) AS DATE) AS month_on
        ),
        whole AS (SELECT month_on FROM starts WHERE month_on + INTERVAL '1' MONTH <= DATE '{day}' + INTERVAL '1' DAY),
        made AS (
            SELECT w.month_on, m.member_id, m.expires_on, sum(m.points) AS issued
            FROM whole AS w JOIN points_moves AS m ON m.on_day < w.month_on
            WHERE m.kind = 'issue' GROUP BY ALL
        ),
        spent AS (
            SELECT w.month_on, m.member_id, -sum(m.points) FILTER (m.on_day < w.month_on) AS before,
                   -coalesce(sum(m.points) FILTER (m.on_day >= w.month_on AND m.kind = 'redeem'), 0) AS now
            FROM whole AS w JOIN points_moves AS m ON m.on_day < w.month_on + INTERVAL '1' MONTH
            WHERE m.kind <> 'issue' GROUP BY ALL
        ),
        up AS (SELECT *, sum(issued) OVER (PARTITION BY month_on, member_id ORDER BY expires_on NULLS LAST) AS so_far FROM made),
        cut AS (
            SELECT u.month_on, u.member_id, u.expires_on,
                   least(greatest(u.so_far - coalesce(s.before, 0), 0), u.issued) AS held,
                   least(greatest(u.so_far - coalesce(s.before, 0) - coalesce(s.now, 0), 0), u.issued) AS after
            FROM up AS u LEFT JOIN spent AS s ON s.month_on = u.month_on AND s.member_id = u.member_id
        )
        SELECT CAST(hash(coalesce(m.cluster_id, concat('member:', c.member_id))) % {SHARDS} AS INTEGER) AS shard,
               coalesce(date_diff('month', c.month_on, c.expires_on), -1) AS "left", CAST(sum(c.held) AS DOUBLE) AS held,
               CAST(sum(c.held - c.after) AS DOUBLE) AS redeemed
        FROM cut AS c LEFT JOIN member_facts AS m ON m.member_id = c.member_id
        WHERE c.held > 0 AND (c.expires_on IS NULL OR c.expires_on >= c.month_on) GROUP BY ALL ORDER BY ALL""").df()


def _shares(rows: pd.DataFrame, months: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the share redeemed in the end by months left (columns), in the data (first row) and in resamples of the shards."""
    longest = int(max(rows["left"].max(), months.max(), 0)) + 1
    held, redeemed = np.zeros((SHARDS, longest)), np.zeros((SHARDS, longest))
    dated = rows[rows["left"] >= 0]
    np.add.at(held, (dated["shard"], dated["left"]), dated["held"])
    np.add.at(redeemed, (dated["shard"], dated["left"]), dated["redeemed"])
    weight = np.vstack([np.ones(SHARDS), rng.multinomial(SHARDS, np.full(SHARDS, 1 / SHARDS), RESAMPLES)])
    h, r = weight @ held, weight @ redeemed
    rate = np.divide(r, h, out=np.full_like(h, np.nan), where=h > 0)
    pooled = (r.sum(axis=1) / np.maximum(h.sum(axis=1), 1))[:, None]
    rate = np.clip(np.where(np.isnan(rate), pooled, rate), 0, 1)  # months left that nobody has seen yet: the average pace
    return (1 - np.cumprod(1 - rate, axis=1))[:, months]


@remembered
def points(reading: Reading, value_points: float = VALUE_POINTS) -> Points:
    """Return the points economics as of the reading's day, at `value_points` points per yuan (a claim, not in the data).

    What is owed is not what was issued: of the usable points the share expected to be redeemed before they expire is projected
    month by month from the last year's pace at the same distance from expiry (a chain ladder), with whole clusters resampled for
    the interval. How the same projection fared a year earlier corrects it by half (a young scheme redeems more every
    year, and its growth slows), and widens the interval from no correction to one and a half times the error. A campaign that lifted redemption in that year lifts the projection too. Points that never expire are counted in
    full. Nothing is halved here: halving belongs to the promotion cost of a purchase. Smallest sample: none for the ledger itself;
    the projection is left out where no month is complete. Source: S3.5.

    Raises
    ------
    InputError
        If `value_points` is not from 1 to 100,000.
    """
    if not 1 <= value_points <= 100_000:
        raise InputError(f"value_points is {value_points}; allowed: 1 to 100000 points per yuan.")
    whole = book.ledger(reading)
    if whole is None:
        return Points("no_ledger", value_points)
    rate, due = cost_rate(reading), book.calendar(reading)
    told = {
        "ledger": whole, "issuance": issuance(reading), "cohorts": cohorts(reading), "redemption": redemption(reading), "cost_rate": rate,
        "face_fen": whole.outstanding / value_points * 100,
    }  # fmt: skip
    rows = pace(reading, reading.as_of)
    if rows.empty or due.empty:
        return Points("", value_points, **told, calendar=due)
    rng = np.random.default_rng(zlib.crc32(f"{reading.source.id}|{reading.as_of}|liability".encode()))
    months = np.array([_months(reading.as_of, m) for m in due["month_on"]])
    shares = _shares(rows, np.maximum(months, 0), rng)
    off = backtest(reading)
    if off is not None:
        # half as far off as a year ago, as a scheme's growth slows; from not at all to half as far again in the interval
        shares = np.minimum(shares * (off ** np.r_[0.5, rng.uniform(0, 1.5, RESAMPLES)])[:, None], 1.0)
    shares = np.where(months >= 0, shares, 1.0)
    redeemed = shares * due["points"].to_numpy(float)
    due = due.assign(owed_share=shares[0], redeemed=redeemed[0], expiring=due["points"] - redeemed[0])
    due["value_fen"] = due["expiring"] / value_points * 100
    owed = redeemed.sum(axis=1)
    money = owed / value_points * 100
    if rate is not None:
        money *= np.r_[rate.value, rng.normal(rate.value, rate.se, len(owed) - 1)]
    return Points(
        "",
        value_points,
        **told,
        backtest=off,
        owed_share=_central(owed / max(whole.outstanding, 1)),
        liability_fen=_central(money),
        calendar=due,
    )


@remembered
def backtest(reading: Reading) -> float | None:
    """Return points redeemed over points projected, for lots held a year ago that have expired since; None where that cannot be told.

    Needs 180 days of ledger before that day, 1,000 points held then, and 500 projected to be redeemed; kept within 0.5 to 2.
    """
    then, day, engine = reading.as_of - timedelta(days=YEAR), reading.as_of, reading.engine
    if not book.lots(reading):
        return None
    first = engine.execute("SELECT min(on_day) FROM points_moves").fetchone()[0]
    rows = pace(reading, then) if (then - first).days >= 180 else pd.DataFrame()
    if rows.empty:
        return None
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE points_then AS
        WITH spent AS (SELECT member_id, -sum(points) AS spent FROM points_moves WHERE kind <> 'issue' AND on_day <= DATE '{then}' GROUP BY member_id),
        made AS (SELECT member_id, expires_on, sum(points) AS issued FROM points_moves WHERE kind = 'issue' AND on_day <= DATE '{then}' GROUP BY ALL),
        up_to AS (SELECT *, sum(issued) OVER (PARTITION BY member_id ORDER BY expires_on NULLS LAST) AS so_far FROM made)
        SELECT u.member_id, u.expires_on, least(greatest(u.so_far - coalesce(s.spent, 0), 0), u.issued) AS held
        FROM up_to AS u LEFT JOIN spent AS s ON s.member_id = u.member_id WHERE u.expires_on > DATE '{then}' AND u.expires_on <= DATE '{day}'""")
    due = engine.execute("""
        SELECT CAST(date_trunc('month', expires_on) AS DATE) AS month_on, CAST(sum(held) AS DOUBLE) AS held FROM points_then
        WHERE held > 0 GROUP BY 1 ORDER BY 1""").df()
    if due["held"].sum() < LEAST_COHORT:
        return None
    lost = engine.execute(f"""
        WITH events AS (
            SELECT member_id, on_day, -sum(points) AS spent, 0 AS due FROM points_moves
            WHERE kind IN ('redeem', 'back') AND on_day > DATE '{then}' GROUP BY member_id, on_day
            UNION ALL SELECT member_id, expires_on, 0, held FROM points_then WHERE held > 0
        ),
        days AS (SELECT member_id, on_day, sum(spent) AS spent, sum(due) AS due FROM events GROUP BY member_id, on_day),
        running AS (SELECT member_id, due, sum(due) OVER past - sum(spent) OVER past AS unspent
                    FROM days WINDOW past AS (PARTITION BY member_id ORDER BY on_day)),
        each AS (SELECT greatest(max(unspent), 0) AS lost FROM running WHERE due > 0 GROUP BY member_id)
        SELECT coalesce(sum(lost), 0) FROM each""").fetchone()[0]
    months = np.array([_months(then, m) for m in due["month_on"]])
    told = float(_shares(rows, months, np.random.default_rng(0))[0] @ due["held"].to_numpy(float))
    if told < 500:
        return None
    return float(np.clip((due["held"].sum() - float(lost)) / told, 0.5, 2.0))


def _central(draws: np.ndarray) -> Amount:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Amount(float(draws[0]), float(min(low, draws[0])), float(max(high, draws[0])))


def _months(day: date, month_on: object) -> int:
    """Return calendar months from the month after a day to a month of expiry, 0 in the same month; -1 for never."""
    if month_on is None or month_on is pd.NaT or month_on != month_on:
        return -1
    after = day + timedelta(days=1)
    return max((month_on.year - after.year) * 12 + month_on.month - after.month, 0)
