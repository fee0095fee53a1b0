"""A change of the scheme's rules, replayed on the past before it is made: thresholds, points, validity, benefits (S3.4, S3.5).

Every member's points history is run again as though the new rules had always held, and the last year of it is costed against the
same replay under the present rules. What members would do differently is not in the past: how redeeming answers to a changed value
is an assumption with a range, and stands as one.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.errors import InputError, unknown
from sqkit.loyalty import bill as bills
from sqkit.loyalty import ledger as book
from sqkit.loyalty import points as economics
from sqkit.loyalty.benefits import benefits
from sqkit.loyalty.bill import rank_sql
from sqkit.loyalty.grades import GRADES, YEAR, checked, present_sql, scheme, spent_table
from sqkit.reading import Reading, remembered

__all__ = ["LINES", "VALIDITY", "Change", "Rules", "change", "present_rules", "validity_of"]

VALIDITY = ("as_now", "calendar_year", "calendar_next", "days_365")
LINES = (
    "points_cost", "rise_cost", "head_cost", "discount_cost", "total_cost", "later_cost", "liability", "issued", "redeemed", "expired",
    "outstanding",
)  # fmt: skip
RESAMPLES = 400


@dataclass(frozen=True)
class Rules:
    """Rules of a scheme; None stands for what holds now.

    Attributes
    ----------
    platinum_fen, gold_fen : int
        Spend of 365 days; 0: from the data at the claimed shares.
    keeps_grades : bool
        Whether everybody keeps the present grade, whatever the thresholds.
    points_per_yuan : float or None
        Points issued per yuan.
    value_points : float or None
        Points that are worth one yuan.
    validity : str
        ``as_now``, ``calendar_year`` (31 December of the year of issue), ``calendar_next`` (of the year after), ``days_365``.
    benefit_fen : tuple of (float or None)
        Cost of benefits a member and year: platinum, gold, ordinary.
    discount : tuple of float
        Member discount as a share of sales: platinum, gold, ordinary.
    response : tuple of float
        Range of the answer to a changed value: a balance worth twice as much is redeemed 2 ** response as often. 0: not at all.
    """

    platinum_fen: int = 0
    gold_fen: int = 0
    keeps_grades: bool = False
    points_per_yuan: float | None = None
    value_points: float | None = None
    validity: str = "as_now"
    benefit_fen: tuple[float | None, float | None, float | None] = (None, None, None)
    discount: tuple[float, float, float] = (0.0, 0.0, 0.0)
    response: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked(self.platinum_fen, self.gold_fen)
        if self.validity not in VALIDITY:
            raise InputError(unknown("validity", self.validity, VALIDITY))
        ranges = {"points_per_yuan": (self.points_per_yuan, 0.01, 100), "value_points": (self.value_points, 1, 100_000)}
        ranges |= {f"benefit_fen of {g}": (v, 0, 10**8) for g, v in zip(GRADES, self.benefit_fen, strict=True)}
        ranges |= {f"discount of {g}": (v, 0, 0.9) for g, v in zip(GRADES, self.discount, strict=True)}
        ranges |= {f"response ({e})": (v, 0, 3) for e, v in zip(("low", "high"), self.response, strict=True)}
        for name, (value, least, most) in ranges.items():
            if value is not None and not least <= value <= most:
                raise InputError(f"{name} is {value}; allowed: {least} to {most}.")
        if self.response[0] > self.response[1]:
            raise InputError(
                f"response runs from {self.response[0]} to {self.response[1]}; the low end must not lie above the high end."
            )


@dataclass(frozen=True)
class Change:
    """New rules against the present ones, over the last 365 days.

    Attributes
    ----------
    reason : str
        '' or ``no_orders``, ``no_scheme`` (neither points nor grades nor benefits: nothing to compare with).
    lines : DataFrame
        Per line of :data:`LINES` that can be told: ``line, now, then, low, high`` (90%), ``more, more_low, more_high`` (then less now,
        90%, both over the same resampled groups). Money in fen; issued, redeemed, expired, outstanding in points. ``rise_cost`` (gifts
        at rises of grade) and ``total_cost`` are those of the first year, with everybody's rise at the switch; ``later_cost``: the whole
        of a year after it, then against now.
    movers : DataFrame
        ``grade_up, grade_down, grade_same`` and ``points_richer, points_poorer`` (usable points worth at least 1 yuan more or
        less): ``kind, n``.
    heads : DataFrame
        ``grade, now, then``: heads per grade (present grades matched by the order of their spend); ``at_once``: rises to the grade at
        the switch; ``rises_now, rises_then``: rises in a usual year (then: as now with less than two years of orders).
    bill : Bill or None
        What rises and heads cost (:class:`sqkit.loyalty.bill.Bill`).
    knows_rises : bool
        Whether ``rises_then`` is measured.
    has_points, has_grades : bool
    """

    reason: str
    rules: Rules
    lines: pd.DataFrame = field(default_factory=pd.DataFrame)
    movers: pd.DataFrame = field(default_factory=pd.DataFrame)
    heads: pd.DataFrame = field(default_factory=pd.DataFrame)
    has_points: bool = False
    has_grades: bool = False
    bill: bills.Bill | None = None
    knows_rises: bool = False


@remembered
def validity_of(reading: Reading) -> str:
    """Return the validity that at least 95% of the issued points follow, ``never``, or ``mixed``; '' without a ledger."""
    if not book.moves(reading):
        return ""
    kinds = ("calendar_year", "calendar_next", "days_365", "never")
    shares = reading.engine.execute("""
        SELECT sum(points) FILTER (extract(MONTH FROM expires_on) = 12 AND extract(DAY FROM expires_on) = 31
                                   AND extract(YEAR FROM expires_on) = extract(YEAR FROM on_day)) / sum(points),
               sum(points) FILTER (extract(MONTH FROM expires_on) = 12 AND extract(DAY FROM expires_on) = 31
                                   AND extract(YEAR FROM expires_on) = extract(YEAR FROM on_day) + 1) / sum(points),
               sum(points) FILTER (expires_on - on_day BETWEEN 363 AND 367) / sum(points),
               sum(points) FILTER (expires_on IS NULL) / sum(points)
        FROM points_moves WHERE kind = 'issue'""").fetchone()
    return next((k for k, s in zip(kinds, shares, strict=True) if s is not None and s >= 0.95), "mixed")


def present_rules(reading: Reading, value_points: float = economics.VALUE_POINTS) -> Rules:
    """Return the present rules as far as the data tell: the issuance rate; the value of a point is a parameter."""
    rate = economics.issuance(reading)
    return Rules(points_per_yuan=min(max(rate.value, 0.01), 100) if rate is not None else None, value_points=value_points)


_EXPIRY = {
    "as_now": "expires_on",
    "calendar_year": "make_date(CAST(extract(YEAR FROM on_day) AS INTEGER), 12, 31)",
    "calendar_next": "make_date(CAST(extract(YEAR FROM on_day) AS INTEGER) + 1, 12, 31)",
    "days_365": "on_day + 365",
}


def _replay(reading: Reading, name: str, validity: str, rate: float, demand: float) -> str:
    """Run every member's points again and make the table of the last year: ``member_id, issued, redeemed, lost, held``.

    A redemption that the new rules leave unfunded waits until there are points. Points taken back follow the rate of issue.
    """
    day, since = reading.as_of, reading.as_of - timedelta(days=YEAR)
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH own AS (SELECT *, {_EXPIRY[validity]} AS ends_on FROM points_moves WHERE kind IN ('issue', 'redeem', 'back')),
        events AS (
            SELECT member_id, on_day, -points * CASE WHEN kind = 'redeem' THEN {rate * demand!r} ELSE {rate!r} END AS spent, 0.0 AS due,
                   kind = 'redeem' AS is_asked FROM own WHERE kind <> 'issue'
            UNION ALL
            SELECT member_id, ends_on, 0.0, points * {rate!r}, FALSE FROM own WHERE kind = 'issue' AND ends_on <= DATE '{day}'
        ),
        days AS (SELECT member_id, on_day, sum(spent) AS spent, sum(due) AS due FROM events GROUP BY member_id, on_day),
        running AS (
            SELECT member_id, on_day, due, sum(due) OVER past - sum(spent) OVER past AS unspent
            FROM days WINDOW past AS (PARTITION BY member_id ORDER BY on_day)
        ),
        lost AS (
            SELECT member_id, greatest(coalesce(max(unspent) FILTER (on_day <= DATE '{since}'), 0), 0) AS before, greatest(max(unspent), 0) AS lost
            FROM running WHERE due > 0 GROUP BY member_id
        ),
        sums AS (
            SELECT member_id, coalesce(sum(points) FILTER (kind = 'issue'), 0) * {rate!r} AS made,
                   coalesce(sum(points) FILTER (kind = 'issue' AND on_day <= DATE '{since}'), 0) * {rate!r} AS made_before,
                   -coalesce(sum(points) FILTER (kind = 'redeem'), 0) * {rate * demand!r} AS asked,
                   -coalesce(sum(points) FILTER (kind = 'redeem' AND on_day <= DATE '{since}'), 0) * {rate * demand!r} AS asked_before,
                   -coalesce(sum(points) FILTER (kind = 'back'), 0) * {rate!r} AS back,
                   -coalesce(sum(points) FILTER (kind = 'back' AND on_day <= DATE '{since}'), 0) * {rate!r} AS back_before
            FROM own GROUP BY member_id
        )
        SELECT s.member_id, made - made_before AS issued, coalesce(l.lost - l.before, 0) AS lost,
               (asked - least(greatest(asked + back + coalesce(l.lost, 0) - made, 0), asked))
               - (asked_before - least(greatest(asked_before + back_before + coalesce(l.before, 0) - made_before, 0), asked_before)) AS redeemed,
               greatest(made - asked - back - coalesce(l.lost, 0), 0) AS held
        FROM sums AS s LEFT JOIN lost AS l ON l.member_id = s.member_id""")
    return name


