"""Which category follows which: the step from one purchase of a member to the next (S3.12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.baskets.rules import NEEDS, lines
from sqkit.reading import Reading, remembered
from sqkit.stats.blocks import joint_of_sums
from sqkit.stats.shrinkage import gamma_poisson

__all__ = ["Transitions", "transitions"]

LEAST_STEPS = 200
COLUMNS = [
    "first", "then", "n_first", "n_together", "chance", "chance_others", "lift", "low", "high", "shrunk", "shrunk_low", "shrunk_high",
    "p_adjusted", "is_enough", "is_apart",
]  # fmt: skip


@dataclass(frozen=True)
class Transitions:
    """Steps between categories.

    Attributes
    ----------
    cells : DataFrame
        One row per ordered pair of categories, largest categories first: ``n_first`` (steps that leave a purchase with ``first``),
        ``n_together`` (of them those whose next purchase holds ``then``), ``chance``, ``chance_others`` (after purchases without
        ``first``), ``lift`` (chance over chance_others), ``low``, ``high`` (95%, clustered), ``shrunk`` with its bounds,
        ``p_adjusted`` (Holm over all pairs), ``is_enough``, ``is_apart``.
    base : DataFrame
        ``category``, ``chance``: how often the next purchase holds it, whatever came before.
    n_steps, n_members : int
    first, last : date
    missing : list of str
    """

    cells: pd.DataFrame
    base: pd.DataFrame
    n_steps: int
    n_members: int
    first: date
    last: date
    missing: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """``ok``, ``missing`` or ``few_steps``."""
        return "missing" if self.missing else "ok" if self.n_steps >= LEAST_STEPS else "few_steps"


@remembered
def transitions(reading: Reading, most: int = 8) -> Transitions:
    """Count the steps of the last year between the `most` bought categories.

    A step leads from one kept purchase of a member to his next one; ties in time go by purchase id. The chain has one purchase of memory
    (Markov). A category that follows itself mostly shows taste: members differ in what they like, and that alone lifts the diagonal.
    Descriptive. Groups are clusters; one account with half of all purchases leaves too few effective clusters and nothing is judged.
    """
    last = reading.as_of
    first = max(reading.source.first_day, last - timedelta(days=364))
    missing = reading.source.missing("orders.member_id", *NEEDS["category"])
    if missing:
        return Transitions(
            pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=["category", "chance"]), 0, 0, first, last, missing
        )
    table, engine = lines(reading, first, last), reading.engine
    top = (
        engine.execute(f"""SELECT category FROM {table} WHERE member_id IS NOT NULL AND category IS NOT NULL
        GROUP BY category ORDER BY count(DISTINCT basket) DESC, category LIMIT {most}""")
        .df()["category"]
        .tolist()
    )
    engine.register("top_categories", pd.DataFrame({"category": top, "place": range(len(top))}))
    bits = engine.execute(f"""
        WITH baskets AS (
            SELECT basket, min(member_id) AS member_id, min(cluster_id) AS cluster_id, min(ordered_at) AS begun_at,
                   CAST(bit_or(CASE WHEN c.place IS NULL THEN 0 ELSE 1 << c.place END) AS BIGINT) AS held
            FROM {table} AS l LEFT JOIN top_categories AS c ON c.category = l.category
            WHERE member_id IS NOT NULL GROUP BY basket),
        steps AS (SELECT member_id, cluster_id, held, lead(held) OVER (PARTITION BY member_id ORDER BY begun_at, basket) AS next_held FROM baskets),
        alone AS (SELECT cluster_id, count(DISTINCT member_id) AS n FROM steps GROUP BY cluster_id)
        SELECT s.cluster_id, min(a.n) AS n_members, s.held, s.next_held, count(*) AS n FROM steps AS s
        JOIN alone AS a ON a.cluster_id = s.cluster_id WHERE s.next_held IS NOT NULL
        GROUP BY s.cluster_id, s.held, s.next_held ORDER BY s.cluster_id, s.held, s.next_held""").df()
    engine.unregister("top_categories")
    n_members = engine.execute(f"SELECT count(DISTINCT member_id) FROM {table}").fetchone()[0]
    n_steps = int(bits["n"].sum())
    base, cells = _cells(bits, top)
    return Transitions(cells, base, n_steps, n_members, first, last)


def _cells(bits: pd.DataFrame, top: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    weight = bits["n"].to_numpy(float)
    has, gets = ((bits[c].to_numpy(np.int64)[:, None] >> np.arange(len(top)) & 1).astype(float) for c in ("held", "next_held"))
    codes = pd.factorize(bits["cluster_id"])[0]
    n = int(codes.max()) + 1 if len(codes) else 0
    is_alone = np.zeros(n, bool)
    is_alone[codes] = bits["n_members"].to_numpy() == 1
    total = np.bincount(codes, weight, n)
    into = np.stack([np.bincount(codes, weight * gets[:, j], n) for j in range(len(top))], 1) if n else np.zeros((0, len(top)))
    base = pd.DataFrame({"category": top, "chance": into.sum(0) / max(total.sum(), 1)})
    rows, made = [], []
    for i in range(len(top) if n else 0):
        den = np.bincount(codes, weight * has[:, i], n)
        for j in range(len(top)):
            num = np.bincount(codes, weight * has[:, i] * gets[:, j], n)
            interval = stats.multiple_interval(joint_of_sums(is_alone, num, den, into[:, j] - num, total - den))
            others = (into[:, j] - num).sum() / max((total - den).sum(), 1)
            ends = interval.value, interval.low, interval.high
            rows.append((top[i], top[j], int(den.sum()), int(num.sum()), num.sum() / max(den.sum(), 1), others, *ends))
            made.append(interval)
    told = [i for i, m in enumerate(made) if m.enough and np.isfinite(m.low)]
    adjusted = dict(zip(told, stats.holm([made[i].p_value(1.0) for i in told]), strict=True))
    value, se = (np.array([getattr(m, k) for m in made], float) for k in ("value", "se"))
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(se > 0, (value / se) ** 2, np.nan)
        shrunk = gamma_poisson(seen, seen / value)
    full = [
        (*row, shrunk.value[i], shrunk.low[i], shrunk.high[i], adjusted.get(i, 1.0), i in adjusted, adjusted.get(i, 1.0) < 0.05)
        for i, row in enumerate(rows)
    ]
    return base, pd.DataFrame(full, columns=COLUMNS)
