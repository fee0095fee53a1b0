"""Which categories a segment buys more than others do, and the offer mix that follows (S1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.reading import Reading, remembered
from sqkit.stats.shrinkage import gamma_poisson

__all__ = ["NEEDS", "Affinity", "affinity", "category_lines", "offer_mix"]

NEEDS = ("orders.member_id", "order_items", "products.category")
COLUMNS = [
    "segment", "category", "n", "n_with", "share", "share_others", "lift", "low", "high", "shrunk", "shrunk_low", "shrunk_high",
    "p_adjusted", "is_enough", "is_apart",
]  # fmt: skip


@dataclass(frozen=True)
class Affinity:
    """Category affinity of segments.

    Attributes
    ----------
    cells : DataFrame
        One row per segment and category, segments and categories by their purchases, largest first: ``n`` (purchases of the
        segment), ``n_with`` (of them with the category), ``share``, ``share_others``, ``lift`` (first over second), ``low``,
        ``high`` (95%, clustered), ``shrunk``, ``shrunk_low``, ``shrunk_high``, ``p_adjusted`` (Holm over all cells), ``is_enough``,
        ``is_apart`` (differs from the others after the correction).
    first, last : date
        Days of the purchases.
    missing : list of str
        What the source lacks; then there are no cells.
    """

    cells: pd.DataFrame
    first: date
    last: date
    missing: list[str]


@remembered
def category_lines(reading: Reading, first: date, last: date) -> str:
    """Make a temporary table of what members' kept purchases held, and return its name.

    Grain: one row per purchase and category. Columns ``purchase_id, member_id, cluster_id, ordered_at, ordered_on, category``.
    Lines with no positive quantity, fully refunded purchases and sales without a member are left out; with a store in the reading,
    only its purchases count.
    """
    name = f"category_lines_{first:%Y%m%d}_{last:%Y%m%d}"
    store = "AND o.store_id = $store" if reading.store else ""
    reading.engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT DISTINCT o.purchase_id, o.member_id, o.cluster_id, o.ordered_at, o.ordered_on, i.category
        FROM item_facts AS i JOIN order_facts AS o ON o.purchase_id = i.purchase_id
        WHERE o.is_kept AND o.member_id IS NOT NULL AND i.category IS NOT NULL AND i.quantity > 0
          AND o.ordered_on BETWEEN DATE '{first}' AND DATE '{last}' {store}""",
        {"store": reading.store} if reading.store else None,
    )
    return name


@remembered
def affinity(
    reading: Reading, by: str = "persona", table: str = "member_facts", first: date | None = None, most: int = 12
) -> Affinity:
    """Compare the share of purchases that hold a category between each segment and all other members.

    Parameters
    ----------
    by : str
        SQL expression over `table` that names a member's segment; members without one are left out.
    table : str
        Any table or view of the reading's engine with ``member_id``: ``member_facts``, a tier table, an RFM table.
    first : date, optional
        First day of the purchases; a year up to `as_of` by default. Segments made from spend need purchases *after* the days that
        made them, else small cells flatter themselves.
    most : int
        Categories by purchases; the others are not tested.

    Returns
    -------
    Affinity
        Lifts with clustered intervals (groups are clusters), corrected over the cells. ``shrunk`` is the empirical-Bayes lift
        (gamma-Poisson at effective counts): use it to rank. Descriptive: it says who buys what, not what an offer would change.
        One member with half of all purchases leaves too few effective clusters: such cells are not judged.

    Source: S1.2.
    """
    last = reading.as_of
    first = first or max(reading.source.first_day, last - timedelta(days=364))
    needs = [*NEEDS, *(["members.persona"] if by == "persona" and table == "member_facts" else [])]
    missing = reading.source.missing(*needs)
    if missing:
        return Affinity(pd.DataFrame(columns=COLUMNS), first, last, missing)
    lines = category_lines(reading, first, last)
    engine, name = reading.engine, f"affinity_{lines}"
    engine.execute(f"""CREATE OR REPLACE TEMP TABLE {name} AS
        WITH held AS (SELECT member_id, min(cluster_id) AS cluster_id, count(DISTINCT purchase_id) AS den FROM {lines} GROUP BY member_id),
        part AS (SELECT member_id, CAST({by} AS VARCHAR) AS segment FROM {table}),
        joined AS (SELECT h.*, p.segment FROM held AS h JOIN part AS p ON p.member_id = h.member_id WHERE p.segment IS NOT NULL)
        SELECT *, CASE WHEN count(*) OVER (PARTITION BY cluster_id) = 1 THEN '' ELSE cluster_id END AS block FROM joined""")
    dens = engine.execute(f"""SELECT block, segment, count(*) AS n_members, CAST(sum(den) AS DOUBLE) AS den,
            CAST(sum(den * den) AS DOUBLE) AS den_sq
        FROM {name} GROUP BY block, segment ORDER BY sum(den) DESC, segment, block""").df()
    nums = engine.execute(f"""
        WITH each AS (SELECT member_id, category, count(*) AS num FROM {lines} GROUP BY member_id, category)
        SELECT h.block, h.segment, e.category, CAST(sum(num) AS DOUBLE) AS num, CAST(sum(num * num) AS DOUBLE) AS num_sq,
               CAST(sum(num * den) AS DOUBLE) AS num_den
        FROM each AS e JOIN {name} AS h ON h.member_id = e.member_id
        GROUP BY h.block, h.segment, e.category ORDER BY h.block, h.segment, e.category""").df()
    return Affinity(_cells(dens, nums, most), first, last, [])


