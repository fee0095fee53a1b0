"""What is known before a campaign, from the user's own data: who there is, what they do anyway, and how sure that is.

Everything is read as of the day of the reading. What the data cannot give is left out and named in the notes, so that the
mechanic's default stands and the reader knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sqkit.campaigns import calibrate_moments as moments
from sqkit.campaigns import calibrate_points, calibrate_posts, calibrate_season, calibrate_windows
from sqkit.campaigns.model import Z90, Calibration, Population, Range
from sqkit.errors import InputError
from sqkit.reading import Reading, remembered

__all__ = ["PARTS", "Calibrated", "calibrate", "held_groups", "past_windows"]

DEFAULT_SPREAD = 0.15  # log sd of a rate between windows where too few windows tell it
WIDE = Range(0.25, 0.10, 0.50, "positive", "default", source="calibration")  # level of a window where its spread cannot be told
HOLDOUT = ("holdout", "control")
PARTS = ("posts", "money", "coupons", "referrals", "points")
# What a reader misses when the data do not give it, and which of it follows from a whole table being absent.
NOTED = (
    "order_value_fen", "margin_share", "refund_share", "response_share", "order_share", "confirmed_share", "late_share", "posts_week",
    "fatigue_effect", "quit_week", "pressure_effect", "shock_group_sd", "shock_store_sd", "coupon.redeemed_share", "referral_week",
    "redeem_week",
)  # fmt: skip
COVERS = {
    "calibration_note_no_orders": ("order_value_fen", "margin_share", "refund_share", "shock_group_sd", "shock_store_sd"),
    "calibration_note_no_deliveries": NOTED[3:9] + NOTED[10:11],
    "calibration_note_no_groups": ("quit_week", "shock_group_sd"),
}


@dataclass(frozen=True)
class Calibrated:
    """What is known before a campaign.

    Attributes
    ----------
    population : Population
        One cell per store, group and segment of recency (newcomer: member for up to 30 days; active: ordered within 60 days; cooling:
        within 120; dormant: longer ago or never).
    calibration : Calibration
    windows : DataFrame
        The back-test of the baseline, one row per past window: ``origin_on``, ``actual``, ``forecast`` (orders), ``error``, ``noise``.
    depth : int
        Past windows that the baseline looks back.
    correction : {"none", "drift", "season", "both"}
        What the baseline was corrected by because past windows were forecast better so: a lasting error, the year before, or both.
    """

    population: Population
    calibration: Calibration
    windows: pd.DataFrame
    depth: int
    correction: str = "none"


def calibrate(reading: Reading, *, weeks: int = 4, parts: tuple[str, ...] = PARTS) -> Calibrated:
    """Return who a campaign of `weeks` weeks would meet and what is known of them.

    Parameters
    ----------
    weeks : int
        Length of the campaign; past windows of the same length tell rates and how far they swing. 1 to 26.
    parts : tuple of str
        What to read, of :data:`PARTS`; all but in benchmarks. Orders are always read.

    Returns
    -------
    Calibrated
        Orders are purchases paid for (split orders merged); an order's value is what was paid, in fen, before refunds, whose share is a
        parameter of its own.

    Raises
    ------
    InputError
        If `weeks` is not from 1 to 26.

    Notes
    -----
    Rates come from cohorts (members known on a past day and what they did after it), so that the usual loss of members is in them.
    Groups are partially pooled (gamma-Poisson). Level shocks come from forecasting past windows with what was known before
    them; fewer than 6 such windows leave a wide default. Ids with more than 5% of a year's orders (tills) are left out. Cells that a
    campaign treated are left out of its windows. Descriptive, not causal. Source: S0.7, S1.4, S3.8; Clayton and Kaldor 1987.
    """
    if not 1 <= weeks <= 26:
        raise InputError(f"weeks is {weeks}; allowed: 1 to 26.")
    return _calibrate(reading, weeks, tuple(parts))


@remembered
def _calibrate(reading: Reading, weeks: int, parts: tuple[str, ...]) -> Calibrated:
    cells = calibrate_windows.cohorts(reading, [reading.as_of], weeks)
    past = past_windows(reading, weeks)
    tested = moments.backtest(past, weeks)
    windows = tested.windows
    index = calibrate_season.season_index(reading, [*windows["origin_on"], reading.as_of], weeks)
    season = calibrate_season.adjusted(windows["error"].to_numpy(float), index[:-1], float(index[-1]))
    windows = windows.assign(forecast=windows["forecast"] * np.exp(season.shifts), error=windows["error"] - season.shifts)
    windows = windows.dropna(subset=["error"]).reset_index(drop=True)
    has_orders = reading.source.has("orders") and len(past) > 0
    if has_orders:
        latest = sorted(past["origin_on"].unique())[-tested.depth :]
        rate = moments.expected(past[past["origin_on"].isin(latest)], cells, weeks) * np.exp(season.shift)
    else:
        rate = np.full(len(cells), np.nan)
    made = cells[["store_id", "group_id", "segment", "n_members"]].assign(orders_week=rate)
    made = made.merge(held_groups(reading), on="group_id", how="left")
    made[["capacity", "present"]] = made[["capacity", "present"]].fillna(0).astype(int)
    made = made.sort_values(["store_id", "group_id", "segment"], ignore_index=True)
    known, notes = _parameters(reading, past, replace(tested, windows=windows), weeks, has_orders, parts)
    return Calibrated(
        Population(made, reading.as_of, reading.currency), Calibration(known, notes), windows, tested.depth, season.kind
    )


@remembered
def held_groups(reading: Reading) -> pd.DataFrame:
    """Return the groups that stand on the day: ``group_id``, ``capacity`` (0 where not recorded), ``present`` (members in it)."""
    return reading.engine.execute(f"""
        SELECT g.group_id, coalesce(g.capacity, 0) AS capacity, coalesce(s.present, 0) AS present
        FROM groups AS g LEFT JOIN (
            SELECT group_id, count(DISTINCT member_id) AS present FROM membership_facts
            WHERE left_on IS NULL OR left_on > DATE '{reading.as_of}' GROUP BY group_id) AS s ON s.group_id = g.group_id
        WHERE CAST(g.created_at AS DATE) <= DATE '{reading.as_of}' ORDER BY g.group_id""").df()


@remembered
def past_windows(reading: Reading, weeks: int) -> pd.DataFrame:
    """Return the cohorts of past windows, without cells that a campaign treated in the window (see ``calibrate_windows.cohorts``)."""
    frame = calibrate_windows.cohorts(reading, calibrate_windows.origins(reading, weeks), weeks)
    treated = reading.engine.execute(f"""
        SELECT c.campaign_id, CAST(c.starts_at AS DATE) AS first_on, CAST(c.ends_at AS DATE) AS last_on, c.assigned_level, a.unit_id
        FROM campaigns AS c JOIN assignments AS a ON a.campaign_id = c.campaign_id
        WHERE c.assigned_level IN ('group', 'store') AND a.arm NOT IN {HOLDOUT} AND CAST(c.starts_at AS DATE) <= DATE '{reading.as_of}'
        """).df()
    out = np.zeros(len(frame), bool)
    begin = pd.to_datetime(frame["origin_on"])
    for (_, first, last, level), part in treated.groupby(["campaign_id", "first_on", "last_on", "assigned_level"]):
        overlaps = (begin < last) & (begin + pd.Timedelta(days=7 * weeks) >= first)
        out |= (overlaps & frame[f"{level}_id"].isin(part["unit_id"])).to_numpy()
    return frame[~out].reset_index(drop=True)


def _parameters(
    reading: Reading, past: pd.DataFrame, tested: moments.Backtest, weeks: int, has_orders: bool, parts: tuple[str, ...]
) -> tuple[dict[str, Range], tuple[str, ...]]:
    found: dict[str, Range | None] = {}
    notes: list[str] = []
    if not has_orders:
        notes.append("calibration_note_no_orders" if not reading.source.has("orders") else "calibration_note_short_history")
    if calibrate_windows.accounts(reading):
        notes.append("calibration_note_accounts")
    if not reading.source.has("deliveries"):
        notes.append("calibration_note_no_deliveries")
    read = {
        "money": lambda: _money(reading, past),
        "posts": lambda: calibrate_posts.per_post(reading) | calibrate_posts.within_effects(reading),
        "coupons": lambda: {"coupon.redeemed_share": _coupons(reading)},
        "referrals": lambda: {"referral_week": _referrals(reading, past, weeks)},
        "points": lambda: _points(reading, weeks),
    }
    for part in PARTS:
        found |= read[part]() if part in parts and (part != "posts" or reading.source.has("deliveries")) else {}
    inside = past[past["group_id"] != ""]
    if len(inside):
        found["quit_week"] = _windowed(inside, "n_quits", weeks, "quit_week")
    else:
        notes.append("calibration_note_no_groups")
    found |= _shocks(tested, notes) if has_orders else {}
    covered = {name for note in notes for name in COVERS.get(note, ())}
    notes += [f"calibration_lacks_{name.replace('.', '_')}" for name in NOTED if found.get(name) is None and name not in covered]
    return {k: v for k, v in found.items() if v is not None}, tuple(dict.fromkeys(notes))


def _shocks(tested: moments.Backtest, notes: list[str]) -> dict[str, Range | None]:
    brand = moments.level_sd(tested.windows)
    if brand is None:
        notes.append("calibration_note_few_windows")
    group = moments.shared_sd(tested.cells, "group")
    store = moments.shared_sd(tested.cells, "store", group[0] ** 2 if group else 0.0)
    return {
        "shock_brand_sd": WIDE if brand is None else moments.positive(brand, len(tested.windows), "shock_brand_sd"),
        "shock_group_sd": None if group is None else moments.positive(group[:3], group[3], "shock_group_sd"),
        "shock_store_sd": None if store is None else moments.positive(store[:3], store[3], "shock_store_sd"),
    }


def _money(reading: Reading, past: pd.DataFrame) -> dict[str, Range | None]:
    day = reading.as_of
    store = "AND store_id = $store" if reading.store else ""
    since = f"ordered_on > DATE '{day}' - {calibrate_posts.LOOK_DAYS} {store}"
    value = calibrate_posts.ratio(
        reading, f"SELECT cluster_id, 1 AS n, paid_fen AS num, 1 AS den FROM order_facts WHERE member_id IS NOT NULL AND {since}", "ratio",
        "paid_order_value", True,
    )  # fmt: skip
    refund = calibrate_posts.ratio(
        reading, f"SELECT cluster_id, 1 AS n, least(paid_fen - net_fen, paid_fen) AS num, paid_fen AS den FROM order_facts WHERE paid_fen > 0 AND {since}",
        "proportion", "refund_share", True,
    ) if reading.source.has("refunds") else None  # fmt: skip
    margin = calibrate_posts.ratio(
        reading, f"""SELECT coalesce(m.cluster_id, concat('purchase:', i.purchase_id)) AS cluster_id, 1 AS n, i.paid_fen - i.quantity * p.cost_fen AS num,
                     i.paid_fen AS den
                     FROM item_facts AS i JOIN products AS p ON p.product_id = i.product_id LEFT JOIN member_facts AS m ON m.member_id = i.member_id
                     WHERE p.cost_fen IS NOT NULL AND i.quantity > 0 AND i.paid_fen > 0 AND i.{since.replace("AND store_id", "AND i.store_id")}""",
        "ratio", "margin_share", True,
    ) if reading.source.has("order_items", "products.cost_fen") else None  # fmt: skip
    if value is not None:
        value = _swung(value, past)
    if margin is not None:
        kind = "share" if margin.low >= 0 and margin.high <= 1 else "real"
        margin = Range(margin.value, margin.low, margin.high, kind, "data", margin.n, margin.source)
    return {"order_value_fen": value, "order_value_cv": _spread(reading, since), "refund_share": refund, "margin_share": margin}


def _spread(reading: Reading, since: str) -> Range | None:
    """Spread of order values (sd over mean): mean over the last six spells of a month, with the error of that mean."""
    rows = reading.engine.execute(
        f"""SELECT date_diff('day', ordered_on, DATE '{reading.as_of}') // 31 AS spell, count(*) AS n, stddev_samp(paid_fen) / avg(paid_fen) AS cv
            FROM order_facts WHERE member_id IS NOT NULL AND paid_fen > 0 AND {since} GROUP BY spell ORDER BY spell""",
        {"store": reading.store} if reading.store else None,
    ).df()
    values = rows.loc[(rows["n"] >= 30) & (rows["cv"] > 0), "cv"].to_numpy(float)
    if len(values) < 3:
        return None
    logs = np.log(values)
    half = float(stdtrit(len(logs) - 1, 0.95) * logs.std(ddof=1) / np.sqrt(len(logs)))
    mid = float(np.exp(logs.mean()))
    return Range(
        mid, mid * float(np.exp(-half)), mid * float(np.exp(half)), "positive", "data", float(len(logs)), "paid_order_spread"
    )


def _swung(value: Range, past: pd.DataFrame) -> Range:
    """Widen the range of an order's value by how far the mean of a window lies from that of the three before it."""
    by = past.groupby("origin_on")[["paid_fen", "n_orders"]].sum()
    by = by[by["n_orders"] > 0]
    mean = (by["paid_fen"] / by["n_orders"]).to_numpy(float)
    gaps = [
        np.log(mean[i] / (by["paid_fen"].iloc[i - 3 : i].sum() / by["n_orders"].iloc[i - 3 : i].sum()))
        for i in range(3, len(by))
        if mean[i] > 0
    ]
    spread = float(np.sqrt(np.mean(np.square(gaps)))) if len(gaps) >= 3 else DEFAULT_SPREAD
    up, down = np.log(value.high / value.value), np.log(value.value / max(value.low, 1e-9))
    low, high = (float(np.exp(np.sqrt(x**2 + (Z90 * spread) ** 2))) for x in (down, up))
    return Range(value.value, value.value / low, value.value * high, "positive", "data", value.n, value.source)


