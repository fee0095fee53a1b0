"""At which points balance members start to redeem: the critical point of S3.8, estimated.

The monthly chance of redeeming is taken as a floor, plus a rise to a plateau along a logistic curve of the balance at the month's
start; the critical point is where half of the rise is done. Fitted by binomial likelihood to counts per bin of balance. The interval
is a profile likelihood, widened by the design effect of members who are counted month after month and of groups that share a post.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from sqkit.loyalty import ledger
from sqkit.reading import Reading, remembered
from sqkit.stats import wilson

__all__ = ["LEAST_REDEMPTIONS", "Critical", "critical_point", "fit_rise", "of_counts"]

LEAST_BALANCE = 100  # below one yuan at the claimed value (S3.5) there is nothing to redeem
LEAST_REDEMPTIONS = 60
LEAST_SIDE = 10  # redemptions below and above the critical point
_SHARDS = 100  # whole clusters, dealt out by hash: their scores give the design effect
_CHI2_95, _CHI2_90 = 3.841458820694124, 2.705543454095404
_THRESHOLD = 9.21034037197618  # chi-square, 2 degrees of freedom, 1%: what a threshold must gain over a smooth rise


@dataclass(frozen=True)
class Critical:
    """Where redemption sets in.

    Attributes
    ----------
    reason : str
        '' where there is a critical point; else ``no_ledger``, ``few_redemptions``, ``no_rise`` (redeeming does not rise with the
        balance), ``smooth`` (it rises all along; no balance at which it begins), ``unbounded`` (a rise, but the data do not
        bound where).
    value, low, high : float
        Points, with the 95% interval; NaN where there is none. ``low90, high90``: the 90% interval.
    floor, plateau : float
        Monthly chance of redeeming far below and far above.
    scale : float
        Points over which the rise's log odds grow by 1; 80% of the rise lie within 4.4 of them.
    gain : float
        Twice the log likelihood over the best smooth alternative, divided by the design effect.
    design : float
        Variance of the critical point over that of independent member months, at least 1.
    n, n_redemptions, n_members, n_excluded : int
        Member months with a redeemable balance at their start, redemptions in them, members; member months left out because a
        campaign assigned member by member treated the member then.
    bins : DataFrame
        One row per bin of balance as drawn: ``balance`` (mean), ``n, k, share, low, high`` (95%, plain).
    curve : DataFrame
        Fitted chance over the balance: ``balance, chance, low, high`` (95%).
    """

    reason: str
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    low90: float = np.nan
    high90: float = np.nan
    floor: float = np.nan
    plateau: float = np.nan
    scale: float = np.nan
    gain: float = np.nan
    design: float = np.nan
    n: int = 0
    n_redemptions: int = 0
    n_members: int = 0
    n_excluded: int = 0
    bins: pd.DataFrame = field(default_factory=pd.DataFrame)
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def is_found(self) -> bool:
        """Whether there is a critical point."""
        return not self.reason

    def chance(self, balance: np.ndarray) -> np.ndarray:
        """Return the monthly chance of redeeming at a balance (floor, plateau, critical point and scale)."""
        return self.floor + (self.plateau - self.floor) * expit((np.asarray(balance, float) - self.value) / self.scale)


@dataclass(frozen=True)
class Rise:
    """A fitted floor, rise and plateau: ``theta`` = (logit floor, logit of the rest of the way up, critical point, log scale)."""

    theta: np.ndarray
    loglik: float
    information: np.ndarray

    @property
    def floor(self) -> float:
        """Chance far below."""
        return float(expit(self.theta[0]))

    @property
    def plateau(self) -> float:
        """Chance far above."""
        return float(self.floor + (1 - self.floor) * expit(self.theta[1]))


def _curve(theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance at x and its derivative by each of the four parameters."""
    floor, rest, scale = expit(theta[0]), expit(theta[1]), np.exp(theta[3])
    z = (x - theta[2]) / scale
    up = expit(z)
    rise = (1 - floor) * rest
    steep = rise * up * (1 - up)
    by = np.stack(
        [floor * (1 - floor) * (1 - rest * up), (1 - floor) * rest * (1 - rest) * up, -steep / scale, -steep * z], axis=1
    )
    return floor + rise * up, by


def _loglik(p: np.ndarray, n: np.ndarray, k: np.ndarray) -> float:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(k @ np.log(p) + (n - k) @ np.log1p(-p))


