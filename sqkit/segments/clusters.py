"""Behavioural clusters of members, named only where they reproduce (S3.12).

Two gates, both needed. *Separation*: centres are fitted on one half of the members; the other half, laid on the line between two
centres, must have a gap there (dip test of unimodality, Hartigan and Hartigan 1985, Ann Stat 13:70). k-means cuts any cloud into
parts that even come back on resamples when the cloud is long; only the gap tells parts from a cut cloud. *Stability*: on bootstrap
resamples each cluster must find itself again (mean Jaccard 0.75 or more; Hennig 2007, CSDA 52:258).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.reading import Reading, remembered
from sqkit.segments.affinity import category_lines

__all__ = ["ENOUGH_MEMBERS", "MOST_K", "STABLE", "Clusters", "behaviour", "cluster", "dip", "find_clusters"]

MOST_K, MOST_MEMBERS, RESAMPLES, STABLE = 6, 20_000, 20, 0.75
ENOUGH_MEMBERS, LEAST_ORDERS, STABILITY_MEMBERS, DIP_POINTS = 200, 3, 3_000, 400
# 95% point of sqrt(n) x dip of n = 400 uniform points, the least favourable unimodal law: 0.528 in 4,000 draws, error 0.004.
DIP_CRITICAL = 0.535


@dataclass(frozen=True)
class Clusters:
    """What clustering found.

    Attributes
    ----------
    k : int
        Number of clusters that passed both gates; 0 where none did, then no cluster is named.
    reason : str
        '' or why nothing is named: ``no_gap`` (members form one cloud), ``unstable``, ``few_members``, ``missing``.
    trials : DataFrame
        One row per k tried: ``k``, ``n_gaps`` and ``n_pairs`` (pairs of centres with a gap between), ``stability`` (smallest mean
        Jaccard), ``agreement`` (mean adjusted Rand index), ``is_named``. Both scores are NaN where the gaps were missing already.
    profile : DataFrame
        One row per cluster and feature: ``cluster`` (1 is the largest), ``feature``, ``mean``, ``apart`` (mean less overall mean in
        standard deviations); empty without clusters.
    sizes : DataFrame
        ``cluster``, ``n``, ``share``, ``stability``.
    labels : pandas.Series
        Cluster by member id.
    n : int
        Members clustered.
    missing : list of str
    """

    k: int
    reason: str
    trials: pd.DataFrame
    profile: pd.DataFrame
    sizes: pd.DataFrame
    labels: pd.Series
    n: int
    missing: list[str] = field(default_factory=list)


def behaviour(reading: Reading, most_categories: int = 10) -> pd.DataFrame:
    """Return what members with at least three purchases in the last year did, one row each, index ``member_id``.

    Columns: ``frequency`` (log purchases), ``order_value`` (log mean net value), ``recency`` (log days since the last), ``evening`` and
    ``private`` (shares of purchases; left out where the source has no times or no domains), and ``category:<name>``: square roots of
    the shares of the largest categories (Hellinger: small shares count without blowing up). At most 20,000 members, drawn by a hash of
    their ids.
    """
    last = reading.as_of
    first = max(reading.source.first_day, last - timedelta(days=364))
    store = "AND store_id = $store" if reading.store else ""
    given = {"store": reading.store} if reading.store else None
    frame = reading.engine.execute(
        f"""
        SELECT member_id, ln(count(*)) AS frequency, ln(greatest(avg(net_fen), 1)) AS order_value,
               ln(1 + date_diff('day', max(ordered_on), DATE '{last}')) AS recency,
               avg(CASE WHEN extract(HOUR FROM ordered_at) >= 18 THEN 1.0 ELSE 0 END) AS evening,
               avg(CASE domain WHEN 'private' THEN 1.0 WHEN 'public' THEN 0 END) AS private
        FROM order_facts WHERE member_id IS NOT NULL AND is_kept AND ordered_on BETWEEN DATE '{first}' AND DATE '{last}' {store}
        GROUP BY member_id HAVING count(*) >= {LEAST_ORDERS} ORDER BY hash(member_id), member_id LIMIT {MOST_MEMBERS}""",
        given,
    ).df()
    frame = frame.set_index("member_id").dropna(axis=1, how="all").fillna(0.0)
    if reading.source.has("order_items", "products.category"):
        lines = category_lines(reading, first, last)
        held = reading.engine.execute(f"""
            WITH top AS (SELECT category FROM {lines} GROUP BY category ORDER BY count(*) DESC, category LIMIT {most_categories})
            SELECT member_id, category, sqrt(count(*) / sum(count(*)) OVER (PARTITION BY member_id)) AS share
            FROM {lines} GROUP BY member_id, category QUALIFY category IN (SELECT category FROM top)
            ORDER BY category, member_id""").df()
        wide = held.pivot(index="member_id", columns="category", values="share").add_prefix("category:")
        frame = frame.join(wide).fillna(0.0)
    return frame[[c for c in frame if frame[c].std() > 1e-9]].sort_index()


@remembered
def cluster(reading: Reading) -> Clusters:
    """Cluster the members of a reading by behaviour; see :func:`find_clusters` for the gates and :func:`behaviour` for the features.

    Refusals are results: a source without member orders gives ``missing``, fewer than 200 members with three purchases ``few_members``,
    members that form one cloud ``no_gap``. Descriptive. The seed derives from source, store and day.
    """
    missing = reading.source.missing("orders.member_id")
    if missing:
        return _nothing("missing", 0, missing)
    seed = zlib.crc32(f"{reading.source.id}|{reading.store}|{reading.as_of}|clusters".encode())
    return find_clusters(behaviour(reading), np.random.default_rng(seed))


def find_clusters(features: pd.DataFrame, rng: np.random.Generator) -> Clusters:
    """Find the most clusters, up to six, that pass both gates.

    Parameters
    ----------
    features : DataFrame
        One row per member (its index the id), one numeric column per feature; standardised here, heavy tails cut at 3 deviations.

    Notes
    -----
    On one cloud (Gaussian of any covariance, uniform) it refuses in at least 95%: the dip test is exact at the uniform law and
    conservative elsewhere, and it is taken on members that the centres never saw.
    """
    n = len(features)
    if n < ENOUGH_MEMBERS:
        return _nothing("few_members", n)
    spread = features.std(ddof=0).replace(0, np.nan)
    scaled = ((features - features.mean()) / spread).clip(-3, 3).fillna(0.0)
    z = scaled.to_numpy()
    order = rng.permutation(n)
    half, other = z[order[: n // 2]], z[order[n // 2 :]]
    small = z[order[:STABILITY_MEMBERS]]
    rows, best = [], None
    for k in range(2, MOST_K + 1):
        gaps = _gaps(other, _centres(half, k, rng))
        stability, agreement, each = np.nan, np.nan, None
        if all(gaps):
            each, agreement = _stability(small, k, rng)
            stability = float(each.min())
            if stability >= STABLE:
                best = k
        rows.append((k, sum(gaps), len(gaps), stability, agreement, best == k))
    trials = pd.DataFrame(rows, columns=["k", "n_gaps", "n_pairs", "stability", "agreement", "is_named"])
    if best is None:
        reason = "unstable" if trials["stability"].notna().any() else "no_gap"
        made = _nothing(reason, n)
        return Clusters(0, reason, trials, made.profile, made.sizes, made.labels, n)
    return _named(features, scaled, best, trials, small, rng)


def _named(features, scaled, k: int, trials: pd.DataFrame, small: np.ndarray, rng: np.random.Generator) -> Clusters:
    centres = _centres(scaled.to_numpy(), k, rng)
    label = _nearest(scaled.to_numpy(), centres)
    by_size = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    place = np.empty(k, int)
    place[by_size] = np.arange(1, k + 1)
    stability, _ = _stability(small, k, rng, centres[by_size])
    labels = pd.Series(place[label], index=features.index, name="cluster")
    sizes = labels.value_counts().sort_index()
    table = pd.DataFrame(
        {"cluster": sizes.index, "n": sizes.to_numpy(), "share": sizes.to_numpy() / len(labels), "stability": stability}
    )
    apart = scaled.groupby(labels).mean().melt(ignore_index=False, var_name="feature", value_name="apart")
    mean = features.groupby(labels).mean().melt(ignore_index=False, var_name="feature", value_name="mean")
    profile = mean.assign(apart=apart["apart"].to_numpy()).rename_axis("cluster").reset_index()
    profile = profile.sort_values(["cluster", "apart"], key=lambda v: v if v.name == "cluster" else -v.abs(), kind="stable")
    return Clusters(k, "", trials, profile.reset_index(drop=True), table, labels, len(labels))


def _nothing(reason: str, n: int, missing: list[str] | None = None) -> Clusters:
    trials = pd.DataFrame(columns=["k", "n_gaps", "n_pairs", "stability", "agreement", "is_named"])
    profile = pd.DataFrame(columns=["cluster", "feature", "mean", "apart"])
    sizes = pd.DataFrame(columns=["cluster", "n", "share", "stability"])
    return Clusters(0, reason, trials, profile, sizes, pd.Series(dtype=int, name="cluster"), n, missing or [])


def _nearest(z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.argmin((centres**2).sum(1) - 2 * z @ centres.T, axis=1)


def _centres(z: np.ndarray, k: int, rng: np.random.Generator, starts: int = 4, rounds: int = 25) -> np.ndarray:
    """k-means with spread-out starts (Arthur and Vassilvitskii 2007); the best of some starts."""
    best, least = None, np.inf
    for _ in range(starts):
        centres = z[rng.integers(len(z))][None]
        for _ in range(k - 1):
            far = np.maximum(((z**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * z @ centres.T).min(1), 0) + 1e-12
            centres = np.vstack([centres, z[rng.choice(len(z), p=far / far.sum())]])
        label = None
        for _ in range(rounds):
            new = _nearest(z, centres)
            if label is not None and (new == label).all():
                break
            label = new
            member = np.eye(k)[label]
            count = member.sum(0)
            centres = np.where(count[:, None] > 0, member.T @ z / np.maximum(count, 1)[:, None], centres)
        cost = ((z - centres[label]) ** 2).sum()
        if cost < least:
            best, least = centres, cost
    return best


def _gaps(z: np.ndarray, centres: np.ndarray) -> list[bool]:
    """Say of each pair of centres whether members around them lie in two heaps on the line between."""
    label, found = _nearest(z, centres), []
    for i in range(len(centres)):
        for j in range(i):
            line = z[(label == i) | (label == j)] @ (centres[i] - centres[j])
            if len(line) < DIP_POINTS // 4 or min((label == i).sum(), (label == j).sum()) < 20:
                found.append(False)
                continue
            points = np.sort(line)
            if len(points) > DIP_POINTS:
                points = points[np.linspace(0, len(points) - 1, DIP_POINTS).astype(int)]
            found.append(bool(dip(points) * np.sqrt(len(points)) > DIP_CRITICAL))
    return found


def dip(points: np.ndarray) -> float:
    """Return the dip of sorted points: the largest gap between their distribution and the nearest one with a single mode.

    Source: Hartigan 1985, Applied Statistics 34:320 (AS 217), by its definition: the interval of the mode shrinks until the distance of
    convex minorant and concave majorant inside it is at most the dip found outside.

    Examples
    --------
    >>> two = np.r_[np.linspace(0, 0.001, 50), np.linspace(9, 9.001, 50)]  # two points in the limit: a quarter
    >>> round(dip(two), 3)
    0.25
    """
    x = np.asarray(points, float)
    n = len(x)
    if n < 4 or x[0] == x[-1]:
        return 1 / (2 * max(n, 1))
    low, high, found = 0, n - 1, 1.0 / n
    at = np.arange(n)
    while True:
        minor, major = _hull(x, at, low, high, lower=True), _hull(x, at, low, high, lower=False)
        below = np.interp(x[low : high + 1], x[minor], minor)  # in counts, i.e. n times the distribution
        above = np.interp(x[low : high + 1], x[major], major)
        gap = above - below
        here = int(np.argmax(gap)) + low
        distance = float(gap.max()) + 1
        if distance <= found * n:
            break
        left = minor[minor <= here][-1] if (minor <= here).any() else low
        right = major[major >= here][0] if (major >= here).any() else high
        if not left < right:
            left, right = major[major <= here][-1], minor[minor >= here][0]
        outside = [0.0]
        if left > low:
            span = slice(low, left + 1)
            outside.append(float((at[span] - np.interp(x[span], x[minor], minor)).max()) + 1)
        if right < high:
            span = slice(right, high + 1)
            outside.append(float((np.interp(x[span], x[major], major) - at[span]).max()) + 1)
        found = max(found, *(o / n for o in outside))
        if (left, right) == (low, high):
            break
        low, high = int(left), int(right)
    return found / 2


def _hull(x: np.ndarray, at: np.ndarray, low: int, high: int, *, lower: bool) -> np.ndarray:
    """Return indices of the corners of the greatest convex minorant, or the least concave majorant."""
    corners: list[int] = []
    sign = 1.0 if lower else -1.0
    for i in range(low, high + 1):
        while len(corners) >= 2:
            a, b = corners[-2], corners[-1]
            if sign * ((at[b] - at[a]) * (x[i] - x[a]) - (at[i] - at[a]) * (x[b] - x[a])) < 0:
                break
            corners.pop()
        corners.append(i)
    return np.array(corners)


def _stability(z: np.ndarray, k: int, rng: np.random.Generator, centres: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Return the mean Jaccard of each cluster with its nearest on resamples, and the mean adjusted Rand index."""
    label = _nearest(z, _centres(z, k, rng) if centres is None else centres)
    jaccard, agreement = np.zeros(k), 0.0
    for _ in range(RESAMPLES):
        again = _nearest(z, _centres(z[rng.integers(0, len(z), len(z))], k, rng, starts=2))
        table = np.zeros((k, k))
        np.add.at(table, (label, again), 1)
        rows, columns = table.sum(1), table.sum(0)
        jaccard += (table / np.maximum(rows[:, None] + columns - table, 1)).max(1)
        agreement += _rand(table)
    return jaccard / RESAMPLES, agreement / RESAMPLES


def _rand(table: np.ndarray) -> float:
    """Return the adjusted Rand index of a table of two partitions (Hubert and Arabie 1985)."""

    def pairs(v: np.ndarray) -> float:
        return float((v * (v - 1) / 2).sum())

    both, rows, columns, total = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(np.array([table.sum()]))
    by_chance = rows * columns / total
    most = (rows + columns) / 2
    return (both - by_chance) / (most - by_chance) if most > by_chance else 1.0
