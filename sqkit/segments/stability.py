"""How stable tiers and segments are: on a resample of clusters, and from one month to the next.

A cut at a rank moves when other members happen to be in the data, and a member near a cut moves with it. Both shares below say
how
much of a list of names would be another list: the first by chance of the sample,
the second by what members really did in a month.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.reading import Period, Reading, remembered
from sqkit.segments import rfm as scoring
from sqkit.segments.cuts import basis, blocks, population_sql
from sqkit.segments.tiers import lookback, pyramid, tier_table

__all__ = ["Stability", "sizes", "stability"]

MONTHS = 3
RESAMPLES = 200
CELLS = 100_000_000  # members times resamples; fewer resamples above


@dataclass(frozen=True)
class Stability:
    """Shares of members who would stand elsewhere; NaN where it cannot be computed.

    Attributes
    ----------
    what : str
        ``tiers`` or ``rfm``.
    n : int
        Members tiered (in the pyramid) or scored.
    resampled, resampled_low, resampled_high : float
        Mean share, over resamples of whole clusters, of members whose tier or segment differs when the cuts are drawn again,
        and the
        2.5% and 97.5% points over resamples.
    next_month, next_low, next_high : float
        Share of members who stood in another tier (segment, or nowhere) a month later, over the last `months` complete months,
        with
        its cluster-robust interval.
    months : int
        Months behind it: 3, or as many as have a look-back.
    """

    what: str
    n: int
    resampled: float
    resampled_low: float
    resampled_high: float
    next_month: float
    next_low: float
    next_high: float
    months: int


def redrawn(values: np.ndarray, clusters: np.ndarray, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return each member's step under cuts drawn again with the clusters' weights: 0 for the highest values.

    A value belongs to the first share that the middle of its ties' places does not exceed.
    """
    distinct, code = np.unique(-values, return_inverse=True)
    size = np.bincount(code, weights=weights[clusters], minlength=len(distinct))
    place = (np.cumsum(size) - size / 2) / size.sum()
    return np.searchsorted(shares, place - 1e-12)[code]


