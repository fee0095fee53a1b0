"""Grades by spend of a year: thresholds from the data, who moves, what each grade brings, how steady it is (S3.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.errors import InputError
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval, ratio_interval
from sqkit.stats.blocks import blocks_sql

__all__ = ["GRADES", "SHARES", "Scheme", "checked", "sellable", "scheme", "spent_table", "steadiness"]

GRADES = ("platinum", "gold", "ordinary")
SHARES = (0.05, 0.20)  # claim of S3.4: the top 5% platinum, 6% to 20% gold
YEAR, QUARTER = 365, 91
LEAST_MEMBERS, LEAST_DAYS = 100, 180
ACCOUNT_SHARE, ACCOUNT_ORDERS = 0.05, 200  # an id with more is a till, not a member


@dataclass(frozen=True)
class Scheme:
    """Grades that the spend of a year asks for.

    Attributes
    ----------
    reason : str
        '' or why there are none: ``no_orders``, ``short_history`` (under 180 days), ``few_members`` (under 100 buyers),
        ``no_spread`` (spend so equal that a threshold would put twice its share, or everybody, above it).
    day, days : date, int
        Spend of the `days` days up to `day`; 365, or all there are.
    n_buyers, n_members, n_accounts : int
        Members who bought in it; members known; ids left out as tills.
    spend_fen : int
        Of the buyers.
    thresholds : DataFrame
        Per grade above ordinary, highest first: ``grade, share`` (asked for, from the top), ``exact_fen, low_fen, high_fen`` (95%),
        ``fen`` (as it would be written: chosen, or rounded to a sellable number), ``is_chosen``, ``n_near`` (members below within one
        order of their own average size), ``gap_fen`` (what all of them lack).
    grades : DataFrame
        Per grade, highest first: ``grade, n, share`` (of buyers), ``spend_fen, sales_share, low, high, orders, n_orders``.
    moves : DataFrame
        Present grade against the one asked for: ``now, then, n`` over all members with a present grade (who did not buy: ordinary);
        empty without the table grades. ``present``: heads per present grade, most spending first.
    """

    reason: str
    day: date
    days: int = 0
    n_buyers: int = 0
    n_members: int = 0
    n_accounts: int = 0
    spend_fen: int = 0
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    grades: pd.DataFrame = field(default_factory=pd.DataFrame)
    moves: pd.DataFrame = field(default_factory=pd.DataFrame)
    present: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def fen(self) -> tuple[int, int]:
        """Thresholds of platinum and gold as written."""
        return int(self.thresholds["fen"].iloc[0]), int(self.thresholds["fen"].iloc[1])


def sellable(fen: float) -> int:
    """Round an amount to one that can be said aloud: 1,200, 3,500, 500 (in fen, never below 100).

    Examples
    --------
    >>> [sellable(v) // 100 for v in (120_269, 48_886, 331_000, 780_100, 60)]
    [1200, 500, 3500, 8000, 1]
    """
    yuan = max(fen / 100, 1.0)
    unit = 10.0 ** math.floor(math.log10(yuan))
    lead = yuan / unit
    step = 0.1 if lead < 2 else 0.5 if lead < 5 else 1.0
    return round(round(lead / step) * step * unit * 100)


def checked(platinum_fen: int, gold_fen: int) -> None:
    """Refuse impossible thresholds by name (0 stands for one taken from the data)."""
    for name, fen in (("platinum_fen", platinum_fen), ("gold_fen", gold_fen)):
        if fen < 0 or fen != fen or fen > 10**12:
            raise InputError(f"{name} is {fen}; allowed: 0 (from the data) to 10^12 fen.")
    if platinum_fen and gold_fen and platinum_fen <= gold_fen:
        raise InputError(f"platinum_fen {platinum_fen} must lie above gold_fen {gold_fen}.")


@remembered
def spent_table(reading: Reading, day: date, days: int) -> str:
    """Make the temporary table of members' spend in the `days` days up to and including a day, and return its name.

    Grain: one row per member with a purchase not fully refunded in them. Columns: ``member_id, cluster_id, spend_fen`` (net of
    refunds known on the reading's day, never negative), ``n_orders, is_account``. An order that the source holds twice counts twice.
    """
    name = f"spent_loyalty_{day:%Y%m%d}_{days}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH s AS (
            SELECT member_id, min(cluster_id) AS cluster_id, CAST(sum(net_fen) AS BIGINT) AS spend_fen, count(*) AS n_orders
            FROM order_facts
            WHERE member_id IS NOT NULL AND is_kept AND ordered_on > DATE '{day - timedelta(days=days)}' AND ordered_on <= DATE '{day}'
            GROUP BY member_id
        )
        SELECT *, n_orders >= {ACCOUNT_ORDERS} AND n_orders > {ACCOUNT_SHARE} * sum(n_orders) OVER () AS is_account FROM s
        WHERE spend_fen > 0""")
    return name


def _grade_sql(fen: tuple[int, int], column: str = "spend_fen") -> str:
    return f"CASE WHEN {column} >= {fen[0]} THEN 'platinum' WHEN {column} >= {fen[1]} THEN 'gold' ELSE 'ordinary' END"


def _threshold(reading: Reading, table: str, share: float) -> tuple[float, float, float]:
    """Return the spend above which a share of the buyers lies, with its 95% interval (Woodruff 1952, JASA 47:635, over clusters)."""

    def at(top: float) -> float:
        sql = f"SELECT quantile_cont(spend_fen, {min(max(1 - top, 0.0), 1.0)!r}) FROM {table} WHERE NOT is_account"
        return float(reading.engine.execute(sql).fetchone()[0])

    exact = at(share)
    units = f"SELECT cluster_id, 1 AS n, CASE WHEN spend_fen >= {exact!r} THEN 1 ELSE 0 END AS num, 1 AS den FROM {table} WHERE NOT is_account"
    about = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="proportion")
    down, up = about.value - about.low, about.high - about.value
    if not np.isfinite([down, up]).all():
        return exact, np.nan, np.nan
    return exact, at(share + up), at(share - down)