def _by_shard(reading: Reading, table: str) -> np.ndarray:
    """Return issued, redeemed, lost and held by shard of clusters (shards, 4)."""
    rows = reading.engine.execute(f"""
        SELECT CAST(hash(coalesce(m.cluster_id, concat('member:', r.member_id))) % {economics.SHARDS} AS INTEGER) AS shard,
               sum(issued), sum(redeemed), sum(lost), sum(held)
        FROM {table} AS r LEFT JOIN member_facts AS m ON m.member_id = r.member_id GROUP BY shard ORDER BY shard""").fetchall()
    made = np.zeros((economics.SHARDS, 4))
    for shard, *values in rows:
        made[shard] = values
    return made


@remembered
def change(reading: Reading, rules: Rules, value_points: float = economics.VALUE_POINTS) -> Change:
    """Replay the last year under new rules; `value_points` is what a point is worth now.

    Points cost: points redeemed x value x product cost rate. Gifts at a rise of grade: once for each member whom the switch lifts, and
    for the rises of a usual year (members whose year's spend stands in a higher grade than the year's before; needs two years of
    orders), x cost of a rise. Other benefits: heads on the reading's day x cost a head and year (see :mod:`sqkit.loyalty.bill`). A budget
    a member and year stands for both. Discount cost: share x sales of the grade, as bought. Liability as in
    :func:`sqkit.loyalty.points.points`, its expected share moved with the share redeemed in the replay. Intervals (90%): whole
    clusters resampled, cost rate and benefit rates drawn, the response drawn evenly over its range. More sales because of better rules are not
    counted: that takes a test. Sources: S3.4, S3.5.
    """
    drawn = scheme(reading, rules.platinum_fen, rules.gold_fen)
    has_points, has_grades = bool(book.moves(reading)), not reading.source.missing("grades")
    given = benefits(reading)
    if drawn.reason:
        return Change("no_orders", rules)
    if not has_points and not has_grades and given.reason and all(not v for v in (*rules.benefit_fen, *rules.discount)):
        return Change("no_scheme", rules, has_points=has_points, has_grades=has_grades)
    rng = np.random.default_rng(zlib.crc32(f"{reading.source.id}|{reading.as_of}|{rules}|{value_points}".encode()))
    weight = np.vstack(
        [np.ones(economics.SHARDS), rng.multinomial(economics.SHARDS, np.full(economics.SHARDS, 1 / economics.SHARDS), RESAMPLES)]
    )
    sides: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    movers = _grade_moves(reading, drawn.fen, rules.keeps_grades) if has_grades else []
    if has_points:
        sides, moved = _points_sides(reading, rules, value_points, weight, rng)
        movers += moved
    heads, spend = _heads(reading, drawn.fen, rules.keeps_grades)
    told, budget = bills.bill(reading), rules.benefit_fen
    rise, head = bills.drawn(told, rng, RESAMPLES)
    rise_then, head_then = rise.copy(), head.copy()
    for i, fen in enumerate(budget):
        if fen is not None:
            rise_then[:, i], head_then[:, i] = 0.0, fen
    usual = {"now": bills.rises_by_shard(reading)}
    measured = None if rules.keeps_grades else _usual_rises(reading, drawn.fen)
    usual["then"] = usual["now"] if measured is None else measured
    later = tuple((weight @ usual[s] * c).sum(axis=1) for s, c in (("now", rise), ("then", rise_then)))
    sides["rise_cost"] = later[0], later[1] + (weight @ heads["up"] * rise_then).sum(axis=1)
    sides["head_cost"] = tuple((weight @ heads[s] * c).sum(axis=1) for s, c in (("now", head), ("then", head_then)))
    sides["discount_cost"] = np.zeros(len(weight)), weight @ (spend * np.array(rules.discount)).sum(axis=1)
    parts = [sides[k] for k in ("points_cost", "rise_cost", "head_cost", "discount_cost") if k in sides]
    sides["total_cost"] = sum(p[0] for p in parts), sum(p[1] for p in parts)
    sides["later_cost"] = sides["total_cost"][0], sides["total_cost"][1] - sides["rise_cost"][1] + later[1]
    whole = {s: h.sum(axis=0) for s, h in heads.items()}
    frame = pd.DataFrame({"grade": GRADES, "now": whole["now"].astype(int), "then": whole["then"].astype(int), "at_once": whole["up"].astype(int),
                          "rises_now": usual["now"].sum(axis=0), "rises_then": usual["then"].sum(axis=0)})  # fmt: skip
    lines = pd.DataFrame([_line(k, *sides[k]) for k in LINES if k in sides])
    return Change(
        "", rules, lines, pd.DataFrame(movers, columns=["kind", "n"]), frame, has_points, has_grades, told, measured is not None
    )


