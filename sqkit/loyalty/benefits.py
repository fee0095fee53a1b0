"""What benefits cost per grade and kind, and what one would have to bring to pay for itself (S3.4, S3.6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.errors import InputError
from sqkit.loyalty.grades import YEAR
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval, ratio_interval
from sqkit.stats.blocks import blocks_sql

__all__ = ["Benefits", "benefits", "cost_rate", "discount"]


@dataclass(frozen=True)
class Benefits:
    """Costs of a year.

    Attributes
    ----------
    reason : str
        '' or ``no_benefits``.
    days : int
        Days up to the reading's day that were added up.
    by_grade : DataFrame
        Per present grade, most spending first (``all`` alone without the table grades): ``grade, member_years, cost_fen,
        cost_member_fen`` (a member and year), ``low, high`` (95%), ``net_fen`` (net sales while in the grade), ``margin_fen``,
        ``cost_margin`` (share of the margin; NaN without product costs), ``order_fen`` (net sales an order), ``orders_year`` (a member and
        year), ``break_even`` (orders a member and year more that pay the cost).
    by_kind : DataFrame
        ``grade, kind, n, cost_fen, each_fen``.
    previous_fen : int or None
        All benefits of the 365 days before; None where the source does not reach so far back.
    other : DataFrame
        ``kind, amount_fen`` of the table costs in the same days: the brand's costs that no grade can be given.
    """

    reason: str
    days: int = 0
    by_grade: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_kind: pd.DataFrame = field(default_factory=pd.DataFrame)
    other: pd.DataFrame = field(default_factory=pd.DataFrame)
    previous_fen: int | None = None

    @property
    def cost_fen(self) -> int:
        """All benefits of the year."""
        return int(self.by_kind["cost_fen"].sum()) if len(self.by_kind) else 0


@remembered
def cost_rate(reading: Reading) -> Interval | None:
    """Return product cost over sales as paid, of the last 365 days, with its 95% interval over stores and months.

    Lines without a cost are left out on both sides. None where products carry no cost. Gifts redeemed for points may cost another
    share; the brand's average stands in for it (S3.5).
    """
    if reading.source.missing("order_items", "products.cost_fen", "orders"):
        return None
    day = reading.as_of
    units = f"""
        SELECT concat(coalesce(i.store_id, ''), CAST(date_trunc('month', i.ordered_on) AS VARCHAR)) AS cluster_id, 1 AS n,
               i.quantity * p.cost_fen AS num, i.paid_fen AS den
        FROM item_facts AS i JOIN products AS p ON p.product_id = i.product_id
        WHERE p.cost_fen IS NOT NULL AND i.quantity > 0 AND i.ordered_on > DATE '{day - timedelta(days=YEAR)}'"""
    made = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="ratio")
    return made if np.isfinite(made.value) and made.value > 0 else None


@remembered
def benefits(reading: Reading) -> Benefits:
    """Add up the benefits of the last 365 days by the grade a member stood in when each was granted.

    Costs of a member and year are per year spent in the grade, not per head today. Sales and orders are those made while in the
    grade. A grade's break-even is arithmetic (cost over the margin of an order), not an effect: who is graded bought more anyway.
    """
    source, engine, day = reading.source, reading.engine, reading.as_of
    if source.missing("benefits"):
        return Benefits("no_benefits")
    days = min(YEAR, (day - source.first_day).days + 1)
    since = day - timedelta(days=days - 1)
    graded = not source.missing("grades")
    base = f"""SELECT member_id, grade, from_at, coalesce(to_at, DATE '{day}' + INTERVAL '1' DAY) AS to_at FROM grades""" if graded else f"""
               SELECT member_id, 'all' AS grade, CAST(joined_on AS TIMESTAMP) AS from_at, DATE '{day}' + INTERVAL '1' DAY AS to_at
               FROM member_facts"""  # fmt: skip
    engine.execute(f"CREATE OR REPLACE TEMP TABLE grade_spells AS {base}")
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE grade_year AS
        WITH stays AS (
            SELECT member_id, grade,
                   CAST(sum(date_diff('second', greatest(from_at, TIMESTAMP '{since}'), to_at)) AS DOUBLE) / (86400 * {YEAR}) AS years
            FROM grade_spells WHERE to_at > TIMESTAMP '{since}' GROUP BY ALL
        ),
        given AS (
            SELECT b.member_id, coalesce(s.grade, 'none') AS grade, CAST(sum(b.cost_fen) AS BIGINT) AS cost_fen
            FROM benefits AS b LEFT JOIN grade_spells AS s
              ON s.member_id = b.member_id AND b.granted_at >= s.from_at AND b.granted_at < s.to_at
            WHERE b.granted_at >= TIMESTAMP '{since}' GROUP BY ALL
        ),
        bought AS (
            SELECT o.member_id, s.grade, CAST(sum(o.net_fen) AS BIGINT) AS net_fen, count(*) AS n_orders
            FROM order_facts AS o JOIN grade_spells AS s ON s.member_id = o.member_id AND o.ordered_at >= s.from_at AND o.ordered_at < s.to_at
            WHERE o.ordered_on >= DATE '{since}' AND o.is_kept GROUP BY ALL
        ),
        keys AS (SELECT member_id, grade FROM stays UNION SELECT member_id, grade FROM given UNION SELECT member_id, grade FROM bought)
        SELECT k.member_id, k.grade, coalesce(m.cluster_id, concat('member:', k.member_id)) AS cluster_id, coalesce(y.years, 0) AS years,
               coalesce(g.cost_fen, 0) AS cost_fen, coalesce(b.net_fen, 0) AS net_fen, coalesce(b.n_orders, 0) AS n_orders
        FROM keys AS k LEFT JOIN stays AS y USING (member_id, grade) LEFT JOIN given AS g USING (member_id, grade)
        LEFT JOIN bought AS b USING (member_id, grade) LEFT JOIN member_facts AS m ON m.member_id = k.member_id""")
    kinds = engine.execute(f"""
        SELECT coalesce(s.grade, 'none') AS grade, b.kind, count(*) AS n, CAST(sum(b.cost_fen) AS BIGINT) AS cost_fen
        FROM benefits AS b LEFT JOIN grade_spells AS s ON s.member_id = b.member_id AND b.granted_at >= s.from_at AND b.granted_at < s.to_at
        WHERE b.granted_at >= TIMESTAMP '{since}' GROUP BY ALL ORDER BY 1, 2""").df()
    kinds["each_fen"] = kinds["cost_fen"] / kinds["n"]
    other = engine.execute(f"""
        SELECT kind, CAST(sum(amount_fen) AS BIGINT) AS amount_fen FROM costs
        WHERE on_day >= DATE '{since}' GROUP BY kind ORDER BY 2 DESC, 1""").df()
    before = since - timedelta(days=YEAR)
    previous = engine.execute(f"""
        SELECT coalesce(sum(cost_fen), 0) FROM benefits WHERE granted_at >= TIMESTAMP '{before}' AND granted_at < TIMESTAMP '{since}'""").fetchone()[
        0
    ]
    return Benefits("", days, _by_grade(reading), kinds, other, int(previous) if before >= source.first_day else None)