def _windowed(frame: pd.DataFrame, column: str, weeks: int, source: str) -> Range | None:
    """Return a rate a member and week from the latest three windows, as wide as windows swing around the three before them."""
    by = frame.groupby("origin_on")[[column, "n_members"]].sum().sort_index()
    return rate_range(by[column].to_numpy(float), by["n_members"].to_numpy(float) * weeks, source)


def rate_range(counts: np.ndarray, exposure: np.ndarray, source: str, depth: int = 3) -> Range | None:
    """Return the rate of the next window, given counts and exposures of past ones in order of time; None without a count.

    The centre is the rate of the latest `depth` windows. The 90% range holds the noise of their counts and the spread of past windows
    around the `depth` before them, net of their own counting noise (0.15 on the log scale where fewer than 4 windows tell it).
    """
    told = exposure > 0
    counts, exposure = counts[told], exposure[told]
    if not len(counts) or counts[-depth:].sum() <= 0:
        return None
    value = float(counts[-depth:].sum() / exposure[-depth:].sum())
    squares, noise = [], []
    for i in range(1, len(counts)):
        before, over = counts[max(0, i - depth) : i].sum(), exposure[max(0, i - depth) : i].sum()
        if before > 0 and counts[i] > 0:
            squares.append(np.log(counts[i] / exposure[i] / (before / over)) ** 2)
            noise.append(1 / counts[i])
    spread = (
        max(np.mean(squares) - np.mean(noise), 0.05 * np.mean(squares)) * (1 + 2 / len(squares))
        if len(squares) >= 4
        else DEFAULT_SPREAD**2
    )
    width = float(np.exp(Z90 * np.sqrt(spread + (0.0 if len(squares) >= 4 else 1 / counts[-depth:].sum()))))
    return Range(value, value / width, value * width, "positive", "data", float(len(counts)), source)