def _line(key: str, now: np.ndarray, then: np.ndarray) -> dict[str, float | str]:
    low, high = np.quantile(then[1:], [0.05, 0.95])
    more = then - now
    more_low, more_high = np.quantile(more[1:], [0.05, 0.95])
    return {
        "line": key, "now": float(now[0]), "then": float(then[0]), "low": float(min(low, then[0])), "high": float(max(high, then[0])),
        "more": float(more[0]), "more_low": float(min(more_low, more[0])), "more_high": float(max(more_high, more[0])),
    }  # fmt: skip


def _points_sides(
    reading: Reading, rules: Rules, value_points: float, weight: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[tuple[str, int]]]:
    present = present_rules(reading, value_points)
    rate_now = present.points_per_yuan or 1.0
    rate = (rules.points_per_yuan or rate_now) / rate_now
    value = rules.value_points or value_points
    worth = rate * value_points / value  # of what was bought with, per yuan spent
    now = weight @ _by_shard(reading, _replay(reading, "replay_now", "as_now", 1.0, 1.0))
    grid = np.array([rules.response[0], sum(rules.response) / 2, rules.response[1]])
    runs = np.stack([
        weight @ _by_shard(reading, _replay(reading, f"replay_{i}", rules.validity, rate, float(worth**e))) for i, e in enumerate(grid)
    ])  # fmt: skip
    answer = np.r_[grid[1], rng.uniform(grid[0], grid[2], len(weight) - 1)]
    at = np.clip((answer - grid[0]) / max(grid[2] - grid[0], 1e-9) * 2, 0, 2)
    lower = np.minimum(at.astype(int), 1)
    rows = np.arange(len(weight))
    then = runs[lower, rows] + (at - lower)[:, None] * (runs[lower + 1, rows] - runs[lower, rows])
    told = economics.points(reading, value_points)
    cost = (
        1.0
        if told.cost_rate is None
        else np.r_[told.cost_rate.value, rng.normal(told.cost_rate.value, told.cost_rate.se, len(weight) - 1)]
    )
    money = now[:, 1] / value_points * 100 * cost, then[:, 1] / value * 100 * cost
    made = {"points_cost": money}
    owed = told.owed_share.value
    if np.isfinite(owed):
        share = [np.divide(s[:, 1], s[:, 1] + s[:, 2], out=np.ones(len(s)), where=s[:, 1] + s[:, 2] > 0) for s in (now, then)]
        shift = np.divide(share[1], share[0], out=np.ones(len(weight)), where=share[0] > 0)
        made["liability"] = (
            now[:, 3] * owed / value_points * 100 * cost, then[:, 3] * np.minimum(owed * shift, 1) / value * 100 * cost,
        )  # fmt: skip
    for i, key in enumerate(("issued", "redeemed", "expired", "outstanding")):
        made[key] = now[:, i], then[:, i]
    richer, poorer = reading.engine.execute(f"""
        SELECT count(*) FILTER (b.held / {value!r} - a.held / {value_points!r} >= 1), count(*) FILTER (a.held / {value_points!r} - b.held / {value!r} >= 1)
        FROM replay_now AS a JOIN replay_1 AS b ON b.member_id = a.member_id""").fetchone()
    return made, [("points_richer", richer), ("points_poorer", poorer)]


