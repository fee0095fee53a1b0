"""Who may move up a tier in the next quarter, and what it would be worth (S3.11): chance times gain, checked on later data.

A window is a day, the tiers before it, and what happened in the quarter after it. The model learns on one window, is judged on the next
one, which it never saw, and only then is fitted anew on that one to look forward. Where it does not beat the tiers' base rates there, the
base rates are used, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.reading import Period, Reading, remembered
from sqkit.segments.tiers import basis, lookback, pyramid, tier_table
from sqkit.stats.blocks import blocks_of, joint_of
from sqkit.stats.logistic import Calibration, Logistic, calibrate, fit_logistic, reliability

__all__ = ["FEATURES", "Upgrade", "candidates", "upgrade", "window"]

FEATURES = [
    "constant", "keeps_part", "keeps_part_squared", "recent_spend", "recent_orders", "orders", "days_since", "tenure", "in_group",
]  # fmt: skip
LEAST_EVENTS, WINSOR, MOST_OFF = 50, 0.99, 1.5


@dataclass(frozen=True)
class Upgrade:
    """The upgrade model of a reading.

    Attributes
    ----------
    state : str
        ``model``; ``base_rates`` where the model does not beat them on later data; ``cannot_tell``.
    reason : str
        Of ``cannot_tell``: ``missing``, ``messages`` (tiers by messages have no money), ``short`` (history), ``few_events``,
        ``unstable`` (on the tested quarter expected and real upgrades differ by more than half: what drove one quarter did not drive the next;
        calibration and reliability are filled, nothing is predicted).
    trained, tested, ahead : Period or None
        The quarters whose outcomes taught the model, judged it, and the one looked into.
    calibration : Calibration or None
        On the tested quarter.
    reliability : DataFrame
        Bins of predicted chance on the tested quarter: ``predicted, observed, low, high, n, is_enough``.
    by_tier : DataFrame
        One row per tier below the top, from the top: ``tier``, ``to_tier``, ``n`` (members now), ``n_moved`` and ``n_tested`` of the
        tested quarter, ``rate``, ``rate_low``, ``rate_high`` (share that moved up), ``gain_fen``, ``gain_low``, ``gain_high`` (net spend
        in that quarter of those who moved up less of those who did not, winsorised), ``expected`` (sum of chances now).
    members : DataFrame
        One row per member below the top tier now, ``member_id``, ``tier``, ``to_tier``, ``missing_fen`` (spend to the next tier's edge),
        ``chance``, ``chance_low``, ``chance_high``.
    missing : list of str
    """

    state: str
    reason: str = ""
    trained: Period | None = None
    tested: Period | None = None
    ahead: Period | None = None
    calibration: Calibration | None = None
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_tier: pd.DataFrame = field(default_factory=pd.DataFrame)
    members: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Members below the top tier on a day: who they are, what was known, what came."""

    frame: pd.DataFrame
    design: np.ndarray
    clusters: np.ndarray
    last: date


@remembered
def window(reading: Reading, day: date, days: int, step: int) -> Window:
    """Read the members tiered before `day`, below the top tier, with their design and the outcome of the `step` days from `day` on.

    Parameters
    ----------
    days : int
        Look-back of the tiers.

    Returns
    -------
    Window
        Columns of ``frame``: ``member_id, cluster_id, tier, to_tier, place`` (of the tier from the top), ``spend_fen``, ``missing_fen``,
        and, where the outcome's days are over, ``moved`` (stands in a higher tier afterwards) and ``gained_fen`` (net spend in them).

    Notes
    -----
    ``keeps_part`` is the spend that stays in the look-back over the next quarter, relative to the edge of the tier above (log): who
    stands near the edge with spend about to fall out of the look-back is further from it than it seems.
    """
    rule, engine = pyramid(), reading.engine
    now = tier_table(reading, day, days)
    is_over = day + timedelta(days=step - 1) <= reading.as_of
    later = tier_table(reading, day + timedelta(days=step), days) if is_over else now
    names = list(rule.cuts)
    places = ", ".join(f"('{t}', {i})" for i, t in enumerate(names))
    since, keeps, recent = (day - timedelta(days=d) for d in (days, days - step, step))
    frame = engine.execute(f"""
        WITH places(tier, place) AS (VALUES {places}),
        edges AS (SELECT p.place, min(t.spend_fen) AS edge_fen FROM {now} AS t JOIN places AS p ON p.tier = t.tier GROUP BY p.place),
        above AS (SELECT p.place, (SELECT max(e.place) FROM edges AS e WHERE e.place < p.place) AS to_place FROM places AS p),
        bought AS (
            SELECT member_id, CAST(sum(CASE WHEN ordered_on < DATE '{day}' AND ordered_on >= DATE '{keeps}' THEN net_fen ELSE 0 END) AS BIGINT) AS keeps_fen,
                   CAST(sum(CASE WHEN ordered_on < DATE '{day}' AND ordered_on >= DATE '{recent}' THEN net_fen ELSE 0 END) AS BIGINT) AS recent_fen,
                   count(*) FILTER (ordered_on < DATE '{day}' AND ordered_on >= DATE '{recent}' AND is_kept) AS n_recent,
                   max(CASE WHEN ordered_on < DATE '{day}' THEN ordered_on END) AS last_on,
                   CAST(sum(CASE WHEN ordered_on >= DATE '{day}' THEN net_fen ELSE 0 END) AS BIGINT) AS gained_fen
            FROM order_facts
            WHERE member_id IS NOT NULL AND ordered_on >= DATE '{since}' AND ordered_on < DATE '{day + timedelta(days=step)}'
            GROUP BY member_id
        )
        SELECT t.member_id, t.cluster_id, t.tier, p.place, a.to_place, t.spend_fen, e.edge_fen, t.n_orders, b.keeps_fen, b.recent_fen,
               b.n_recent, b.gained_fen, date_diff('day', b.last_on, DATE '{day}') AS days_since,
               date_diff('day', t.first_on, DATE '{day}') AS tenure, coalesce(m.grouped_on < DATE '{day}', FALSE) AS in_group,
               coalesce(q.place < p.place, FALSE) AS moved
        FROM {now} AS t JOIN places AS p ON p.tier = t.tier JOIN above AS a ON a.place = p.place JOIN edges AS e ON e.place = a.to_place
        JOIN bought AS b ON b.member_id = t.member_id JOIN member_facts AS m ON m.member_id = t.member_id
        LEFT JOIN {later} AS l ON l.member_id = t.member_id LEFT JOIN places AS q ON q.tier = l.tier
        {"WHERE m.home_store_id = $store" if reading.store else ""}
        ORDER BY t.member_id""", {"store": reading.store} if reading.store else None).df()  # fmt: skip
    frame["to_tier"] = [names[int(i)] for i in frame["to_place"]]
    frame["missing_fen"] = np.maximum(frame["edge_fen"] - frame["spend_fen"], 0)
    codes = pd.factorize(frame["cluster_id"])[0]
    return Window(frame, _design(frame, len(names)), codes, day + timedelta(days=step - 1))


def _design(f: pd.DataFrame, n_tiers: int) -> np.ndarray:
    edge = f["edge_fen"].to_numpy(float)
    keeps = np.log(np.maximum(f["keeps_fen"].to_numpy(float), 0.02 * edge) / edge)
    columns = [
        np.ones(len(f)), keeps, keeps**2, np.log1p(f["recent_fen"].to_numpy(float) / edge * 10), np.log1p(f["n_recent"].to_numpy(float)),
        np.log1p(f["n_orders"].to_numpy(float)), np.log1p(f["days_since"].to_numpy(float)) / 3, np.log1p(f["tenure"].to_numpy(float)) / 3,
        f["in_group"].to_numpy(float),
    ]  # fmt: skip
    place = f["place"].to_numpy(int)
    tiers = [(place == i) * 1.0 for i in range(1, n_tiers - 1)]  # the lowest tier is the constant
    return np.column_stack(columns + tiers)


def _periods(day: date, step: int) -> Period:
    return Period(day, day + timedelta(days=step - 1))


@remembered
def upgrade(reading: Reading, step: int = 91) -> Upgrade:
    """Fit, judge and apply the upgrade model.

    Parameters
    ----------
    step : int
        Days looked ahead; a quarter by default.

    Returns
    -------
    Upgrade
        ``state`` says whether the chances are the model's, the tiers' base rates, or cannot be told: less than 90 days of history
        before two whole quarters, fewer than 50 upgrades in the learning quarter, or no member orders. All-equal spend makes one tier,
        so nobody can move: ``few_events``. A cohort that all joined at once and ages (CDNOW) is ``unstable``. With a store in the reading, members whose home it is. Refunds known as of `as_of` count in
        every window. Descriptive: the gain is what those who moved up spent more than those who stayed, not what a nudge would bring.

    Notes
    -----
    Calibration slope on the unseen quarter, mean over five demo brands of 6,000 members with its Monte-Carlo error: 0.92 (0.02) in
    `baseline`, 1.05 (0.08) in `quiet`; expected over real upgrades 1.06 (0.05) and 1.03 (0.08), by ``benchmarks/upgrade_calibration.py``.

    Source: S3.11; calibration Cox 1958.
    """
    missing = reading.source.missing("orders.member_id")
    if missing:
        return Upgrade("cannot_tell", "missing", missing=missing)
    if basis(reading) != "orders":
        return Upgrade("cannot_tell", "messages")
    today = reading.as_of + timedelta(days=1)
    test, train = today - timedelta(days=step), today - timedelta(days=2 * step)
    days = lookback(reading, train)
    if not days or days <= step:
        return Upgrade("cannot_tell", "short")
    learn, judge, now = (window(reading, d, days, step) for d in (train, test, today))
    trained, tested = _periods(train, step), _periods(test, step)
    if not all(LEAST_EVENTS <= w.frame["moved"].sum() < len(w.frame) for w in (learn, judge)) or now.frame.empty:
        return Upgrade("cannot_tell", "few_events", trained, tested)
    model = fit_logistic(learn.design, learn.frame["moved"], learn.clusters)
    chance, _ = model.predict(judge.design)
    happened = judge.frame["moved"].to_numpy(float)
    found = calibrate(happened, chance, _base(learn.frame, judge.frame), judge.clusters)
    bins = reliability(happened, chance, judge.clusters)
    off = chance.sum() / happened.sum()
    if not 1 / MOST_OFF <= off <= MOST_OFF:
        return Upgrade("cannot_tell", "unstable", trained, tested, calibration=found, reliability=bins)
    state = "model" if found.beats_base else "base_rates"
    by_tier = _by_tier(judge)
    members = _ahead(now, fit_logistic(judge.design, happened, judge.clusters) if state == "model" else None, by_tier)
    expected = members.groupby("tier")["chance"].agg(["sum", "size"])
    by_tier["expected"] = by_tier["tier"].map(expected["sum"]).fillna(0.0)
    by_tier["n"] = by_tier["tier"].map(expected["size"]).fillna(0).astype(int)
    return Upgrade(state, "", trained, tested, _periods(today, step), found, bins, by_tier, members)


def _base(learn: pd.DataFrame, judge: pd.DataFrame) -> np.ndarray:
    rates = learn.groupby("tier")["moved"].mean()
    return judge["tier"].map(rates).fillna(learn["moved"].mean()).to_numpy(float)


def _by_tier(judge: Window) -> pd.DataFrame:
    frame, rows = judge.frame, []
    for place, part in frame.groupby("place"):
        moved = part["moved"].to_numpy(float)
        spent = part["gained_fen"].to_numpy(float)
        spent = np.minimum(spent, np.quantile(spent, WINSOR))
        clusters = pd.factorize(part["cluster_id"])[0]
        rate = stats.ratio_interval(blocks_of(clusters, moved, np.ones(len(moved))), kind="proportion")
        gain = stats.difference_interval(
            joint_of(clusters, (spent * (1 - moved), 1 - moved), (spent * moved, moved)), kind="ratio"
        )
        told = [gain.value, gain.low, gain.high] if gain.enough else [np.nan] * 3
        ends = [rate.value, rate.low, rate.high]
        rows.append((place, part["tier"].iloc[0], part["to_tier"].iloc[0], len(part), int(moved.sum()), *ends, *told))
    columns = [
        "place",
        "tier",
        "to_tier",
        "n_tested",
        "n_moved",
        "rate",
        "rate_low",
        "rate_high",
        "gain_fen",
        "gain_low",
        "gain_high",
    ]
    return pd.DataFrame(rows, columns=columns)


def _ahead(now: Window, model: Logistic | None, by_tier: pd.DataFrame) -> pd.DataFrame:
    members = now.frame[["member_id", "tier", "to_tier", "missing_fen"]].copy()
    if model is None:
        rates = by_tier.set_index("tier")
        for name, column in (("chance", "rate"), ("chance_low", "rate_low"), ("chance_high", "rate_high")):
            members[name] = members["tier"].map(rates[column])
        return members
    chance, error = model.predict(now.design)
    line = np.log(chance / (1 - chance))
    members["chance"] = chance
    members["chance_low"], members["chance_high"] = (1 / (1 + np.exp(-(line + s * 1.96 * error))) for s in (-1, 1))
    return members


def candidates(reading: Reading) -> pd.DataFrame:
    """Return the members worth moving up, the most valuable first; the playbook layer picks from them.

    Grain: one row per member below the top tier whose tier's gain is told and clearly above zero. Columns: ``member_id``, ``reason``
    (``upgrade``), ``value_cny``, ``value_low``, ``value_high`` (chance times gain over the next quarter, major units, 95%; the
    errors of chance and gain are taken as independent), ``detail``: dict with ``from_tier``, ``to_tier``, ``missing_cny`` (to the next
    tier's edge), ``probability``. Empty where nothing can be told. Opt-outs and caps are not applied here.
    """
    found = upgrade(reading)
    columns = ["member_id", "reason", "value_cny", "value_low", "value_high", "detail"]
    if found.state == "cannot_tell":
        return pd.DataFrame(columns=columns)
    gains = found.by_tier.set_index("tier")[["gain_fen", "gain_low", "gain_high"]]
    f = found.members.join(gains, on="tier")
    f = f[(f["gain_low"] > 0) & (f["chance"] > 0)]
    value = f["chance"] * f["gain_fen"]
    with np.errstate(divide="ignore"):
        down = np.hypot(np.log(f["chance"] / f["chance_low"]), np.log(f["gain_fen"] / f["gain_low"]))
        up = np.hypot(np.log(f["chance_high"] / f["chance"]), np.log(f["gain_high"] / f["gain_fen"]))
    made = pd.DataFrame({"member_id": f["member_id"], "reason": "upgrade", "value_cny": value / 100})
    made["value_low"], made["value_high"] = value * np.exp(-down) / 100, value * np.exp(up) / 100
    made["detail"] = [
        {"from_tier": a, "to_tier": b, "missing_cny": m / 100, "probability": p}
        for a, b, m, p in zip(f["tier"], f["to_tier"], f["missing_fen"], f["chance"], strict=True)
    ]
    return made.sort_values(["value_cny", "member_id"], ascending=[False, True]).reset_index(drop=True)