def _resample(
    columns: dict[str, np.ndarray], shares: dict[str, np.ndarray], members: pd.DataFrame, name: str, label: Callable
) -> np.ndarray:
    """Return the share of the report's members (``is_own``) whose label changes, per resample."""
    clusters, own = members["cluster_id"].to_numpy(), members["is_own"].to_numpy(bool)
    n_clusters = int(clusters.max()) + 1
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    steps = {k: redrawn(v, clusters, shares[k], np.ones(n_clusters)) for k, v in columns.items()}
    first, changed = label(steps), []
    for _ in range(max(min(RESAMPLES, CELLS // max(len(clusters), 1)), 20)):
        weights = np.bincount(rng.integers(0, n_clusters, n_clusters), minlength=n_clusters).astype(float)
        drawn = {k: redrawn(v, clusters, shares[k], weights) for k, v in columns.items()}
        changed.append(float(np.mean((label(drawn) != first)[own])))
    return np.array(changed)


@remembered
def stability(reading: Reading, what: str = "tiers") -> Stability:
    """Return how many members would change their tier (``tiers``) or RFM segment (``rfm``, quantile cuts).

    Resamples draw clusters with replacement (at most 200; the seed comes from source, store and day),
    place the cuts anew and apply
    them to the same members; of a store's report the cuts are the brand's and its own members are counted. By next month: who
    stood in a tier or segment at a month's start and stands in another, or in none, at
    the next. Needs :data:`stats.ENOUGH.clusters` clusters; descriptive.
    """
    before = reading.as_of + timedelta(days=1)
    nan = math.nan
    days = lookback(reading, before) if basis(reading) else 0
    if not days:
        return Stability(what, 0, nan, nan, nan, nan, nan, nan, 0)
    named = f"{reading.source.id}|{reading.store}|{reading.as_of}|{what}"
    if what == "tiers":
        table = tier_table(reading, before, days)
        own = f"{population_sql(reading)} AS is_own"
        members = _fetched(reading, f"SELECT spend_fen AS y, {own}, cluster_id FROM {table} WHERE rank_share IS NOT NULL")
        columns, shares = {"y": members["y"].to_numpy()}, {"y": np.array(list(pyramid().cuts.values())[:-1])}
        label = _first
    else:
        table = scoring.rfm_table(reading, before, days, "quantile")
        members = _fetched(
            reading,
            f"""SELECT -recency_days AS r, n_orders AS f, order_value_fen AS m, TRUE AS is_own, cluster_id
                FROM {table} WHERE NOT is_cashier""",
        )
        columns, shares = {k: members[k].to_numpy() for k in "rfm"}, dict.fromkeys("rfm", np.array(scoring.rules().shares))
        label = partial(_segment, _segment_codes(basis(reading)))
    n, share, low, high = int(members["is_own"].sum()), nan, nan, nan
    if n and members["cluster_id"].max() + 1 >= stats.ENOUGH.clusters:
        changed = _resample(columns, shares, members, named, label)
        share, (low, high) = float(changed.mean()), (float(x) for x in np.quantile(changed, [0.025, 0.975]))
    made, months = _turnover(reading, what)
    told = made is not None and made.enough
    return Stability(
        what, n, share, low, high, made.value if made else nan, made.low if told else nan, made.high if told else nan, months
    )


def _first(steps: dict[str, np.ndarray]) -> np.ndarray:
    return steps["y"]


def _segment(codes: np.ndarray, steps: dict[str, np.ndarray]) -> np.ndarray:
    return codes[steps["r"], steps["f"], steps["m"]]


def _segment_codes(kind: str) -> np.ndarray:
    """Return the number of the segment of every triple of steps (step 0 is score 5)."""
    order = list(scoring.rules().segments[kind])
    codes = np.zeros((5, 5, 5), int)
    for r, f, m in np.ndindex(5, 5, 5):
        codes[r, f, m] = order.index(scoring.segment_of(5 - r, 5 - f, 5 - m, kind))
    return codes


def _fetched(reading: Reading, sql: str) -> pd.DataFrame:
    """Return members in a fixed order, their clusters as numbers."""
    columns = reading.engine.execute(
        f"SELECT * EXCLUDE (cluster_id), dense_rank() OVER (ORDER BY cluster_id) - 1 AS cluster_id FROM ({sql}) AS m"
    )
    return columns.df()


def _turnover(reading: Reading, what: str) -> tuple[stats.Interval | None, int]:
    """Return the share of members who stood elsewhere a month later, over the last complete months with a look-back."""
    last = Period.latest(reading.as_of, "month")
    starts = [last.before(k - 1).first if k else last.last + timedelta(days=1) for k in range(MONTHS + 1)]
    while len(starts) > 1 and not lookback(reading, starts[-1]):
        starts.pop()  # the earliest
    if len(starts) < 2:
        return None, 0
    starts, days = starts[::-1], lookback(reading, starts[-1])
    pairs = []
    for then, now in pairwise(starts):
        if what == "tiers":
            before, after = (tier_table(reading, d, days) for d in (then, now))
            column, where = "tier", f"a.rank_share IS NOT NULL AND {population_sql(reading, 'a.member_id')}"
        else:
            before, after = (scoring.rfm_table(reading, d, days, "quantile") for d in (then, now))
            column, where = "segment", "TRUE"
        pairs.append(f"""SELECT a.member_id, a.cluster_id, CASE WHEN b.{column} = a.{column} THEN 0 ELSE 1 END AS moved
                         FROM {before} AS a LEFT JOIN {after} AS b ON b.member_id = a.member_id WHERE {where}""")
    units = f"""SELECT min(cluster_id) AS cluster_id, sum(moved) AS num, count(*) AS den, count(*) AS n_units
                FROM ({" UNION ALL ".join(pairs)}) AS p GROUP BY member_id"""
    found = blocks(reading, units, [])
    return (None, 0) if found.empty else (stats.ratio_interval(found, kind="proportion"), len(pairs))


@remembered
def sizes(reading: Reading) -> pd.DataFrame:
    """Return the size of every tier and class as of the reading's day, with its interval.

    Returns
    -------
    DataFrame
        Grain: one row per tier or class of members who ever bought, from the top: ``tier, n, share`` (of all of them), ``low, high``
        (cluster-robust; NaN: not enough data), ``is_small`` (fewer than ``least_cell``: not to be shown by itself). The tiers' own
        shares are given by their cuts; what varies is how many are young or dormant.
    """
    before, columns = reading.as_of + timedelta(days=1), ["tier", "n", "share", "low", "high", "is_small"]
    days = lookback(reading, before) if basis(reading) else 0
    if not days:
        return pd.DataFrame(columns=columns)
    table, rows = tier_table(reading, before, days), []
    units = f"""SELECT t.tier, m.cluster_id, CASE WHEN m.tier = t.tier THEN 1 ELSE 0 END AS num, 1 AS den, 1 AS n_units
                FROM {table} AS m CROSS JOIN (SELECT DISTINCT tier FROM {table} WHERE tier <> 'none') AS t
                WHERE m.tier <> 'none' AND {population_sql(reading, "m.member_id")}"""
    for (tier,), cell in blocks(reading, units, ["tier"]).groupby(["tier"]):
        made, n = stats.ratio_interval(cell, kind="proportion"), int(cell["num"].sum())
        ends = (made.low, made.high) if made.enough else (math.nan, math.nan)
        rows.append((tier, n, made.value, *ends, n < pyramid().least_cell))
    places = {tier: i for i, tier in enumerate(pyramid().names)}
    return pd.DataFrame(rows, columns=columns).sort_values("tier", key=lambda t: t.map(places)).reset_index(drop=True)