def _then_sql(fen: tuple[int, int]) -> str:
    spend = "coalesce(s.spend_fen, 0)"
    return f"CASE WHEN s.is_account THEN 'ordinary' WHEN {spend} >= {fen[0]} THEN 'platinum' WHEN {spend} >= {fen[1]} THEN 'gold' ELSE 'ordinary' END"


def _both(reading: Reading, fen: tuple[int, int], keeps: bool) -> str:
    day: date = reading.as_of
    days = scheme(reading).days
    then = rank_sql(reading, "p.grade") if keeps else _then_sql(fen)
    present = f"LEFT JOIN ({present_sql(day)}) AS p ON p.member_id = m.member_id"
    return f"""
        SELECT m.member_id, m.cluster_id, {rank_sql(reading, "p.grade")} AS now, {then} AS then, coalesce(s.spend_fen, 0) AS spend_fen
        FROM member_facts AS m {present} LEFT JOIN {spent_table(reading, day, days)} AS s ON s.member_id = m.member_id"""


def _grade_moves(reading: Reading, fen: tuple[int, int], keeps: bool) -> list[tuple[str, int]]:
    place = "CASE {} WHEN 'platinum' THEN 2 WHEN 'gold' THEN 1 ELSE 0 END"
    up, down, same = reading.engine.execute(f"""
        SELECT count(*) FILTER (b > a), count(*) FILTER (b < a), count(*) FILTER (b = a)
        FROM (SELECT {place.format("now")} AS a, {place.format('"then"')} AS b FROM ({_both(reading, fen, keeps)})) AS moved""").fetchone()
    return [("grade_up", up), ("grade_down", down), ("grade_same", same)]


