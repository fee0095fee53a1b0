"""Does the model hold: fitted on the first two thirds of the weeks, asked for the rest, compared with what happened."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from sqkit import stats
from sqkit.reading import Reading, remembered
from sqkit.segments.lifetime.fit import LEAST_MEMBERS, LEAST_REPEATERS, Fitted, fit
from sqkit.segments.lifetime.histories import cohort, histories
from sqkit.segments.lifetime.models import MODELS, Rows

__all__ = ["Backtest", "Cut", "backtest", "cluster_spread", "cut_check", "rows_of", "seed_of"]

LEAST_WEEKS = 24  # of observation, so that a third is two months
TOLERANCE = 0.15  # a deviation up to here is said to hold
WIDE = 0.25  # an interval wider than this (either side) says nothing
WINDOWS = (4, 6, 8)  # weeks before the cut that are looked at
LEVEL_WEEKS = 26  # weeks before them that set the level
CUT_SHIFT, CUT_P = 0.20, 0.02


@dataclass(frozen=True)
class Cut:
    """Whether the observation ends at an unusual time.

    Attributes
    ----------
    verdict : str
        ``peak``, ``trough``, ``usual`` or ``not_enough``.
    weeks : int
        Length of the stretch before the cut that departs most from the half year before it.
    excess, low, high : float
        Repeat purchases in it over what the weeks before lead one to expect, less 1, with a 95% interval.
    """

    verdict: str
    weeks: int
    excess: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Backtest:
    """The back-test of one reading.

    Attributes
    ----------
    verdict : str
        ``holds``, ``over`` (more was predicted than came), ``under`` or ``not_enough``. A miss is over 15% and its interval excludes 1.
    until, ahead : date
        End of the fit, and of the prediction.
    n_members, n_repeaters, n_clusters : int
    actual, predicted : float
        Purchases in the weeks held out.
    ratio, low, high : float
        ``actual / predicted`` with a 95% interval.
    spread : float
        Standard error of its logarithm: clusters (their own residual and their pull on the parameters) and weeks together.
    fitted : Fitted or None
        The model chosen by the weeks held out.
    models : DataFrame
        ``model, log_likelihood, predicted, ratio, deviance, is_chosen``; the deviance is over groups of frequency.
    groups : DataFrame
        ``group`` (repeat purchases before, 7 for seven and more), ``n``, ``actual``, ``predicted``, ``low``, ``high``: purchases a
        member; the interval is of the actual mean over clusters.
    tracking : DataFrame
        ``week_on`` (first day), ``actual``, ``expected`` repeat purchases of the whole cohort, ``is_ahead``.
    """

    verdict: str
    until: date
    ahead: date
    n_members: int
    n_repeaters: int
    n_clusters: int
    actual: float
    predicted: float
    ratio: float
    low: float
    high: float
    spread: float
    fitted: Fitted | None
    models: pd.DataFrame
    groups: pd.DataFrame
    tracking: pd.DataFrame
    detail: pd.DataFrame


def rows_of(frame: pd.DataFrame) -> Rows:
    """Return histories in weeks, ready for a model."""
    return Rows(frame["x"], frame["last_days"] / 7, frame["age_days"] / 7, frame["n"])


def seed_of(reading: Reading, what: str) -> np.random.Generator:
    """Return a generator that depends on the reading and the question only."""
    return np.random.default_rng(zlib.crc32(f"{reading.source.id}|{reading.store}|{reading.as_of}|{what}".encode()))


@remembered
def backtest(reading: Reading, until: date | None = None) -> Backtest:
    """Fit on the weeks up to `until` (two thirds of them unless said), predict the rest and compare.

    Returns
    -------
    Backtest
        Smallest sample: 24 weeks, 200 members of whom 50 bought again, else ``not_enough``. The interval says how far the ratio
        could be off had other groups (or members) and other weeks been drawn; it is descriptive and no proof for the next year.

    Notes
    -----
    The interval is the infinitesimal bootstrap over clusters: each cluster's share in the purchases that came, in those predicted,
    and its pull on the parameters by one Newton step (the sandwich of Huber 1967 summed by cluster). The spread of the weekly
    ratios is added, since all members share the weeks.
    """
    since, last = cohort(reading).since, reading.as_of
    weeks = ((last - since).days + 1) // 7
    until = until or last - timedelta(7 * (weeks - weeks * 2 // 3))
    ahead = (last - until).days / 7
    frame = histories(reading, until, last, detail=True)
    n = int(frame["n"].sum())
    again = int(frame.loc[frame["x"] > 0, "n"].sum())
    clusters = frame["cluster_id"].nunique()
    if weeks < LEAST_WEEKS or n < LEAST_MEMBERS or again < LEAST_REPEATERS:
        nan = float("nan")
        return Backtest(
            "not_enough", until, last, n, again, clusters, float(frame["n_ahead"] @ frame["n"]), nan, nan, nan, nan, nan, None,
            _models([]), _groups(frame, None), pd.DataFrame(columns=["week_on", "actual", "expected", "is_ahead"]), frame,
        )  # fmt: skip
    rows = rows_of(frame)
    short = rows_of(histories(reading, until))
    actual = float(frame["n_ahead"] @ frame["n"])
    tried, predictions = [], {}
    for name in MODELS:
        made = fit(short, name)
        predictions[name] = made.model.conditional(made.parameters, rows, ahead)
        tried.append((made, _deviance(frame, predictions[name]), float(predictions[name] @ rows.n)))
    chosen = min(tried, key=lambda t: (not t[0].converged, t[1]))[0]
    predicted = predictions[chosen.id]
    total = float(predicted @ rows.n)
    tracking = _tracking(reading, chosen, until)
    spread = float(np.hypot(cluster_spread(frame, rows, chosen, ahead, predicted), _weekly_spread(tracking)))
    half = stdtrit(max(clusters - 1, 1), 0.975) * spread
    ratio = max(actual, 0.5) / total
    low, high = ratio * np.exp(-half), ratio * np.exp(half)
    return Backtest(
        _verdict(ratio, low, high), until, last, n, again, clusters, actual, total, ratio, float(low), float(high), spread,
        chosen,
        _models([(f, d, p, actual, f is chosen) for f, d, p in tried]), _groups(frame, predicted), tracking,
        frame.assign(predicted=predicted),
    )  # fmt: skip


def _verdict(ratio: float, low: float, high: float) -> str:
    if low > 1 and ratio > 1 + TOLERANCE:
        return "under"
    if high < 1 and ratio < 1 - TOLERANCE:
        return "over"
    return "not_enough" if high / ratio - 1 > WIDE else "holds"


def _models(tried: list[tuple]) -> pd.DataFrame:
    rows = [(f.id, f.log_likelihood, p, a / p, d, chosen) for f, d, p, a, chosen in tried]
    return pd.DataFrame(rows, columns=["model", "log_likelihood", "predicted", "ratio", "deviance", "is_chosen"])


def _deviance(frame: pd.DataFrame, predicted: np.ndarray) -> float:
    """Return the Poisson deviance of purchases ahead, over groups of frequency."""
    group = np.minimum(frame["x"], 7).to_numpy()
    a = np.bincount(group, frame["n_ahead"] * frame["n"], 8)
    p = np.bincount(group, predicted * frame["n"], 8)
    kept = p > 0
    a, p = a[kept], p[kept]
    return float(2 * (np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / p), 0.0) - (a - p)).sum())


def _groups(frame: pd.DataFrame, predicted: np.ndarray | None) -> pd.DataFrame:
    made = []
    group = np.minimum(frame["x"], 7)
    expected = np.full(len(frame), np.nan) if predicted is None else predicted
    for g in sorted(group.unique()):
        part = frame[group == g]
        blocks = pd.DataFrame({"num": part["n_ahead"] * part["n"], "den": part["n"]}).groupby(part["cluster_id"]).sum()
        found = stats.ratio_interval(blocks.assign(n_clusters=1, n_units=blocks["den"]), kind="ratio")
        mean = float(expected[(group == g).to_numpy()] @ part["n"] / part["n"].sum())
        made.append((int(g), int(part["n"].sum()), found.value, mean, found.low, found.high))
    return pd.DataFrame(made, columns=["group", "n", "actual", "predicted", "low", "high"])


def cluster_spread(frame: pd.DataFrame, rows: Rows, fitted: Fitted, ahead: float, predicted: np.ndarray) -> float:
    """Return the standard error of log(actual / predicted) over clusters, the pull of each on the parameters included.

    Parameters that lie on a bound, and directions in which the likelihood is flat, do not move.
    """
    logs = np.log(fitted.parameters)
    _, _, hessian = fitted.model.log_likelihood(logs, rows)
    free = np.array([name not in fitted.at_bound for name in fitted.model.names])
    pull = np.zeros((len(rows.n), len(logs)))
    if free.any():
        curvature, vectors = np.linalg.eigh(-hessian[np.ix_(free, free)])
        inverse = np.where(curvature > 1e-6 * curvature.max(), 1 / np.where(curvature > 0, curvature, 1), 0.0)
        scores = fitted.model.scores(fitted.parameters, rows)[:, free]
        pull[:, free] = (scores @ vectors * inverse) @ vectors.T
    total, step = float(predicted @ rows.n), 1e-4
    slope = [
        float(fitted.model.conditional(np.exp(logs + step * unit), rows, ahead) @ rows.n) / total - 1 if is_free else 0.0
        for unit, is_free in zip(np.eye(len(logs)), free, strict=True)
    ]
    actual = frame["n_ahead"].to_numpy(float)
    influence = rows.n * (actual / max(actual @ rows.n, 0.5) - predicted / total - pull @ np.array(slope) / step)
    _, place = np.unique(frame["cluster_id"], return_inverse=True)
    sums = np.bincount(place, influence)
    return float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)))


def _tracking(reading: Reading, fitted: Fitted, until: date) -> pd.DataFrame:
    """Return repeat purchases of the cohort by week, as they came and as the model expects them; weeks end at the reading's day."""
    since, last = cohort(reading).since, reading.as_of
    days = (last - since).days + 1
    counted = reading.engine.execute(f"""
        SELECT on_day - DATE '{since}' AS day, CAST(sum((on_day = first_on)::INT) AS BIGINT) AS n_first,
               CAST(sum((on_day > first_on)::INT) AS BIGINT) AS n_repeat
        FROM lifetime_cohort GROUP BY on_day ORDER BY on_day""").df()
    first, repeat = (np.bincount(counted["day"], counted[c], days)[:days] for c in ("n_first", "n_repeat"))
    grid = fitted.model.expected(fitted.parameters, np.arange(days) / 7)
    grown = np.r_[0.0, np.convolve(first, grid)[:days]]
    weeks = days // 7
    edges = days - 7 * np.arange(weeks, -1, -1)
    cumulated = np.r_[0.0, np.cumsum(repeat)]
    return pd.DataFrame({
        "week_on": [since + timedelta(int(e)) for e in edges[:-1]],
        "actual": np.diff(cumulated[edges]),
        "expected": np.diff(grown[edges]),
        "is_ahead": [since + timedelta(int(e)) > until for e in edges[:-1]],
    })  # fmt: skip


