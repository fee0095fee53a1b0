"""Who will buy a category next: the audience of a new product, with chances that are checked on later data (S3.11, S3.12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.baskets.rules import NEEDS, lines
from sqkit.errors import InputError, unknown
from sqkit.reading import Period, Reading, remembered
from sqkit.stats.blocks import blocks_of
from sqkit.stats.logistic import Calibration, calibrate, fit_logistic, reliability

__all__ = ["Audience", "audience", "opportunity_candidates"]

LEAST_EVENTS, LEAST_LOOKBACK, LOOKBACK, PRIOR, MOST_ROWS, WINSOR = 50, 90, 365, 3.0, 40_000, 0.99


@dataclass(frozen=True)
class Audience:
    """Chances of members to buy each category in the next quarter.

    Attributes
    ----------
    state : str
        ``model``; ``base_rates`` where the model does not beat each category's base rate on later data; ``cannot_tell``.
    reason : str
        Of ``cannot_tell``: ``missing``, ``short`` (history), ``few_events``.
    trained, tested, ahead : Period or None
    calibration : Calibration or None
        On the tested quarter, all categories together.
    reliability : DataFrame
        ``predicted, observed, low, high, n, is_enough``.
    calibration_new : Calibration or None
        The same for categories that a member had not bought in the look-back.
    reliability_new : DataFrame
    spend : DataFrame
        ``category, spend_fen, low, high``: what a buyer of the category paid for it in the tested quarter (winsorised, clustered).
    members : DataFrame
        One row per member and category: ``member_id, category, is_new, chance, chance_low, chance_high``. Where the model does not beat
        base rates for new categories, those have their category's base rate.
    missing : list of str
    """

    state: str
    reason: str = ""
    trained: Period | None = None
    tested: Period | None = None
    ahead: Period | None = None
    calibration: Calibration | None = None
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration_new: Calibration | None = None
    reliability_new: pd.DataFrame = field(default_factory=pd.DataFrame)
    spend: pd.DataFrame = field(default_factory=pd.DataFrame)
    members: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Window:
    """Members who bought before a day; arrays of members by categories."""

    members: pd.DataFrame
    held: np.ndarray
    last_held: np.ndarray
    bought: np.ndarray
    paid: np.ndarray
    codes: np.ndarray


@remembered
def audience(reading: Reading, step: int = 91, most: int = 10) -> Audience:
    """Fit, judge and apply the next-category model.

    Parameters
    ----------
    step : int
        Days looked ahead.
    most : int
        Categories by purchases.

    Notes
    -----
    A logistic model over members by categories: the member's own share of purchases with the category, shrunk towards everyone's
    (beta-binomial), how often, how recently and for how long he buys, whether the category was in his last basket, whether he ever
    had it, and each category's level. Learnt on one quarter, judged on the next, then fitted on that one to look forward.
    Descriptive: who would buy anyway, not whom an offer would move.

    Calibration slope on the unseen quarter, mean over five demo brands of 6,000 members with its Monte-Carlo error: 1.00 (0.02) in
    `baseline`, 0.98 (0.05) in `quiet`; for new categories 0.98 (0.03) and 0.98 (0.04), by ``benchmarks/upgrade_calibration.py``.

    Refusals: no items or categories (``missing``), less than 90 days before two whole quarters (``short``), fewer than 50 purchases
    of categories in a quarter (``few_events``).
    """
    missing = reading.source.missing("orders.member_id", *NEEDS["category"])
    if missing:
        return Audience("cannot_tell", "missing", missing=missing)
    today = reading.as_of + timedelta(days=1)
    test, train = today - timedelta(days=step), today - timedelta(days=2 * step)
    days = min(LOOKBACK, (train - reading.source.first_day).days)
    if days < LEAST_LOOKBACK:
        return Audience("cannot_tell", "short")
    table = lines(reading, train - timedelta(days=days), reading.as_of)
    top = (
        reading.engine.execute(f"""SELECT category FROM {table} WHERE member_id IS NOT NULL AND category IS NOT NULL
        GROUP BY category ORDER BY count(DISTINCT basket) DESC, category LIMIT {most}""")
        .df()["category"]
        .tolist()
    )
    if not top:  # nothing was bought, or nothing that was bought has a category
        return Audience("cannot_tell", "few_events")
    learn, judge, now = (_window(reading, table, d, days, step, top) for d in (train, test, today))
    trained, tested, ahead = (Period(d, d + timedelta(days=step - 1)) for d in (train, test, today))
    if min(w.bought.sum() for w in (learn, judge)) < LEAST_EVENTS or not len(now.members):
        return Audience("cannot_tell", "few_events", trained, tested)
    model = _fit(learn)
    design, happened, codes = _design(judge), judge.bought.ravel(), np.repeat(judge.codes, len(top))
    chance, _ = model.predict(design)
    base = np.tile(learn.bought.mean(0), len(judge.members))
    is_new = (judge.held == 0).ravel()
    found = calibrate(happened, chance, base, codes)
    base_new = np.tile(np.where((learn.held == 0).any(0), _rate_new(learn), 0), len(judge.members))
    parts = happened[is_new], chance[is_new], codes[is_new]
    tells_new = LEAST_EVENTS <= parts[0].sum() < len(parts[0])
    found_new = calibrate(parts[0], parts[1], base_new[is_new], parts[2]) if tells_new else None
    state = "model" if found.beats_base else "base_rates"
    members = _ahead(now, _fit(judge) if state == "model" else None, judge.bought, top)
    if state == "model" and not (found_new and found_new.beats_base):
        members = _levelled(members, judge, top)
    bins_new = reliability(*parts) if tells_new else pd.DataFrame()
    bins = reliability(happened, chance, codes)
    return Audience(state, "", trained, tested, ahead, found, bins, found_new, bins_new, _spend(judge, top), members)


def _rate_new(w: _Window) -> np.ndarray:
    new = w.held == 0
    return (w.bought * new).sum(0) / np.maximum(new.sum(0), 1)


def _levelled(members: pd.DataFrame, judge: _Window, top: list[str]) -> pd.DataFrame:
    """Give categories never bought their base rate: the model tells nothing more of them."""
    rate, n = _rate_new(judge), np.maximum((judge.held == 0).sum(0), 1)
    error = 1.96 * np.sqrt(rate * (1 - rate) / n)
    for name, level in (
        ("chance", rate),
        ("chance_low", np.maximum(rate - error, 0)),
        ("chance_high", np.minimum(rate + error, 1)),
    ):
        by = members["category"].map(dict(zip(top, level, strict=True)))
        members[name] = np.where(members["is_new"], by, members[name])
    return members


def _window(reading: Reading, table: str, day: date, days: int, step: int, top: list[str]) -> _Window:
    since, end = day - timedelta(days=days), day + timedelta(days=step)
    engine = reading.engine
    members = engine.execute(f"""
        SELECT member_id, min(cluster_id) AS cluster_id, count(DISTINCT basket) AS n,
               count(DISTINCT CASE WHEN ordered_on >= DATE '{day - timedelta(days=step)}' THEN basket END) AS n_recent,
               max(ordered_at) AS last_at, date_diff('day', max(ordered_on), DATE '{day}') AS days_since,
               date_diff('day', min(ordered_on), DATE '{day}') AS days_known
        FROM {table} WHERE member_id IS NOT NULL AND ordered_on >= DATE '{since}' AND ordered_on < DATE '{day}'
        GROUP BY member_id ORDER BY member_id""").df()
    engine.register("audience_members", members[["member_id", "last_at"]].assign(place=np.arange(len(members))))
    cells = engine.execute(f"""
        SELECT m.place, l.category, count(DISTINCT CASE WHEN l.ordered_on < DATE '{day}' THEN basket END) AS held,
               max(CASE WHEN l.ordered_at = m.last_at THEN 1 ELSE 0 END) AS last_held,
               max(CASE WHEN l.ordered_on >= DATE '{day}' THEN 1 ELSE 0 END) AS bought,
               CAST(sum(CASE WHEN l.ordered_on >= DATE '{day}' THEN paid_fen ELSE 0 END) AS DOUBLE) AS paid
        FROM {table} AS l JOIN audience_members AS m ON m.member_id = l.member_id
        WHERE l.category IS NOT NULL AND l.ordered_on >= DATE '{since}' AND l.ordered_on < DATE '{end}'
        GROUP BY m.place, l.category ORDER BY m.place, l.category""").df()
    engine.unregister("audience_members")
    cells = cells[cells["category"].isin(top)]
    at = cells["place"].to_numpy(), cells["category"].map({c: i for i, c in enumerate(top)}).to_numpy()
    arrays = []
    for name in ("held", "last_held", "bought", "paid"):
        wide = np.zeros((len(members), len(top)))
        wide[at] = cells[name]
        arrays.append(wide)
    return _Window(members, *arrays, pd.factorize(members["cluster_id"])[0])


def _design(w: _Window, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the design of members by categories, a member's categories together."""
    n_categories = w.held.shape[1]
    pick = np.arange(len(w.members)) if rows is None else rows
    f, held = w.members.iloc[pick], w.held[pick]
    count = f["n"].to_numpy(float)[:, None]
    level = w.held.sum(0) / max(w.members["n"].sum(), 1)
    own = (held + PRIOR * level) / (count + PRIOR)
    each = [np.log(f[c].to_numpy(float) + 1) for c in ("n", "n_recent", "days_since", "days_known")]
    wide = [np.log(own), *(np.broadcast_to(e[:, None], held.shape) for e in each), w.last_held[pick], (held == 0) * 1.0]
    wide.append((held == 0) * np.log(count))
    columns = [c.ravel() for c in wide]
    return np.column_stack([*columns, np.tile(np.eye(n_categories), (len(pick), 1))])