def _heads(reading: Reading, fen: tuple[int, int], keeps: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return heads by shard and grade, now, then and lifted to it, and the year's sales by shard and grade under the thresholds."""
    rows = reading.engine.execute(f"""
        SELECT CAST(hash(cluster_id) % {economics.SHARDS} AS INTEGER) AS shard, now, "then", count(*) AS n, CAST(sum(spend_fen) AS DOUBLE) AS spend
        FROM ({_both(reading, fen, keeps)}) GROUP BY ALL""").fetchall()
    heads, spend = {k: np.zeros((economics.SHARDS, 3)) for k in ("now", "then", "up")}, np.zeros((economics.SHARDS, 3))
    for shard, now, then, n, money in rows:
        heads["now"][shard, GRADES.index(now)] += n
        heads["then"][shard, GRADES.index(then)] += n
        if GRADES.index(then) < GRADES.index(now):
            heads["up"][shard, GRADES.index(then)] += n
        spend[shard, GRADES.index(then)] += money
    return heads, spend


def _usual_rises(reading: Reading, fen: tuple[int, int]) -> np.ndarray | None:
    """Return members whose year's spend stands in a higher grade than the year's before, by shard and grade; None with under two years."""
    before = reading.as_of - timedelta(days=YEAR)
    if (before - reading.source.first_day).days + 1 < YEAR:
        return None
    a, b = spent_table(reading, reading.as_of, YEAR), spent_table(reading, before, YEAR)
    place = (
        f"CASE WHEN coalesce({{}}.spend_fen, 0) >= {fen[0]} THEN 2 WHEN coalesce({{}}.spend_fen, 0) >= {fen[1]} THEN 1 ELSE 0 END"
    )
    rows = reading.engine.execute(f"""
        SELECT CAST(hash(s.cluster_id) % {economics.SHARDS} AS INTEGER) AS shard, {place.format("s", "s")} AS now, count(*) AS n
        FROM {a} AS s LEFT JOIN {b} AS p ON p.member_id = s.member_id
        WHERE NOT s.is_account AND {place.format("s", "s")} > {place.format("p", "p")} GROUP BY ALL""").fetchall()
    made = np.zeros((economics.SHARDS, 3))
    for shard, now, n in rows:
        made[shard, 2 - now] += n
    return made