def _weekly_spread(tracking: pd.DataFrame) -> float:
    """Return the standard error of the mean log ratio of the weeks held out, their likeness to the week before counted in."""
    ahead = tracking[tracking["is_ahead"]]
    gaps = _gaps(ahead)
    return 0.0 if len(gaps) < 4 else float(_sd(gaps) / np.sqrt(len(gaps)))


def _gaps(part: pd.DataFrame) -> np.ndarray:
    return np.log((part["actual"].to_numpy(float) + 0.5) / (part["expected"].to_numpy(float) + 0.5))


def _sd(gaps: np.ndarray) -> float:
    """Return the standard deviation that makes up for likeness of neighbouring weeks."""
    steps = np.arange(len(gaps))
    rest = gaps - np.polyval(np.polyfit(steps, gaps, 1), steps)
    sd = np.sqrt((rest**2).sum() / max(len(gaps) - 2, 1))
    if sd < 1e-9:
        return float(sd)
    likeness = float(np.clip((rest[1:] * rest[:-1]).sum() / (rest**2).sum() + 1 / len(gaps), 0, 0.7))
    return float(sd * np.sqrt((1 + likeness) / (1 - likeness)))


def cut_check(tracking: pd.DataFrame) -> Cut:
    """Say whether the last weeks depart from the half year before them, measured against what the fitted model expects of both.

    The last 4, 6 and 8 weeks are each compared by Student's t with up to 26 weeks before them (their spread, and the likeness of
    neighbouring weeks, is the yardstick), Holm-corrected; a departure counts from 20% on. Fewer than eight weeks of comparison or
    200 purchases in them: ``not_enough``.
    """
    ahead = tracking[tracking["is_ahead"]] if len(tracking) else tracking
    gaps = _gaps(ahead) if len(ahead) else np.zeros(0)
    windows = [w for w in WINDOWS if len(gaps) - w >= 8]
    if not windows or ahead["actual"].sum() < 200:
        return Cut("not_enough", 0, float("nan"), float("nan"), float("nan"))
    found = []
    for w in windows:
        before = gaps[: len(gaps) - w][-LEVEL_WEEKS:]
        shift = float(gaps[-w:].mean() - before.mean())
        se = max(_sd(before) * np.sqrt(1 / w + 1 / len(before)), 1e-9)
        df = len(before) - 2
        found.append((w, shift, se, df, float(2 * stdtr(df, -abs(shift) / se))))
    corrected = stats.holm([f[-1] for f in found])
    flagged = [i for i, f in enumerate(found) if corrected[i] < CUT_P and abs(np.expm1(f[1])) >= CUT_SHIFT]
    at = max(flagged or range(len(found)), key=lambda i: abs(found[i][1]) / found[i][2])
    w, shift, se, df, _ = found[at]
    half = stdtrit(df, 0.975) * se
    verdict = "usual" if not flagged else "peak" if shift > 0 else "trough"
    return Cut(verdict, w, float(np.expm1(shift)), float(np.expm1(shift - half)), float(np.expm1(shift + half)))
