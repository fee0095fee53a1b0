"""What the members of the cohort are worth over the next months, how far that may be off, and whether it may be shown at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.reading import Reading, remembered
from sqkit.segments.lifetime import spend
from sqkit.segments.lifetime.backtest import Backtest, Cut, rows_of
from sqkit.segments.lifetime.fit import Fitted, fit, fit_spend
from sqkit.segments.lifetime.histories import histories
from sqkit.segments.lifetime.models import Rows

__all__ = ["Outlook", "inflation", "outlook", "reliability"]

PARTS = 10
STEP_WEEKS = 13.0  # purchases of a quarter are discounted from its middle


@dataclass(frozen=True, eq=False)
class Outlook:
    """Expected purchases and net revenue of the cohort over the coming weeks.

    Attributes
    ----------
    state : str
        ``told``; ``range`` (the back-test missed: the interval also holds the forecast corrected by it); ``withheld_peak``,
        ``withheld_trough`` (the observation ends at an unusual time), ``withheld_untested`` (no back-test), ``withheld_spend`` (no
        model of spend).
    weeks : float
    fitted, spend : Fitted or None
    n_members : int
    purchases, purchases_low, purchases_high : float
    value_fen, value_low, value_high : float
        Net revenue (after refunds), discounted where asked for.
    alive_share : float
        Expected share of the cohort that are still customers.
    top_share, top_low, top_high : float
        Share of the value that the most valuable fifth of the members is expected to bring.
    deciles : DataFrame
        ``decile`` (1 highest), ``n``, ``purchases``, ``value_fen``, ``low``, ``high`` (a member), ``share`` of the value,
        ``alive_share``, ``x`` (mean repeat purchases so far), ``silent_days`` (mean days since the last purchase).
    independence : tuple
        Correlation of log frequency and mean spend with its interval.
    """

    state: str
    weeks: float
    fitted: Fitted | None
    spend: Fitted | None
    n_members: int
    purchases: float
    purchases_low: float
    purchases_high: float
    value_fen: float
    value_low: float
    value_high: float
    alive_share: float
    top_share: float
    top_low: float
    top_high: float
    deciles: pd.DataFrame
    independence: tuple[float, float, float]


def _state(back: str, cut: str) -> str:
    if back == "not_enough":
        return "withheld_untested"
    if cut in ("peak", "trough"):
        return f"withheld_{cut}"
    return "told" if back == "holds" else "range"


def outlook(reading: Reading, back: Backtest, cut: Cut, weeks: float = 52.0, discount_year: float = 0.0) -> Outlook:
    """Forecast purchases and net revenue of the cohort's members over the next `weeks`.

    Parameters
    ----------
    back, cut : Backtest, Cut
        Decide which model is used and whether a forecast may be shown; where it may not, the figures are still computed (for
        tests) and `state` says that they must not be shown.
    discount_year : float
        Yearly discount rate, 0 for none.

    Notes
    -----
    Intervals are as wide as the back-test was uncertain: clusters and weeks for purchases, also the spend of clusters for value.
    The forecast corrected by the back-test's ratio lies inside too, with its own error where the back-test missed. The interval of the top share is over clusters.
    Smallest sample: that of the back-test. Descriptive: past behaviour carried forward, no effect of anything done.
    """
    state, nan = _state(back.verdict, cut.verdict), float("nan")
    frame = histories(reading, reading.as_of, detail=True)
    n = int(frame["n"].sum())
    if back.fitted is None:
        return Outlook(state, weeks, None, None, n, *([nan] * 10), _deciles(frame, None, None, None), (nan, nan, nan))
    rows = rows_of(frame)
    fitted = fit(rows_of(histories(reading, reading.as_of)), back.fitted.id)
    x, money = frame["x"].to_numpy(float), frame["spend_fen"].to_numpy(float)
    own = (x > 0) & (money > 0)
    paid = fit_spend(x, money, rows.n) if (rows.n[own].sum() >= 30) else None
    if paid is None or not np.isfinite(spend.expected_value(paid.parameters, [0.0], [0.0])[0]):
        state, paid = (state if state.startswith("withheld") else "withheld_spend"), None
    ahead, worth = _ahead(fitted, rows, weeks, discount_year)
    each = spend.expected_value(paid.parameters, x * own, money * own) if paid else np.full(len(x), nan)
    value = worth * each
    totals = np.array([ahead @ rows.n, value @ rows.n])
    order = np.argsort(-np.where(np.isfinite(value), value, ahead), kind="stable")
    top = _top(value, rows.n, order)
    half = 1.96 * np.array([back.spread, _value_spread(back, reliability(reading, back))])
    low, high = totals * np.exp(-half), totals * np.exp(half)
    if state == "range":
        low, high = low * min(1.0, back.ratio), high * max(1.0, back.ratio)
    low, high = np.minimum(low, totals * back.ratio), np.maximum(high, totals * back.ratio)
    off = 1.96 * _top_spread(value, frame, top) if paid else nan
    alive = fitted.model.alive(fitted.parameters, rows)
    deciles = _deciles(frame, ahead, value, alive)
    return Outlook(
        state, weeks, fitted, paid, n, totals[0], low[0], high[0], totals[1], low[1], high[1], float(alive @ rows.n / n), top,
        float(top - off), float(top + off), deciles, spend.independence(x, money, rows.n),
    )  # fmt: skip


def _ahead(fitted: Fitted, rows: Rows, weeks: float, discount_year: float) -> tuple[np.ndarray, np.ndarray]:
    """Return expected purchases of each row, plain and discounted."""
    alive = fitted.model.alive(fitted.parameters, rows)
    if not discount_year:
        plain = alive * fitted.model.ahead(fitted.parameters, rows.x, rows.age, weeks)
        return plain, plain
    edges = np.r_[np.arange(0, weeks, STEP_WEEKS), weeks]
    grown = [np.zeros(len(alive))] + [fitted.model.ahead(fitted.parameters, rows.x, rows.age, e) for e in edges[1:]]
    steps = [alive * (b - a) for a, b in pairwise(grown)]
    middles = (edges[:-1] + edges[1:]) / 2 / 52.1786
    return alive * grown[-1], sum(s * (1 + discount_year) ** -m for s, m in zip(steps, middles, strict=True))


def _top(value: np.ndarray, n: np.ndarray, order: np.ndarray) -> float:
    """Return the share of the value that the first fifth of the members brings; the row on the border counts in part."""
    heads = np.cumsum(n[order])
    full = value[order] * n[order]
    inside = np.clip(heads[-1] / 5 - (heads - n[order]), 0, n[order])
    return float((value[order] @ inside) / full.sum()) if full.sum() > 0 else float("nan")


def _top_spread(value: np.ndarray, frame: pd.DataFrame, share: float) -> float:
    """Return the standard error over clusters of the share that the top fifth brings (influence function of a Lorenz ordinate)."""
    n = frame["n"].to_numpy(float)
    order = np.argsort(-value, kind="stable")
    edge = value[order][np.searchsorted(np.cumsum(n[order]), n.sum() / 5)]
    each = np.maximum(value - edge, 0) + edge / 5 - share * value
    _, place = np.unique(frame["cluster_id"], return_inverse=True)
    return float(np.sqrt((np.bincount(place, n * each) ** 2).sum()) / (value @ n))


def _deciles(frame: pd.DataFrame, ahead: np.ndarray | None, value: np.ndarray | None, alive: np.ndarray | None) -> pd.DataFrame:
    names = ["decile", "n", "purchases", "value_fen", "low", "high", "share", "alive_share", "x", "silent_days"]
    if ahead is None:
        return pd.DataFrame(columns=names)
    known = value if np.isfinite(value).all() else ahead
    part = _cut(known, frame)
    weight, made = frame["n"].to_numpy(float), []
    total = float(value @ weight)
    silent = (frame["age_days"] - frame["last_days"]).to_numpy(float)
    for d in sorted(np.unique(part)):
        inside = np.flatnonzero(part == d)
        w, n = weight[inside], float(weight[inside].sum())
        means = [float(v[inside] @ w / n) for v in (ahead, value, alive, frame["x"].to_numpy(float), silent)]
        low, high = _spread_of_members(value[inside], w)
        made.append((int(d), int(n), means[0], means[1], low, high, means[1] * n / total, *means[2:]))
    return pd.DataFrame(made, columns=names)


def _spread_of_members(value: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """Return the tenth and ninetieth percentile of the members' expectations in a decile."""
    order = np.argsort(value, kind="stable")
    heads = np.cumsum(n[order]) / n.sum()
    return tuple(float(value[order][min(np.searchsorted(heads, q), len(order) - 1)]) for q in (0.1, 0.9))