@remembered
def scheme(reading: Reading, platinum_fen: int = 0, gold_fen: int = 0) -> Scheme:
    """Draw the grades from the spend of the last 365 days, at the claimed shares or at chosen thresholds (fen; 0: from the data).

    The base are members who bought in these days, without tills (an id with over 5% of the orders). Everyone at a threshold stands
    above it. Thresholds from the data are rounded to sellable numbers, so the shares move a little. Smallest sample: 100 buyers
    over 180 days. Only descriptive: nobody has yet bought for the sake of these thresholds. Source: S3.4.
    """
    checked(platinum_fen, gold_fen)
    day, engine = reading.as_of, reading.engine
    days = min(YEAR, (day - reading.source.first_day).days + 1)
    if reading.source.missing("orders.member_id"):
        return Scheme("no_orders", day)
    table = spent_table(reading, day, days)
    n, spend, accounts = engine.execute(f"""
        SELECT count(*) FILTER (NOT is_account), coalesce(sum(spend_fen) FILTER (NOT is_account), 0), count(*) FILTER (is_account)
        FROM {table}""").fetchone()
    members = engine.execute("SELECT count(*) FROM member_facts").fetchone()[0]
    known = {"days": days, "n_buyers": n, "n_members": max(members, n), "n_accounts": accounts, "spend_fen": int(spend)}
    reason = "no_orders" if not n else "short_history" if days < LEAST_DAYS else "few_members" if n < LEAST_MEMBERS else ""
    if reason:
        return Scheme(reason, day, **known)
    rows = []
    for grade, share, chosen in (("platinum", SHARES[0], platinum_fen), ("gold", SHARES[1], gold_fen)):
        exact, low, high = _threshold(reading, table, share)
        rows.append([grade, share, exact, low, high, chosen or sellable(exact), bool(chosen)])
    fen = (rows[0][5], rows[1][5])
    if fen[0] <= fen[1] or engine.execute(
        f"SELECT count(*) FROM {table} WHERE NOT is_account AND spend_fen >= {fen[1]}"
    ).fetchone()[0] > (n * (0.999 if gold_fen else 2 * SHARES[1])):
        return Scheme("no_spread", day, **known)
    near = [_near(reading, table, fen[0], 2**62), _near(reading, table, fen[1], fen[0])]
    columns = ["grade", "share", "exact_fen", "low_fen", "high_fen", "fen", "is_chosen", "n_near", "gap_fen"]
    thresholds = pd.DataFrame([[*r, *n] for r, n in zip(rows, near, strict=True)], columns=columns)
    moves, present = _present(reading, table, fen)
    return Scheme("", day, **known, thresholds=thresholds, grades=_sizes(reading, table, fen), moves=moves, present=present)


def _near(reading: Reading, table: str, fen: int, above: int) -> tuple[int, int]:
    n, gap = reading.engine.execute(f"""
        SELECT count(*), coalesce(sum({fen} - spend_fen), 0) FROM {table}
        WHERE NOT is_account AND spend_fen < {min(fen, above)} AND {fen} - spend_fen <= spend_fen / n_orders""").fetchone()
    return int(n), int(gap)