def _coupons(reading: Reading) -> Range | None:
    if not reading.source.has("coupons"):
        return None
    day = reading.as_of
    return calibrate_posts.ratio(
        reading, f"""SELECT coalesce(m.cluster_id, concat('coupon:', c.coupon_id)) AS cluster_id, 1 AS n,
                            CASE WHEN CAST(o.ordered_at AS DATE) <= DATE '{day}' THEN 1 ELSE 0 END AS num, 1 AS den
                     FROM coupons AS c LEFT JOIN orders AS o ON o.order_id = c.used_order_id LEFT JOIN member_facts AS m ON m.member_id = c.member_id
                     WHERE CAST(c.issued_at AS DATE) > DATE '{day}' - 425 AND CAST(c.issued_at AS DATE) <= DATE '{day}' - 60""",
        "proportion", "coupon_redeemed_share",
    )  # fmt: skip


def _referrals(reading: Reading, past: pd.DataFrame, weeks: int) -> Range | None:
    """Successful referrals a member and week, without windows in which a referral campaign ran."""
    if not reading.source.has("referrals") or past.empty or reading.store:
        return None
    days = reading.engine.execute(f"""
        SELECT CAST(referred_at AS DATE) AS on_day, count(*) AS n, count(campaign_id) AS n_campaign FROM referrals
        WHERE CAST(referred_at AS DATE) <= DATE '{reading.as_of}' GROUP BY on_day ORDER BY on_day""").df()
    if days.empty:
        return None
    heads = past.groupby("origin_on")["n_members"].sum().sort_index()
    begin = pd.to_datetime(heads.index).to_numpy()
    place = np.searchsorted(begin, pd.to_datetime(days["on_day"]).to_numpy(), side="left") - 1
    inside = place >= 0
    counts = np.bincount(place[inside], days["n"].to_numpy(float)[inside], len(heads))
    pushed = np.bincount(place[inside], days["n_campaign"].to_numpy(float)[inside], len(heads)) > 0
    first = np.flatnonzero(counts > 0)
    keep = ~pushed & (np.arange(len(heads)) > (first[0] if len(first) else 0))
    return rate_range(counts[keep], heads.to_numpy(float)[keep] * weeks, "referral_week")