def _cut(known: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    """Return each row's tenth, 1 the highest; ties fall by repeat purchases, then by the later last purchase, then by age."""
    order = np.lexsort((frame["age_days"], -frame["last_days"], -frame["x"], -np.round(known, 9)))
    n = frame["n"].to_numpy(float)[order]
    middle = (np.cumsum(n) - n / 2) / n.sum()
    part = np.empty(len(frame), int)
    part[order] = np.minimum((middle * PARTS).astype(int) + 1, PARTS)
    return part


@remembered
def reliability(reading: Reading, back: Backtest) -> pd.DataFrame:
    """Compare what was predicted of each tenth of the members with what they did in the weeks held out.

    Returns
    -------
    DataFrame
        ``decile`` (by prediction, 1 highest), ``n``, ``predicted_fen``, ``actual_fen``, ``low``, ``high`` (net spend a member; 95%
        interval of the actual mean over clusters). Empty where there was no back-test or no model of spend.
    """
    names = ["decile", "n", "predicted_fen", "actual_fen", "low", "high"]
    if back.fitted is None:
        return pd.DataFrame(columns=names)
    frame = back.detail
    x, money, n = (frame[c].to_numpy(float) for c in ("x", "spend_fen", "n"))
    own = (x > 0) & (money > 0)
    if n[own].sum() < 30:
        return pd.DataFrame(columns=names)
    paid = fit_spend(x, money, n)
    value = frame["predicted"].to_numpy(float) * spend.expected_value(paid.parameters, x * own, money * own)
    if not np.isfinite(value).all():
        return pd.DataFrame(columns=names)
    part, made = _cut(value, frame), []
    for d in sorted(np.unique(part)):
        rows = frame[part == d]
        blocks = pd.DataFrame({"num": rows["ahead_fen"] * rows["n"], "den": rows["n"]}).groupby(rows["cluster_id"]).sum()
        found = stats.ratio_interval(blocks.assign(n_clusters=1, n_units=blocks["den"]), kind="ratio")
        heads = int(rows["n"].sum())
        made.append((int(d), heads, float(value[part == d] @ rows["n"] / heads), found.value, found.low, found.high))
    return pd.DataFrame(made, columns=names)


def _value_spread(back: Backtest, tenths: pd.DataFrame) -> float:
    """Return the standard error of log(net spend that came / predicted): that of purchases, and the spend of clusters beyond it."""
    frame = back.detail
    _, place = np.unique(frame["cluster_id"], return_inverse=True)
    n = frame["n"].to_numpy(float)
    money, count = (np.bincount(place, frame[c] * n) for c in ("ahead_fen", "n_ahead"))
    if tenths.empty or not money.sum() > 0 or not count.sum() > 0:
        return float("nan")
    return float(np.hypot(back.spread, np.sqrt(((money / money.sum() - count / count.sum()) ** 2).sum())))


def inflation(reading: Reading, back: Backtest, cut: Cut, weeks: float = 52.0) -> float:
    """Return by how much the forecast from this cut exceeds the forecast made before the unusual weeks, for the same members.

    NaN where the last weeks are usual or nothing was fitted.
    """
    if back.fitted is None or cut.verdict not in ("peak", "trough"):
        return float("nan")
    earlier = reading.as_of - timedelta(7 * cut.weeks)
    old = histories(reading, earlier)
    before = fit(rows_of(old), back.fitted.id)
    rows = rows_of(old)
    alive = before.model.alive(before.parameters, rows)
    grown = [before.model.ahead(before.parameters, rows.x, rows.age, w) for w in (cut.weeks, cut.weeks + weeks)]
    then = float((alive * (grown[1] - grown[0])) @ rows.n)
    new = histories(reading, reading.as_of)
    after = fit(rows_of(new), back.fitted.id)
    kept = rows_of(new[new["age_days"] >= 7 * cut.weeks])
    return float(after.model.conditional(after.parameters, kept, weeks) @ kept.n) / then - 1