def _fit(w: _Window):
    """Fit on at most so many members, spread evenly over all."""
    step = max(1, len(w.members) * w.held.shape[1] // (MOST_ROWS * 5))
    pick = np.arange(0, len(w.members), step)
    return fit_logistic(_design(w, pick), w.bought[pick].ravel(), np.repeat(w.codes[pick], w.held.shape[1]))


def _spend(w: _Window, top: list[str]) -> pd.DataFrame:
    rows = []
    for j, category in enumerate(top):
        buys = w.bought[:, j] > 0
        paid = w.paid[buys, j]
        if not len(paid):
            rows.append((category, np.nan, np.nan, np.nan))
            continue
        paid = np.minimum(paid, np.quantile(paid, WINSOR))
        made = stats.ratio_interval(blocks_of(pd.factorize(w.codes[buys])[0], paid, np.ones(len(paid))), kind="ratio")
        rows.append((category, *((made.value, made.low, made.high) if made.enough else [np.nan] * 3)))
    return pd.DataFrame(rows, columns=["category", "spend_fen", "low", "high"])


def _ahead(now: _Window, model, bought: np.ndarray, top: list[str]) -> pd.DataFrame:
    n = len(now.members)
    if model is None:
        rate = bought.mean(0)
        error = np.sqrt(rate * (1 - rate) / max(len(bought), 1))
        chance, low, high = (np.tile(np.clip(rate + s * 1.96 * error, 0, 1), n) for s in (0, -1, 1))
    else:
        chance, error = model.predict(_design(now))
        line = np.log(chance / (1 - chance))
        low, high = (1 / (1 + np.exp(-(line + s * 1.96 * error))) for s in (-1, 1))
    return pd.DataFrame(
        {
            "member_id": np.repeat(now.members["member_id"].to_numpy(), len(top)),
            "category": np.tile(np.array(top, object), n),
            "is_new": (now.held == 0).ravel(),
            "chance": chance,
            "chance_low": low,
            "chance_high": high,
        }
    )


def opportunity_candidates(reading: Reading, category: str = "") -> pd.DataFrame:
    """Return the members most likely to buy a category next, by expected value; the playbook layer picks from them.

    Parameters
    ----------
    category : str
        A category of the source; '' for each member's most likely *new* one (not bought in the look-back).

    Returns
    -------
    DataFrame
        One row per member: ``member_id``, ``reason`` (``opportunity``), ``value_cny``, ``value_low``, ``value_high`` (chance times what a
        buyer of the category pays for it in a quarter, major units, 95%, errors taken as independent), ``detail``: dict with
        ``category``, ``probability``, ``is_new``. Highest value first, ties by member id. Empty where nothing can be told. Opt-outs and
        caps are not applied here.

    Raises
    ------
    InputError
        If the category is not among those modelled.
    """
    found = audience(reading)
    columns = ["member_id", "reason", "value_cny", "value_low", "value_high", "detail"]
    if found.state == "cannot_tell":
        return pd.DataFrame(columns=columns)
    known = found.spend["category"].tolist()
    if category and category not in known:
        raise InputError(unknown("category", category, known, f"source {reading.source.id!r}"))
    f = found.members
    f = f[f["category"] == category] if category else f[f["is_new"]]
    f = f.sort_values(["member_id", "chance", "category"], ascending=[True, False, True]).drop_duplicates("member_id")
    f = f.join(found.spend.set_index("category").add_prefix("paid_"), on="category").dropna(subset=["paid_spend_fen"])
    value = f["chance"] * f["paid_spend_fen"] / 100
    down = np.hypot(np.log(f["chance"] / f["chance_low"].clip(1e-9)), np.log(f["paid_spend_fen"] / f["paid_low"]))
    up = np.hypot(np.log(f["chance_high"] / f["chance"]), np.log(f["paid_high"] / f["paid_spend_fen"]))
    made = pd.DataFrame({"member_id": f["member_id"], "reason": "opportunity", "value_cny": value})
    made["value_low"], made["value_high"] = value * np.exp(-down), value * np.exp(up)
    made["detail"] = [
        {"category": c, "probability": p, "is_new": bool(n)}
        for c, p, n in zip(f["category"], f["chance"], f["is_new"], strict=True)
    ]
    return made.sort_values(["value_cny", "member_id"], ascending=[False, True]).reset_index(drop=True)[columns]