def _by_grade(reading: Reading) -> pd.DataFrame:
    engine, rate = reading.engine, cost_rate(reading)
    sums = engine.execute("""
        SELECT grade, sum(years) AS member_years, CAST(sum(cost_fen) AS BIGINT) AS cost_fen, CAST(sum(net_fen) AS BIGINT) AS net_fen,
               CAST(sum(n_orders) AS BIGINT) AS n_orders FROM grade_year GROUP BY grade ORDER BY sum(net_fen) / nullif(sum(years), 0) DESC NULLS LAST, grade
        """).df()  # fmt: skip
    rows = []
    for grade in sums["grade"]:
        units = f"SELECT cluster_id, 1 AS n, CAST(cost_fen AS DOUBLE) AS num, years AS den FROM grade_year WHERE grade = '{_quoted(grade)}'"
        made = ratio_interval(engine.execute(blocks_sql(units)).df(), kind="ratio")
        rows.append((made.value, made.low, made.high) if made.enough else (made.value, np.nan, np.nan))
    sums[["cost_member_fen", "low", "high"]] = pd.DataFrame(rows, index=sums.index, dtype=float)
    keep = 1 - rate.value if rate is not None else np.nan
    sums["margin_fen"] = sums["net_fen"] * keep
    with np.errstate(divide="ignore", invalid="ignore"):
        sums["cost_margin"] = np.where(sums["margin_fen"] > 0, sums["cost_fen"] / sums["margin_fen"], np.nan)
        sums["order_fen"] = np.where(sums["n_orders"] > 0, sums["net_fen"] / sums["n_orders"], np.nan)
        sums["orders_year"] = np.where(sums["member_years"] > 0, sums["n_orders"] / sums["member_years"], np.nan)
        sums["break_even"] = np.where(sums["order_fen"] * keep > 0, sums["cost_member_fen"] / (sums["order_fen"] * keep), np.nan)
    return sums


def _quoted(text: str) -> str:
    return str(text).replace("'", "''")


def discount(share: float, sales_fen: float, margin_share: float) -> tuple[float, float]:
    """Return what a member discount costs a year on present sales (fen), and by how much sales must rise to earn it back.

    With margin m and discount d, sales at the discounted price must be m / (m - d) of before (at list quantities: units rise by that
    factor). A discount at or above the margin is never earned back: infinite.

    Raises
    ------
    InputError
        If the discount is not from 0 to 0.9, or the margin not above 0 and below 1.

    Examples
    --------
    >>> discount(0.05, 1_000_000, 0.25)
    (50000.0, 0.25)
    """
    if not 0 <= share <= 0.9:
        raise InputError(f"the discount is {share}; allowed: 0 to 0.9.")
    if not 0 < margin_share < 1:
        raise InputError(f"the margin is {margin_share}; allowed: above 0, below 1.")
    return share * sales_fen, (margin_share / (margin_share - share) - 1 if share < margin_share else float("inf"))