def _ascend(x: np.ndarray, n: np.ndarray, k: np.ndarray, theta: np.ndarray, free: np.ndarray, bounds: np.ndarray) -> Rise:
    """Fisher scoring with damping over the free parameters, kept within bounds."""
    theta, damp = np.clip(theta, bounds[0], bounds[1]), 1e-3
    p, by = _curve(theta, x)
    best = _loglik(p, n, k)
    for _ in range(120):
        q = np.clip(p, 1e-12, 1 - 1e-12)
        score = by.T @ ((k - n * q) / (q * (1 - q)))
        information = (by * (n / (q * (1 - q)))[:, None]).T @ by
        inner, grad = information[np.ix_(free, free)], score[free]
        while True:
            step = np.linalg.solve(inner + damp * np.diag(np.diag(inner) + 1e-12), grad)
            trial = theta.copy()
            trial[free] = theta[free] + step
            trial = np.clip(trial, bounds[0], bounds[1])
            moved, slopes = _curve(trial, x)
            value = _loglik(moved, n, k)
            if value >= best or damp > 1e8:
                break
            damp *= 4
        gained = value - best
        if gained < 0:
            break
        theta, p, by, best, damp = trial, moved, slopes, value, max(damp / 5, 1e-9)
        if gained < 1e-9:
            break
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return Rise(theta, best, (by * (n / (q * (1 - q)))[:, None]).T @ by)


def _bounds(x: np.ndarray) -> np.ndarray:
    span = float(x.max() - x.min())
    return np.array([[-14.0, -12.0, x.min() - span, np.log(span / 400)], [3.0, 12.0, x.max() + span, np.log(span * 3)]])


def fit_rise(balance: np.ndarray, n: np.ndarray, k: np.ndarray) -> Rise:
    """Fit floor, plateau, critical point and scale to redemptions `k` of `n` member months per bin of balance.

    Started from several places and the best end kept: the likelihood may have more than one hill.
    """
    x, n, k = (np.asarray(v, float) for v in (balance, n, k))
    bounds, free = _bounds(x), np.arange(4)
    rate, top = k.sum() / n.sum(), np.cumsum(k) / k.sum()
    found = None
    for at in (0.1, 0.3, 0.5, 0.8):
        c = float(x[np.searchsorted(top, at)])
        above, below = x >= c, x < c
        high = k[above].sum() / max(n[above].sum(), 1.0)
        low = (k[below].sum() + 0.5) / (n[below].sum() + 1.0) if below.any() else rate / 2
        low = min(max(low, 1e-6), 0.9)
        rest = min(max((high - low) / (1 - low), 1e-4), 0.98)
        for part in (0.05, 0.25):
            start = np.array([logit(low), logit(rest), c, np.log(max(part * c, (x.max() - x.min()) / 300))])
            made = _ascend(x, n, k, start, free, bounds)
            if found is None or made.loglik > found.loglik:
                found = made
    return found


