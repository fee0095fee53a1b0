"""Who sold what in two periods: purchases and members with the state they were in before each period, by cluster.

Everything is aggregated in the engine to clusters × cells; what leaves it is small whatever the number of orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.reading import Period, Reading
from sqkit.segments.tiers import tier_table

__all__ = ["BUCKETS", "Movements", "late_part", "prepare", "table"]

BUCKETS = 1024  # random groups of members who are a cluster alone, and at most twice as many of whole groups

FEW = 5  # heads by which the rate of a rare habit is drawn to that of all
# purchases in the look-back and age of the last one, in classes
HABIT = """10 * CASE WHEN s.n_orders <= 2 THEN s.n_orders WHEN s.n_orders <= 4 THEN 3 WHEN s.n_orders <= 8 THEN 4 ELSE 5 END
               + CASE WHEN r.last_on IS NULL THEN 5 WHEN w.first - r.last_on <= 30 THEN 0 WHEN w.first - r.last_on <= 60 THEN 1
                      WHEN w.first - r.last_on <= 120 THEN 2 WHEN w.first - r.last_on <= 240 THEN 3 ELSE 4 END"""


@dataclass(frozen=True)
class Movements:
    """Temporary tables about two periods.

    Attributes
    ----------
    reading : Reading
    earlier, later : Period
    lookback_days : int
        Of the tiers; 0 where there are none.
    has_classes : bool
        Whether a span as long as each period lies before it in the data, so that kept, returned and new can be told.
    n_clusters : int
        Rows of every array: groups, buckets of members alone, days of the month of sales without a member.
    left_out : tuple of str
        Conditions on ``moved_sales`` whose rows are excluded (causes named before).
    named : tuple of (by, among, cell)
        The cells of those causes.
    """

    reading: Reading
    earlier: Period
    later: Period
    lookback_days: int
    has_classes: bool
    n_clusters: int
    left_out: tuple[str, ...] = ()
    named: tuple[tuple[str, str, str], ...] = ()

    def sums(
        self, by: str, where: str = "true", key: str = "k", cells: Sequence[str] | None = None
    ) -> tuple[list[str], dict[str, np.ndarray]]:
        """Return the cells of a cut, and purchases (``n``) and ``fen`` as arrays (phase, cluster, cell).

        Phase 0 is the earlier period, 1 the first third of the later one and 2 the rest of it.
        """
        conditions = " AND ".join([f"({where})", f"{by} IS NOT NULL", *(f"NOT coalesce({c}, false)" for c in self.left_out)])
        frame = self.reading.engine.execute(f"""
            SELECT {key} AS k, phase, CAST({by} AS VARCHAR) AS cell, count(*) AS n, CAST(sum(fen) AS DOUBLE) AS fen
            FROM moved_sales WHERE {conditions} GROUP BY ALL""").df()
        return table(frame, ["n", "fen"], self.n_clusters, cells)

    def heads(self, tiers: Sequence[str], by: str = "tier") -> np.ndarray:
        """Return how many purchases the members of each cell were good for before each period, an array (side, cluster, cell).

        A member is worth what members with as many purchases in the look-back and as old a last one bought in the earlier period:
        a tier that holds more lapsed members than it did is no tier that buys less.
        """
        frame = self.reading.engine.execute(f"""
            SELECT h.k, h.side AS phase, {by} AS cell, sum(w.worth) AS heads
            FROM moved_heads AS h JOIN moved_worth AS w ON w.habit = h.habit GROUP BY ALL ORDER BY ALL""").df()
        return table(frame, ["heads"], self.n_clusters, tiers)[1]["heads"]


def table(
    frame: pd.DataFrame, values: Sequence[str], n_clusters: int, cells: Sequence[str] | None = None, phases: int = 3
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Spread rows (``k, phase, cell``, values) to arrays (phase, cluster, cell); other cells than those given are dropped."""
    codes, found = pd.factorize(frame["cell"])
    names = sorted(found) if cells is None else list(cells)
    place = {name: i for i, name in enumerate(names)}
    column = np.array([place.get(name, -1) for name in found], int)[codes] if len(found) else np.zeros(0, int)
    known = column >= 0
    row = frame["phase"].to_numpy(int) * n_clusters + frame["k"].to_numpy(int)
    flat = (row * len(names) + column)[known]
    shape = (phases, n_clusters, len(names))
    size = phases * n_clusters * len(names)
    return names, {v: np.bincount(flat, frame[v].to_numpy(float)[known], size).reshape(shape) for v in values}