def _sizes(reading: Reading, table: str, fen: tuple[int, int]) -> pd.DataFrame:
    graded = f"(SELECT *, {_grade_sql(fen)} AS grade FROM {table} WHERE NOT is_account)"
    heads = reading.engine.execute(f"""
        SELECT grade, count(*) AS n, CAST(sum(spend_fen) AS BIGINT) AS spend_fen, CAST(sum(n_orders) AS BIGINT) AS n_orders
        FROM {graded} GROUP BY grade""").df().set_index("grade")  # fmt: skip
    rows = []
    for grade in GRADES:
        n, spend, orders = heads.loc[grade] if grade in heads.index else (0, 0, 0)
        units = f"SELECT cluster_id, 1 AS n, CASE WHEN grade = '{grade}' THEN spend_fen ELSE 0 END AS num, spend_fen AS den FROM {graded}"
        part: Interval = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="ratio")
        rows.append((grade, int(n), n / heads["n"].sum(), int(spend), part.value, part.low, part.high, int(orders)))
    return pd.DataFrame(rows, columns=["grade", "n", "share", "spend_fen", "sales_share", "low", "high", "n_orders"])


def present_sql(day: date) -> str:
    """Return SQL of members' present grade at the end of a day: ``member_id, grade``; of overlapping spells the newest counts."""
    return f"""
        SELECT member_id, grade FROM (
            SELECT member_id, grade, row_number() OVER (PARTITION BY member_id ORDER BY from_at DESC, grade) AS place FROM grades
            WHERE from_at < DATE '{day}' + INTERVAL '1' DAY AND (to_at IS NULL OR to_at >= DATE '{day}' + INTERVAL '1' DAY)
        ) AS spells WHERE place = 1"""


def _present(reading: Reading, table: str, fen: tuple[int, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    if reading.source.missing("grades"):
        return pd.DataFrame(), pd.DataFrame()
    moves = reading.engine.execute(f"""
        SELECT p.grade AS now, {_grade_sql(fen, "coalesce(s.spend_fen, 0)")} AS then, count(*) AS n,
               CAST(sum(coalesce(s.spend_fen, 0)) AS BIGINT) AS spend_fen
        FROM ({present_sql(reading.as_of)}) AS p LEFT JOIN {table} AS s ON s.member_id = p.member_id
        WHERE NOT coalesce(s.is_account, FALSE) GROUP BY ALL""").df()
    present = moves.groupby("now", as_index=False)[["n", "spend_fen"]].sum()
    present["mean_fen"] = present["spend_fen"] / present["n"]
    present = present.sort_values(["mean_fen", "now"], ascending=[False, True], ignore_index=True)
    order = {g: i for i, g in enumerate(present["now"])}
    moves = moves.assign(a=moves["now"].map(order), b=moves["then"].map({g: i for i, g in enumerate(GRADES)}))
    return moves.sort_values(["a", "b"], ignore_index=True)[["now", "then", "n", "spend_fen"]], present


@remembered
def steadiness(reading: Reading, platinum_fen: int, gold_fen: int) -> pd.DataFrame:
    """Return how grades at given thresholds (fen) moved within a quarter: a year's spend 91 days ago against a year's spend now.

    Grain: one row per grade then and grade now. Columns: ``before, after`` (``none``: nothing bought in the year), ``n, n_all, share,
    low, high`` (95%, groups as clusters). Empty without a year and a quarter of history. Part of the falling back is chance: who
    was just above a threshold is on average lucky. Only descriptive.
    """
    then = reading.as_of - timedelta(days=QUARTER)
    if reading.source.missing("orders.member_id") or (then - reading.source.first_day).days + 1 < YEAR:
        return pd.DataFrame()
    a, b, fen = spent_table(reading, then, YEAR), spent_table(reading, reading.as_of, YEAR), (platinum_fen, gold_fen)
    pairs = f"""(SELECT a.cluster_id, {_grade_sql(fen, "a.spend_fen")} AS before,
                        CASE WHEN b.member_id IS NULL THEN 'none' ELSE {_grade_sql(fen, "b.spend_fen")} END AS after
                 FROM {a} AS a LEFT JOIN {b} AS b ON b.member_id = a.member_id WHERE NOT a.is_account)"""
    rows = []
    for before in GRADES:
        for after in (*GRADES, "none"):
            units = f"SELECT cluster_id, 1 AS n, CASE WHEN after = '{after}' THEN 1 ELSE 0 END AS num, 1 AS den FROM {pairs} WHERE before = '{before}'"
            made = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="proportion")
            if made.n:
                rows.append((before, after, round(made.value * made.n), int(made.n), made.value, made.low, made.high))
    return pd.DataFrame(rows, columns=["before", "after", "n", "n_all", "share", "low", "high"])
