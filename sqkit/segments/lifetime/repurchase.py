"""Who comes back: the share with a second purchase by time since the first, and the repurchase multiple in its two parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqkit.reading import Period, Reading, remembered
from sqkit.segments.lifetime.backtest import seed_of
from sqkit.segments.lifetime.histories import cohort

__all__ = ["MARKS", "Multiple", "curve", "multiple_parts", "repurchase_curves"]

MARKS = (30, 90, 180, 365)  # days at which a cohort is read
LEAST_MEMBERS, LEAST_AT_RISK, COHORTS, HORIZON, STEP = 50, 20, 6, 365, 7
RESAMPLES = 1000


@remembered
def repurchase_curves(reading: Reading) -> pd.DataFrame:
    """Return the share of each joining cohort with a second purchase, by days since the first (Kaplan and Meier 1958).

    A cohort is half a year of first purchases, the newest six with at least 50 members. Members whose time is not up are censored
    on the reading's day, so that "not yet" is not read as "never". A curve ends where fewer than 20 members are still watched.

    Returns
    -------
    DataFrame
        ``cohort_on`` (first day of the half year), ``n``, ``day``, ``share``, ``low``, ``high``, ``n_at_risk``, ``is_censored``
        (the youngest of the cohort have not been watched for 365 days). Intervals of 95% on the log-log scale, the variance summed
        over groups (a member without one stands in one of 200 random shards), so that a group's shared fate widens them.
    """
    names = ["cohort_on", "n", "day", "share", "low", "high", "n_at_risk", "is_censored"]
    if cohort(reading).n_members == 0:
        return pd.DataFrame(columns=names)
    frame = reading.engine.execute(f"""
        WITH members AS (
            SELECT member_id, min(cluster_id) AS cluster_id, min(first_on) AS first_on,
                   min(CASE WHEN on_day > first_on THEN on_day END) AS second_on
            FROM lifetime_cohort GROUP BY member_id
        )
        SELECT make_date(extract(YEAR FROM first_on)::INT, CASE WHEN extract(MONTH FROM first_on) <= 6 THEN 1 ELSE 7 END, 1) AS cohort_on,
               cluster_id, coalesce(second_on, DATE '{reading.as_of}') - first_on AS day, second_on IS NOT NULL AS is_again,
               max(first_on) AS newest_on, count(*) AS n
        FROM members GROUP BY ALL ORDER BY cohort_on, cluster_id, day, is_again""").df()
    made = []
    sizes = frame.groupby("cohort_on")["n"].sum()
    for start in sizes[sizes >= LEAST_MEMBERS].index[-COHORTS:]:
        part = frame[frame["cohort_on"] == start]
        watched = (pd.Timestamp(reading.as_of) - pd.Timestamp(part["newest_on"].max())).days
        found = curve(part["day"], part["is_again"], part["cluster_id"], part["n"])
        made.append(found.assign(cohort_on=pd.Timestamp(start), n=int(sizes[start]), is_censored=watched < HORIZON))
    return pd.concat(made, ignore_index=True)[names] if made else pd.DataFrame(columns=names)


def curve(day: object, is_again: object, cluster: object, n: object) -> pd.DataFrame:
    """Return one Kaplan-Meier curve of coming back with cluster-robust intervals.

    Parameters
    ----------
    day, is_again, cluster, n : array_like
        Day of the second purchase or of censoring, which of the two, the cluster, and members who share the row.

    Returns
    -------
    DataFrame
        ``day`` (0, 7, ... and the marks 30, 90, 180 and 365), ``share``, ``low``, ``high``, ``n_at_risk``. With members as clusters
        of one the variance is that of the influence functions, which equals Greenwood's in large samples.
    """
    day, is_again, n = np.asarray(day, int), np.asarray(is_again, bool), np.asarray(n, float)
    _, cluster = np.unique(cluster, return_inverse=True)
    last = int(day.max())
    events = np.bincount(day, n * is_again, last + 1)
    risk = n.sum() - np.r_[0.0, np.cumsum(np.bincount(day, n, last + 1))[:-1]]
    hazard = np.divide(events, risk, out=np.zeros(last + 1), where=risk > 0)
    stay = np.cumprod(1 - hazard)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_event = np.where(risk > 0, 1 / np.maximum(risk - events, 1e-9), 0.0)  # Greenwood's form of 1 / risk
    drag = np.cumsum(hazard * per_event)
    enough = np.flatnonzero(risk >= min(LEAST_AT_RISK, n.sum()))
    end = min(HORIZON, int(enough[-1])) if len(enough) else 0
    grid = np.array(sorted({*range(0, end + 1, STEP), *(m for m in MARKS if m <= end)}))
    made = []
    for t in grid:
        influence = np.where(is_again & (day <= t), per_event[day], 0.0) - drag[np.minimum(day, t)]
        variance = float((np.bincount(cluster, n * influence) ** 2).sum())
        s = float(stay[t])
        low, high = _log_log(s, np.sqrt(variance))
        made.append((int(t), 1 - s, 1 - high, 1 - low, int(risk[t])))
    return pd.DataFrame(made, columns=["day", "share", "low", "high", "n_at_risk"])


def _log_log(stay: float, se_log: float) -> tuple[float, float]:
    if not 0 < stay < 1:
        return stay, stay
    half = 1.96 * se_log / abs(np.log(stay))
    return float(stay ** np.exp(half)), float(stay ** np.exp(-half))


@dataclass(frozen=True)
class Multiple:
    """The repurchase multiple of two periods and what its change is made of.

    Attributes
    ----------
    now, before : Period
    multiple, share, depth : tuple of float
        Of the period before and of this one: purchases a buyer; share of buyers with two and more; purchases of each of those.
        ``multiple = 1 + share * (depth - 1)`` exactly.
    by_share, by_depth : tuple of float
        What each contributes to the change of the multiple (the two add up to it exactly; Shapley), with a 95% interval.
    n : tuple of int
        Buyers of the two periods.
    n_clusters : int
    enough : bool
        False with fewer than 30 buyers or 5 repeat buyers in one of the periods, or fewer than 8 clusters.
    """

    now: Period
    before: Period
    multiple: tuple[float, float]
    share: tuple[float, float]
    depth: tuple[float, float]
    by_share: tuple[float, float, float]
    by_depth: tuple[float, float, float]
    n: tuple[int, int]
    n_clusters: int
    enough: bool


def multiple_parts(reading: Reading, now: Period, before: Period) -> Multiple:
    """Split the change of the repurchase multiple between two periods into the share of repeat buyers and their depth.

    The multiple is the metric ``repurchase_multiple``: purchases not refunded whole (several of a day count each) over members who
    bought. Intervals: whole groups resampled, both periods together. Descriptive; festivals and seasons are in it.
    """
    engine, scope = reading.engine, f"AND store_id = '{reading.store.replace(chr(39), chr(39) * 2)}'" if reading.store else ""
    sums = []
    for span in (before, now):
        sums.append(engine.execute(f"""
            WITH members AS (
                SELECT member_id, min(cluster_id) AS cluster, count(*) AS n FROM order_facts
                WHERE is_kept AND member_id IS NOT NULL AND ordered_on BETWEEN DATE '{span.first}' AND DATE '{span.last}' {scope}
                GROUP BY member_id
            )
            SELECT CASE WHEN cluster LIKE 'member:%' THEN concat('shard:', CAST(hash(member_id) % 200 AS VARCHAR)) ELSE cluster END AS cluster,
                   count(*) AS buyers, sum((n >= 2)::INT) AS again, sum(CASE WHEN n >= 2 THEN n ELSE 0 END) AS purchases
            FROM members GROUP BY 1 ORDER BY 1""").df().set_index("cluster").astype(float))  # fmt: skip
    both = pd.concat(sums, axis=1, keys=["before", "now"]).fillna(0.0)
    cells = np.stack([both[k][["buyers", "again", "purchases"]].to_numpy() for k in ("before", "now")])
    total = cells.sum(1)
    k = cells.shape[1]
    enough = bool(k >= 8 and (total[:, 0] >= 30).all() and (total[:, 1] >= 5).all())
    share, depth, multiple = _parts(total)
    split = _split(share, depth)
    ends = [(float("nan"),) * 2] * 2
    if enough:
        drawn = seed_of(reading, f"multiple|{now}|{before}").multinomial(k, np.full(k, 1 / k), RESAMPLES).astype(float)
        resampled = np.stack([drawn @ cells[0], drawn @ cells[1]])
        with np.errstate(invalid="ignore", divide="ignore"):
            s, d, _ = _parts(resampled)
            ends = [tuple(np.nanquantile(v, [0.025, 0.975])) for v in _split(s, d)]
    return Multiple(
        now, before, tuple(multiple.tolist()), tuple(share.tolist()), tuple(depth.tolist()), (float(split[0]), *map(float, ends[0])),
        (float(split[1]), *map(float, ends[1])), tuple(int(v) for v in total[:, 0]), k, enough,
    )  # fmt: skip


def _parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return share, depth and multiple of sums (first axis: before, now; last: buyers, repeat buyers, their purchases)."""
    buyers, again, purchases = sums[..., 0], sums[..., 1], sums[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        share, depth = again / buyers, np.where(again > 0, purchases / np.where(again > 0, again, 1), 1.0)
    return share, depth, 1 + share * (depth - 1)


def _split(share: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the contributions of share and depth to the change of ``share * (depth - 1)`` (Shapley 1953)."""
    return (share[1] - share[0]) * (depth[0] + depth[1] - 2) / 2, (depth[1] - depth[0]) * (share[0] + share[1]) / 2