def _smooth(x: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[float, float]:
    """Return the best log likelihood of a smooth rise (log odds linear in the balance, or in its logarithm) and of no rise."""
    flat = _loglik(np.full(len(x), k.sum() / n.sum()), n, k)
    best = flat
    for line in (x, np.log(x), np.sqrt(x)):
        z = (line - np.average(line, weights=n)) / max(float(np.sqrt(np.cov(line, fweights=n.astype(int)))), 1e-9)
        design, beta = np.column_stack([np.ones_like(z), z]), np.array([logit(k.sum() / n.sum()), 0.0])
        for _ in range(60):
            p = np.clip(expit(design @ beta), 1e-12, 1 - 1e-12)
            step = np.linalg.solve((design * (n * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2), design.T @ (k - n * p))
            beta = beta + np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-9:
                break
        best = max(best, _loglik(expit(design @ beta), n, k))
    return best, flat


def _counts(reading: Reading) -> tuple[pd.DataFrame, int, int]:
    """Return redemptions by shard and bin of balance, members, and member months left out."""
    table, day = ledger.moves(reading), reading.as_of
    engine = reading.engine
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE redeem_months AS
        WITH monthly AS (
            SELECT member_id, CAST(date_trunc('month', on_day) AS DATE) AS month_on, CAST(sum(points) AS BIGINT) AS net,
                   bool_or(kind = 'redeem' AND points < 0) AS redeems
            FROM {table} GROUP BY member_id, CAST(date_trunc('month', on_day) AS DATE)
        ),
        span AS (SELECT CAST(unnest(generate_series(min(month_on), DATE '{day}', INTERVAL '1' MONTH)) AS DATE) AS month_on FROM monthly),
        firsts AS (SELECT member_id, min(month_on) AS first_on FROM monthly GROUP BY member_id),
        state AS (
            SELECT f.member_id, s.month_on, coalesce(m.redeems, FALSE) AS redeems,
                   sum(m.net) OVER (PARTITION BY f.member_id ORDER BY s.month_on ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS balance
            FROM firsts AS f JOIN span AS s ON s.month_on >= f.first_on
            LEFT JOIN monthly AS m ON m.member_id = f.member_id AND m.month_on = s.month_on
        ),
        treated AS (
            SELECT DISTINCT a.unit_id AS member_id, CAST(c.starts_at AS DATE) AS first_on, CAST(c.ends_at AS DATE) AS last_on
            FROM assignments AS a JOIN campaigns AS c ON c.campaign_id = a.campaign_id
            WHERE a.arm NOT IN ('holdout', 'control') AND CAST(c.starts_at AS DATE) <= DATE '{day}'
              AND a.unit_id IN (SELECT member_id FROM firsts)
        )
        SELECT s.member_id, s.month_on, s.redeems, s.balance,
               EXISTS (SELECT 1 FROM treated AS t WHERE t.member_id = s.member_id
                       AND t.first_on < s.month_on + INTERVAL '1' MONTH AND t.last_on >= s.month_on) AS is_treated
        FROM state AS s
        WHERE s.balance >= {LEAST_BALANCE} AND s.month_on + INTERVAL '1' MONTH <= DATE '{day}' + INTERVAL '1' DAY""")
    out, members, top = engine.execute("""
        SELECT count(*) FILTER (is_treated), count(DISTINCT member_id) FILTER (NOT is_treated),
               coalesce(quantile_disc(balance, 0.995) FILTER (NOT is_treated), 0) FROM redeem_months""").fetchone()
    width = max(float(round(top / 150)), 1.0)
    rows = engine.execute(f"""
        SELECT CAST(hash(coalesce(m.cluster_id, concat('member:', r.member_id))) % {_SHARDS} AS INTEGER) AS shard,
               least(floor(balance / {width}), {2 * top / width}) AS bin, count(*) AS n, CAST(sum(CAST(redeems AS INTEGER)) AS BIGINT) AS k,
               CAST(sum(balance) AS DOUBLE) AS total
        FROM redeem_months AS r LEFT JOIN member_facts AS m ON m.member_id = r.member_id
        WHERE NOT is_treated GROUP BY ALL ORDER BY ALL""").df()
    return rows, int(members), int(out)


@remembered
def critical_point(reading: Reading) -> Critical:
    """Return the points balance at which members start to redeem, from complete calendar months up to the reading's day.

    One observation is a member and month with at least 100 points at its start; it counts whether there was a redemption in the
    month, not how many. Months in which a campaign assigned member by member treated the member (an arm other than holdout) are left
    out: an offer of points raises redemption near the point on purpose. Campaigns assigned to groups or stores are not left out. Balances follow first expired, first out where the ledger books no expiry.

    A critical point is named only where a floor, rise and plateau beat every smooth rise (log odds linear in the balance, its root
    or logarithm) at 1%, with at least 10 redemptions on both sides and a bounded interval. Smallest sample: 60 redemptions. The
    interval's coverage on fresh brands is measured in ``benchmarks/loyalty_recovery.py``. It describes how members behaved under
    the present value of a point; that a member lifted above the point then redeems is not shown by it. Source: S3.8.
    """
    if not ledger.moves(reading):
        return Critical("no_ledger")
    return of_counts(*_counts(reading))


def of_counts(rows: pd.DataFrame, n_members: int = 0, n_excluded: int = 0) -> Critical:
    """Return the critical point of counts that were added up elsewhere; see :func:`critical_point`.

    Parameters
    ----------
    rows : DataFrame
        One row per ``shard`` (code from 0; members of one shard are independent of the others) and ``bin`` of balance: ``n`` member
        months, ``k`` with a redemption, ``total`` of the balances.
    """
    whole = rows.groupby("bin", as_index=False)[["n", "k", "total"]].sum()
    known = {"n": int(whole["n"].sum()), "n_redemptions": int(whole["k"].sum()), "n_members": n_members, "n_excluded": n_excluded}
    bins = _drawn(whole)
    if known["n_redemptions"] < LEAST_REDEMPTIONS or len(whole) < 8 or known["n_redemptions"] == known["n"]:
        return Critical("few_redemptions", bins=bins, **known)
    x, n, k = (v.to_numpy(float) for v in (whole["total"] / whole["n"], whole["n"], whole["k"]))
    fit = fit_rise(x, n, k)
    smooth, flat = _smooth(x, n, k)
    covariance, design = _robust(rows, whole, fit)
    gain = 2 * (fit.loglik - smooth) / design
    told = {
        "floor": fit.floor, "plateau": fit.plateau, "scale": float(np.exp(fit.theta[3])), "gain": gain, "design": design, "bins": bins,
        "curve": _band(x, fit, covariance), **known,
    }  # fmt: skip
    c = float(fit.theta[2])
    if gain < _THRESHOLD or fit.plateau < 2 * fit.floor:
        rises = 2 * (max(smooth, fit.loglik) - flat) / design > _THRESHOLD and fit.plateau > fit.floor
        return Critical("smooth" if rises else "no_rise", **told)
    low, high = _profile(x, n, k, fit, _CHI2_95 * design)
    low90, high90 = _profile(x, n, k, fit, _CHI2_90 * design)
    if min(k[x < c].sum(), k[x >= c].sum()) < LEAST_SIDE or not np.isfinite([low, high]).all():
        return Critical("unbounded", **told)
    return Critical("", c, low, high, low90, high90, **told)


def _robust(rows: pd.DataFrame, whole: pd.DataFrame, fit: Rise) -> tuple[np.ndarray, float]:
    """Return the cluster-robust covariance of the parameters and the design effect of the critical point."""
    mean = dict(zip(whole["bin"], whole["total"] / whole["n"], strict=True))
    x = rows["bin"].map(mean).to_numpy(float)
    p, by = _curve(fit.theta, x)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    each = by * ((rows["k"].to_numpy(float) - rows["n"].to_numpy(float) * p) / (p * (1 - p)))[:, None]
    shards = np.stack([np.bincount(rows["shard"], column) for column in each.T], axis=1)
    g = int((np.bincount(rows["shard"]) > 0).sum())
    meat = shards.T @ shards * (g / max(g - 1, 1))
    bread = np.linalg.pinv(fit.information, rcond=1e-12, hermitian=True)
    covariance = bread @ meat @ bread
    return covariance, float(max(covariance[2, 2] / max(bread[2, 2], 1e-12), 1.0))


def _profile(x: np.ndarray, n: np.ndarray, k: np.ndarray, fit: Rise, drop: float) -> tuple[float, float]:
    """Return where the profile log likelihood of the critical point has fallen by half of `drop`; infinite where it does not."""
    bounds, free = _bounds(x), np.array([0, 1, 3])
    warm = {"theta": fit.theta}

    def fallen(c: float) -> float:
        start = warm["theta"].copy()
        start[2] = c
        made = _ascend(x, n, k, start, free, bounds)
        warm["theta"] = made.theta
        return 2 * (fit.loglik - made.loglik) - drop

    c, ends = float(fit.theta[2]), []
    step = max(float(np.sqrt(drop / max(fit.information[2, 2], 1e-12))), (x.max() - x.min()) / 2000)
    for sign, limit in ((-1, x.min()), (1, x.max())):
        warm["theta"], inside, end = fit.theta, c, np.inf
        for j in range(40):
            outside = c + sign * step * 1.35**j
            if (outside - limit) * sign > 0:
                break
            if fallen(outside) > 0:
                end = brentq(fallen, *sorted((inside, outside)), xtol=0.5)
                break
            inside = outside
        ends.append(sign * end if np.isinf(end) else end)
    return float(ends[0]), float(ends[1])


def _band(x: np.ndarray, fit: Rise, covariance: np.ndarray) -> pd.DataFrame:
    grid = np.linspace(x.min(), x.max(), 121)
    p, by = _curve(fit.theta, grid)
    p = np.clip(p, 1e-9, 1 - 1e-9)
    half = 1.959963984540054 * np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", by, covariance, by), 0)) / (p * (1 - p))
    return pd.DataFrame({"balance": grid, "chance": p, "low": expit(logit(p) - half), "high": expit(logit(p) + half)})


def _drawn(whole: pd.DataFrame, most: int = 14) -> pd.DataFrame:
    """Return about equally wide bins of balance for the eye, those at the top pooled until they hold 30 member months."""
    if whole.empty:
        return pd.DataFrame(columns=["balance", "n", "k", "share", "low", "high"])
    x = whole["total"] / whole["n"]
    weight = whole["n"].cumsum() / whole["n"].sum()
    top = float(x[weight >= 0.99].iloc[0])
    place = np.minimum((x / (top / (most - 2))).astype(int), most - 1)
    rows = []
    for _, part in whole.groupby(place):
        rows.append([float(part["total"].sum()), int(part["n"].sum()), int(part["k"].sum())])
    while len(rows) > 1 and rows[-1][1] < 30:
        last = rows.pop()
        rows[-1] = [a + b for a, b in zip(rows[-1], last, strict=True)]
    made = []
    for total, n, k in rows:
        share = wilson(k, n)
        made.append((total / n, n, k, share.value, share.low, share.high))
    return pd.DataFrame(made, columns=["balance", "n", "k", "share", "low", "high"])