def prepare(reading: Reading, later: Period, earlier: Period, lookback_days: int, *, has_classes: bool) -> Movements:
    """Make ``moved_sales`` (one row per purchase not fully refunded in either period) and ``moved_heads`` (member and period).

    ``side`` is 0 in the earlier and 1 in the later period. ``class``: ``new`` (first purchase ever in the period), ``kept`` (also
    bought in the span of equal length just before it), ``returned`` (bought before, but not in that span), ``anonymous``; ``member``
    where history is too short to tell. ``tier``: before the period; ``new`` and ``anonymous`` for those without one, ``all`` where
    nobody can be tiered. ``k`` is the cluster. In a store's reading only purchases in the store count, and its home members.
    """
    engine, here = reading.engine, f"store_id = '{_quoted(reading.store)}'" if reading.store else "true"
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE moved_groups AS
        SELECT cluster_id, {BUCKETS} + (row_number() OVER (ORDER BY cluster_id) - 1) % {2 * BUCKETS} AS k FROM (
            SELECT DISTINCT cluster_id FROM member_facts WHERE NOT starts_with(cluster_id, 'member:')
            UNION SELECT DISTINCT cluster_id FROM order_facts WHERE member_id IS NULL)""")
    n = engine.execute("SELECT coalesce(max(k), 0) + 1 FROM moved_groups").fetchone()[0]
    windows, tiers, late = [], [], late_part(later)
    for side, period in enumerate((earlier, later, late)):
        before = period.first - timedelta(days=period.days) if has_classes else period.first
        windows.append(
            f"SELECT {side} AS side, DATE '{before}' AS before, DATE '{period.first}' AS first, DATE '{period.last}' AS last"
        )
        known = tier_table(reading, period.first, lookback_days) if lookback_days else ""
        source = (
            f"SELECT {side} AS side, member_id, cluster_id, tier, n_orders FROM {known}"
            if known
            else f"SELECT {side} AS side, member_id, cluster_id, 'all' AS tier, 0 AS n_orders FROM member_facts WHERE joined_on < DATE '{period.first}'"
        )
        tiers.append(source)
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE moved_windows AS {" UNION ALL ".join(windows)};
        CREATE OR REPLACE TEMP TABLE moved_states AS {" UNION ALL ".join(tiers)};
        CREATE OR REPLACE TEMP TABLE moved_prior AS
        SELECT DISTINCT w.side, o.member_id FROM order_facts AS o
        JOIN moved_windows AS w ON o.ordered_on >= w.before AND o.ordered_on < w.first
        WHERE o.is_kept AND o.member_id IS NOT NULL AND {here};
        CREATE OR REPLACE TEMP TABLE moved_sales AS
        SELECT w.side, w.side + CASE WHEN w.side = 1 AND o.ordered_on >= DATE '{late.first}' THEN 1 ELSE 0 END AS phase, coalesce(g.k, hash(coalesce(o.member_id, o.purchase_id)) % {BUCKETS}) AS k,
               hash(coalesce(o.member_id, o.purchase_id)) % {BUCKETS} AS k_member,
               o.purchase_id, o.member_id, o.store_id, o.domain, o.channel, m.acquisition_channel, o.net_fen AS fen,
               m.joined_on >= w.first AS is_newcomer, coalesce(o.first_ordered_on >= w.first, false) AS is_first,
               CASE WHEN o.member_id IS NULL THEN 'anonymous'
                    WHEN {"false" if has_classes else "true"} THEN 'member'
                    WHEN coalesce(o.first_ordered_on >= w.first, true) THEN 'new'
                    WHEN p.member_id IS NOT NULL THEN 'kept' ELSE 'returned' END AS class,
               CASE WHEN o.member_id IS NULL THEN 'anonymous'
                    WHEN coalesce(o.first_ordered_on >= w.first, true) AND {"true" if has_classes else "false"} THEN 'new'
                    WHEN {"true" if lookback_days else "false"} THEN coalesce(s.tier, 'none') ELSE 'all' END AS tier,
               CASE WHEN w.side = 1 AND o.ordered_on >= DATE '{late.first}' THEN coalesce(l.tier, 'none') END AS late_tier
        FROM order_facts AS o
        JOIN moved_windows AS w ON o.ordered_on BETWEEN w.first AND w.last AND w.side < 2
        LEFT JOIN member_facts AS m ON m.member_id = o.member_id
        LEFT JOIN moved_groups AS g ON g.cluster_id = o.cluster_id
        LEFT JOIN moved_prior AS p ON p.member_id = o.member_id AND p.side = w.side
        LEFT JOIN moved_states AS s ON s.member_id = o.member_id AND s.side = w.side
        LEFT JOIN moved_states AS l ON l.member_id = o.member_id AND l.side = 2
        WHERE o.is_kept AND {here};
        CREATE OR REPLACE TEMP TABLE moved_last AS
        SELECT w.side, o.member_id, max(o.ordered_on) AS last_on FROM order_facts AS o
        JOIN moved_windows AS w ON o.ordered_on < w.first WHERE o.is_kept AND o.member_id IS NOT NULL GROUP BY ALL;
        CREATE OR REPLACE TEMP TABLE moved_heads AS
        SELECT s.side, coalesce(g.k, hash(s.member_id) % {BUCKETS}) AS k, s.member_id, s.tier, s.n_orders, m.acquisition_channel,
               t.tier AS other_tier, {HABIT} AS habit,
               p.member_id IS NOT NULL AS is_prior, q.member_id IS NOT NULL AS is_other_prior, b.member_id IS NOT NULL AS is_buyer
        FROM moved_states AS s
        JOIN moved_windows AS w ON w.side = s.side
        LEFT JOIN member_facts AS m ON m.member_id = s.member_id
        LEFT JOIN moved_last AS r ON r.member_id = s.member_id AND r.side = s.side
        LEFT JOIN moved_groups AS g ON g.cluster_id = s.cluster_id
        LEFT JOIN moved_states AS t ON t.member_id = s.member_id AND t.side = 1 - s.side AND s.side < 2
        LEFT JOIN moved_prior AS p ON p.member_id = s.member_id AND p.side = s.side
        LEFT JOIN moved_prior AS q ON q.member_id = s.member_id AND q.side = 1 - s.side AND s.side < 2
        LEFT JOIN (SELECT DISTINCT side, member_id FROM moved_sales WHERE class <> 'new') AS b
               ON b.member_id = s.member_id AND b.side = s.side
        {_at_home(reading)};
        CREATE OR REPLACE TEMP TABLE moved_worth AS
        WITH bought AS (
            SELECT member_id, count(*) AS n FROM moved_sales WHERE side = 0 AND member_id IS NOT NULL AND class <> 'new' GROUP BY member_id
        ),
        pooled AS (
            SELECT h.habit, count(*) AS heads, coalesce(sum(b.n), 0) AS n FROM moved_heads AS h
            LEFT JOIN bought AS b ON b.member_id = h.member_id WHERE h.side = 0 AND h.tier <> 'none' GROUP BY h.habit
        ),
        overall AS (SELECT coalesce(sum(n) / nullif(sum(heads), 0), 0) AS rate FROM pooled)
        SELECT a.habit, (coalesce(p.n, 0) + {FEW} * o.rate + 1e-6) / (coalesce(p.heads, 0) + {FEW}) AS worth
        FROM (SELECT DISTINCT habit FROM moved_heads) AS a CROSS JOIN overall AS o LEFT JOIN pooled AS p ON p.habit = a.habit""")
    return Movements(reading, earlier, later, lookback_days, has_classes, int(n) if n > BUCKETS else BUCKETS)


def late_part(later: Period) -> Period:
    """Return the last two thirds of a period, from the first of a month where it is a quarter; a cause may begin inside it."""
    first = later.first + timedelta(days=round(later.days / 3))
    if later.grain == "quarter":
        first = (later.first + timedelta(days=31)).replace(day=1)
    return Period(first, later.last)


def _at_home(reading: Reading) -> str:
    """Keep the store's own members and whoever bought there, where the report is of one store."""
    if not reading.store:
        return ""
    own = f"SELECT member_id FROM member_facts WHERE home_store_id = '{_quoted(reading.store)}'"
    return f"WHERE s.member_id IN ({own}) OR p.member_id IS NOT NULL OR b.member_id IS NOT NULL"


def _quoted(text: str) -> str:
    return text.replace("'", "''")
