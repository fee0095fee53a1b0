"""What benefits cost by what sets them off: gifts at a grade's rise are paid once per rise, all others per head and year (S3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.loyalty import points as economics
from sqkit.loyalty.benefits import benefits
from sqkit.loyalty.grades import GRADES, YEAR, scheme
from sqkit.reading import Reading, remembered

__all__ = ["NEAR_DAYS", "Bill", "bill", "drawn", "rank_sql", "rises_by_shard"]

NEAR_DAYS = 7  # a gift granted from the day before to so many days after a rise belongs to the rise
PLACE = "CASE {} WHEN 'platinum' THEN 2 WHEN 'gold' THEN 1 ELSE 0 END"


@dataclass(frozen=True)
class Bill:
    """Benefits of the last 365 days, split.

    Attributes
    ----------
    kinds : DataFrame
        ``kind, n, n_rise`` (grants up to the day; those granted near a rise), ``is_rise`` (at least half of them are).
    rise : DataFrame
        Per grade of GRADES risen to: ``grade, n`` (rises of the 365 days), ``k`` (rises with a gift), ``each_fen`` (cost of a gift),
        ``se_fen``.
    head : DataFrame
        Per grade of GRADES: ``grade, years`` (member years), ``n`` (grants), ``each_fen, se_fen`` (cost of a grant), ``is_own``: False
        where the benefits table withholds its interval; such a grade is billed at the rate of all grades together.
    """

    kinds: pd.DataFrame
    rise: pd.DataFrame
    head: pd.DataFrame

    @property
    def unknown(self) -> tuple[str, ...]:
        """Grades above ordinary to which nobody rose in the year: what their gift costs is not known and billed as 0."""
        if not self.kinds["is_rise"].any():
            return ()
        return tuple(g for g, n in zip(self.rise["grade"], self.rise["n"], strict=True) if not n and g != "ordinary")


def _ranks(reading: Reading) -> dict[str, str]:
    """Return which of the three grades each present grade stands for, by the order of their mean spend."""
    present = scheme(reading).present
    order = list(present["now"]) if len(present) else []
    return {name: GRADES[min(i, 2)] if len(order) > 2 or i == 0 else "ordinary" for i, name in enumerate(order)}


def rank_sql(reading: Reading, column: str) -> str:
    """Return SQL of the grade of GRADES that a present grade stands for; ``ordinary`` for unknown ones and none."""
    cases = " ".join(f"WHEN '{str(k).replace(chr(39), chr(39) * 2)}' THEN '{v}'" for k, v in _ranks(reading).items())
    return f"CASE {column} {cases} ELSE 'ordinary' END" if cases else "'ordinary'"


@remembered
def bill(reading: Reading) -> Bill | None:
    """Split the benefits of the last 365 days into gifts at a rise of grade and benefits per head; None without benefits.

    A rise is a spell of grades above the member's spell before (above ordinary for the first). A kind of benefit counts as paid per
    rise where at least half of its grants lie from a day before to 7 days after one (the nearest); everything else is paid per head and
    year. Of a per-rise kind, grants far from any rise are left out. Without the table grades nothing is paid per rise.
    """
    given = benefits(reading)
    if given.reason:
        return None
    day, engine = reading.as_of, reading.engine
    since = day - timedelta(days=given.days - 1)
    rank = rank_sql(reading, "grade")
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE grade_rises AS
        SELECT member_id, grade, from_at FROM (
            SELECT *, lag(place) OVER (PARTITION BY member_id ORDER BY from_at, place) AS before
            FROM (SELECT member_id, {rank} AS grade, from_at, {PLACE.format(rank)} AS place FROM grade_spells)
        ) AS spells WHERE place > coalesce(before, 0)""")
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE benefits_told AS
        SELECT b.benefit_id, b.member_id, b.kind, b.granted_at, b.cost_fen, r.grade AS risen_to, r.from_at AS risen_at
        FROM benefits AS b LEFT JOIN grade_rises AS r ON r.member_id = b.member_id
         AND b.granted_at >= r.from_at - INTERVAL '1' DAY AND b.granted_at < r.from_at + INTERVAL '{NEAR_DAYS}' DAY
        QUALIFY row_number() OVER (PARTITION BY b.benefit_id
                                   ORDER BY abs(date_diff('second', r.from_at, b.granted_at)) NULLS LAST, r.from_at DESC) = 1""")
    kinds = engine.execute(
        "SELECT kind, count(*) AS n, count(risen_at) AS n_rise FROM benefits_told GROUP BY kind ORDER BY kind"
    ).df()
    kinds["is_rise"] = kinds["n_rise"] * 2 >= kinds["n"]
    rise_kinds = ", ".join(f"'{k.replace(chr(39), chr(39) * 2)}'" for k in kinds.loc[kinds["is_rise"], "kind"]) or "NULL"
    rise = engine.execute(f"""
        WITH gifts AS (SELECT member_id, risen_at, sum(cost_fen) AS cost_fen FROM benefits_told
                       WHERE kind IN ({rise_kinds}) AND risen_at IS NOT NULL GROUP BY ALL)
        SELECT r.grade, count(*) AS n, count(g.cost_fen) AS k, coalesce(avg(g.cost_fen), 0) AS each_fen,
               coalesce(stddev_samp(g.cost_fen) / sqrt(count(g.cost_fen)), 0) AS se_fen
        FROM grade_rises AS r LEFT JOIN gifts AS g ON g.member_id = r.member_id AND g.risen_at = r.from_at
        WHERE r.from_at >= TIMESTAMP '{since}' GROUP BY r.grade""").df()
    head = engine.execute(f"""
        WITH paid AS (SELECT b.cost_fen, coalesce(s.grade, 'none') AS grade FROM benefits AS b LEFT JOIN grade_spells AS s
                      ON s.member_id = b.member_id AND b.granted_at >= s.from_at AND b.granted_at < s.to_at
                    WHERE b.granted_at >= TIMESTAMP '{since}'
                      AND (b.kind IN ({rise_kinds})) IS NOT TRUE)
        SELECT {rank} AS grade, count(*) AS n, avg(cost_fen) AS each_fen, coalesce(stddev_samp(cost_fen) / sqrt(count(*)), 0) AS se_fen
        FROM paid GROUP BY 1""").df()
    years = (
        engine.execute(f"SELECT {rank} AS grade, sum(years) AS years FROM grade_year GROUP BY 1").df().set_index("grade")["years"]
    )
    names = _ranks(reading)
    own = {names.get(r.grade, "ordinary") for r in given.by_grade.itertuples() if r.low == r.low}
    head = head.set_index("grade").reindex(GRADES).fillna(0.0)
    head["years"], head["is_own"] = years.reindex(GRADES).fillna(0.0), [g in own for g in GRADES]
    rise = rise.set_index("grade").reindex(GRADES).fillna(0.0)
    return Bill(kinds, rise.rename_axis("grade").reset_index(), head.rename_axis("grade").reset_index())


def drawn(made: Bill | None, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a rise costs, and a head and year, by grade of GRADES: the estimate, then `n` draws of it (rows), in fen.

    Few rises and few grants show: the share of rises with a gift is drawn from its beta, grants a member year from their gamma
    distribution (Jeffreys), the mean cost from a normal one. A grade whose interval the benefits table withholds takes the rate of all.
    """
    rise, head = np.zeros((n + 1, 3)), np.zeros((n + 1, 3))
    if made is None:
        return rise, head
    for i, row in enumerate(made.rise.itertuples(index=False)):
        if row.k:
            rise[0, i] = row.k / row.n * row.each_fen
            rise[1:, i] = rng.beta(row.k + 0.5, row.n - row.k + 0.5, n) * rng.normal(row.each_fen, row.se_fen, n)
    h = made.head
    count, years = h["n"].sum(), h["years"].sum()
    each = (h["n"] * h["each_fen"]).sum() / max(count, 1)
    whole = np.r_[count, rng.gamma(count + 0.5, 1.0, n)] / years * each if years > 0 and count else np.zeros(n + 1)
    for i, row in enumerate(h.itertuples(index=False)):
        if not row.is_own or row.years <= 0:
            head[:, i] = whole
        elif row.n:
            head[0, i] = row.n / row.years * row.each_fen
            head[1:, i] = rng.gamma(row.n + 0.5, 1.0, n) / row.years * rng.normal(row.each_fen, row.se_fen, n)
    return rise, head


def rises_by_shard(reading: Reading) -> np.ndarray:
    """Return rises a year under the present rules by shard of clusters and grade risen to (shards, 3); zeros without grades."""
    made = np.zeros((economics.SHARDS, 3))
    given = benefits(reading)
    if given.reason or bill(reading) is None:
        return made
    since = reading.as_of - timedelta(days=given.days - 1)
    rows = reading.engine.execute(f"""
        SELECT CAST(hash(m.cluster_id) % {economics.SHARDS} AS INTEGER) AS shard, r.grade, count(*) AS n
        FROM grade_rises AS r JOIN member_facts AS m ON m.member_id = r.member_id
        WHERE r.from_at >= TIMESTAMP '{since}' GROUP BY ALL""").fetchall()
    for shard, grade, n in rows:
        made[shard, GRADES.index(grade)] += n * YEAR / given.days
    return made