def _cells(dens: pd.DataFrame, nums: pd.DataFrame, most: int) -> pd.DataFrame:
    segments, categories = _ranked(dens, "segment", "den"), _ranked(nums, "category", "num")[:most]
    sides = _Sides(dens, nums, segments, categories) if len(segments) > 1 else None
    rows, made = [], []
    for s, segment in enumerate(segments if sides else []):
        for c, category in enumerate(categories):
            joint = sides.joint(s, c)
            interval = stats.multiple_interval(joint)
            total = joint[["num_a", "den_a", "num_b", "den_b"]].sum()
            shares = total["num_a"] / total["den_a"], total["num_b"] / total["den_b"]
            numbers = int(total["den_a"]), int(total["num_a"])
            rows.append((segment, category, *numbers, *shares, interval.value, interval.low, interval.high))
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
    return pd.DataFrame(full, columns=COLUMNS)


def _ranked(frame: pd.DataFrame, key: str, size: str) -> list[str]:
    """Return the keys by their total size, largest first, ties by name."""
    total = frame.groupby(key, as_index=False)[size].sum()
    return total.sort_values([size, key], ascending=[False, True])[key].tolist()


class _Sides:
    """Joint blocks of every cell: the segment (a) against all others (b).

    Clusters of several members are rows; members alone in their cluster stand on one side only, all of a side in one row.
    """

    def __init__(self, dens: pd.DataFrame, nums: pd.DataFrame, segments: list[str], categories: list[str]) -> None:
        named = sorted({b for b in dens["block"] if b})
        block = {b: i for i, b in enumerate([*named, ""])}
        seg, cat = ({k: i for i, k in enumerate(keys)} for keys in (segments, categories))
        shape = (len(block), len(segments))
        at = dens["block"].map(block), dens["segment"].map(seg)
        self.den, self.den_sq, self.members = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.den[at], self.den_sq[at], self.members[at] = dens["den"], dens["den_sq"], dens["n_members"]
        nums = nums[nums["category"].isin(cat)]
        at = nums["block"].map(block), nums["segment"].map(seg), nums["category"].map(cat)
        self.num, self.num_sq, self.num_den = (np.zeros((*shape, len(categories))) for _ in range(3))
        self.num[at], self.num_sq[at], self.num_den[at] = nums["num"], nums["num_sq"], nums["num_den"]

    def joint(self, s: int, c: int) -> pd.DataFrame:
        """Return the joint blocks of segment `s` and category `c`."""
        n = len(self.den) - 1
        found: dict[str, np.ndarray] = {
            "n_clusters": np.r_[np.ones(n), self.members[n, s], self.members[n].sum() - self.members[n, s]]
        }
        for side, pick in (("a", lambda v: v[:, s]), ("b", lambda v: v.sum(axis=1) - v[:, s])):
            own = slice(n, n + 1)
            parts = {"num": self.num[..., c], "den": self.den, "num_sq": self.num_sq[..., c], "num_den": self.num_den[..., c]}
            for name, values in {**parts, "den_sq": self.den_sq}.items():
                column = pick(values)
                pair = (column[own], [0.0]) if side == "a" else ([0.0], column[own])
                found[f"{name}_{side}"] = np.concatenate([column[:n], *pair])
            found[f"n_units_{side}"] = found[f"den_{side}"]
        crossed = {f"{x}_a_{y}_b": np.zeros(n + 2) for x in ("num", "den") for y in ("num", "den")}
        frame = pd.DataFrame({**found, **crossed})
        return frame[frame["n_clusters"] > 0]


def offer_mix(found: Affinity, most: int = 3) -> pd.DataFrame:
    """Return each segment's categories that it buys clearly more than others, by shrunken lift: what to put into its offers.

    Grain: one row per segment and rank, at most `most` each; the columns of ``Affinity.cells`` and ``rank`` from 1. A segment without
    any such category has no row.
    """
    chosen = found.cells[found.cells["is_apart"] & (found.cells["lift"] > 1)]
    order = {s: i for i, s in enumerate(found.cells["segment"].unique())}
    chosen = chosen.assign(place=chosen["segment"].map(order)).sort_values(
        ["place", "shrunk", "category"], ascending=[True, False, True]
    )
    chosen = chosen.assign(rank=chosen.groupby("place").cumcount() + 1)
    return chosen[chosen["rank"] <= most].drop(columns="place").reset_index(drop=True)