def _points(reading: Reading, weeks: int) -> dict[str, Range | None]:
    """Members of a points band who redeem, a week: one parameter per band, and one over all bands.

    Rates over up to six windows; bands share how far the sum of a window lies from what the other windows lead to expect.
    """
    if not reading.source.has("points_ledger"):
        return {}
    past = calibrate_points.redeemed(reading, weeks)
    sums = past.groupby(["origin_on", "band"])[["n_redeemed", "n_members"]].sum().unstack(fill_value=0)
    if sums.empty:
        return {}
    bands = list(sums["n_members"].columns)
    heads, redeemed = (sums[c].to_numpy(float) for c in ("n_members", "n_redeemed"))
    counts = redeemed.sum(0)
    others = np.maximum(heads.sum(0) - heads, 1)
    due = (heads * (counts - redeemed) / others).sum(1)
    told = (due > 0) & (redeemed.sum(1) > 0)
    gaps = np.log(redeemed.sum(1)[told] / due[told]) ** 2
    spread = max(gaps.mean() - (1 / redeemed.sum(1)[told]).mean(), 0.05 * gaps.mean()) if told.sum() >= 4 else DEFAULT_SPREAD**2
    made: dict[str, Range | None] = {}
    for name, n, y in (
        ("redeem_week", heads.sum(), counts.sum()),
        *zip((f"redeem_week.{b}" for b in bands), heads.sum(0), counts, strict=True),
    ):
        if y <= 0:
            continue
        value = float(-np.log1p(-min(y / n, 0.999)) / weeks)
        width = float(np.exp(Z90 * np.sqrt(spread + 1 / y)))
        made[name] = Range(value, value / width, value * width, "positive", "data", float(len(heads)), "points_redeem_week")
    return made
