"""Rates and shares of the user's own data that need no groups: money, coupons, points; and how windows swing around them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sqkit.campaigns.calibrate_points import GROUPS, points_cells
from sqkit.campaigns.calibrate_points import redeemed as redeemed_of
from sqkit.campaigns.calibrate_posts import LOOK_DAYS, ratio
from sqkit.campaigns.calibrate_windows import but_accounts
from sqkit.campaigns.model import Z90, Range
from sqkit.loyalty.critical import critical_point, fit_rise
from sqkit.reading import Reading

__all__ = ["coupons", "money", "points", "rate_range", "windowed"]

DEFAULT_SPREAD = 0.15  # log sd of a rate between windows where too few windows tell it
MOST_SHARE = 0.25  # what the mechanic accepts; more would mean that nearly everybody stands at the critical point


def money(reading: Reading, past: pd.DataFrame) -> dict[str, Range | None]:
    """Return the value of an order, its spread, the margin and the share refunded, by parameter; None where the source cannot tell."""
    day, but = reading.as_of, but_accounts(reading, "member_id")
    store = "AND store_id = $store" if reading.store else ""
    since = f"ordered_on > DATE '{day}' - {LOOK_DAYS} {store}"
    value = ratio(
        reading, f"SELECT cluster_id, 1 AS n, paid_fen AS num, 1 AS den FROM order_facts WHERE member_id IS NOT NULL AND {but} AND {since}", "ratio",
        "paid_order_value", True,
    )  # fmt: skip
    refund = ratio(
        reading, f"SELECT cluster_id, 1 AS n, least(paid_fen - net_fen, paid_fen) AS num, paid_fen AS den FROM order_facts WHERE paid_fen > 0 AND {but} AND {since}",
        "proportion", "refund_share", True,
    ) if reading.source.has("refunds") else None  # fmt: skip
    margin = ratio(
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
    return {
        "order_value_fen": value,
        "order_value_cv": _spread(reading, f"{but} AND {since}"),
        "refund_share": refund,
        "margin_share": margin,
    }


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


def windowed(frame: pd.DataFrame, column: str, weeks: int, source: str) -> Range | None:
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
    scale = "share" if value * width < 1 else "positive"  # of members, and small
    return Range(value, value / width, value * width, scale, "data", float(len(counts)), source)


def coupons(reading: Reading) -> Range | None:
    """Return the share of issued coupons that were redeemed, over those whose time is up; None without coupons."""
    if not reading.source.has("coupons"):
        return None
    day = reading.as_of
    return ratio(
        reading, f"""SELECT coalesce(m.cluster_id, concat('coupon:', c.coupon_id)) AS cluster_id, 1 AS n,
                            CASE WHEN c.used_order_id IS NULL THEN 0 ELSE 1 END AS num, 1 AS den
                     FROM coupons AS c LEFT JOIN member_facts AS m ON m.member_id = c.member_id
                     WHERE CAST(c.issued_at AS DATE) > DATE '{day}' - 425 AND CAST(c.issued_at AS DATE) <= DATE '{day}' - 60""",
        "proportion", "coupon_redeemed_share",
    )  # fmt: skip


def points(reading: Reading, weeks: int) -> dict[str, Range | None]:
    """Return members of a points band who redeem, a week: one parameter per band, one over all, one near the critical point.

    Rates over up to six windows; bands share how far the sum of a window lies from what the other windows lead to expect.
    """
    if not reading.source.has("points_ledger"):
        return {}
    past = redeemed_of(reading, weeks)
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
    made: dict[str, Range | None] = _letters(reading, weeks) | _critical(reading)
    near = [b in ("1200_1499", "1500_2000") for b in bands]
    for name, n, y in (
        ("redeem_week", heads.sum(), counts.sum()),
        ("points_threshold.redeem_week", heads[:, near].sum(), counts[near].sum()),
        *zip((f"redeem_week.{b}" for b in bands), heads.sum(0), counts, strict=True),
    ):
        if y <= 0:
            continue
        value = float(-np.log1p(-min(y / n, 0.999)) / weeks)
        width = float(np.exp(Z90 * np.sqrt(spread + 1 / y)))
        scale = "share" if value * width < 1 else "positive"
        made[name] = Range(value, value / width, value * width, scale, "data", float(len(heads)), "points_redeem_week")
    return made


def _letters(reading: Reading, weeks: int) -> dict[str, Range | None]:
    """Return the share of members in the groups A to D of the three-phase activation, counted on the day: known exactly."""
    cells = points_cells(reading, reading.as_of, weeks)
    whole = float(cells["n_members"].sum())
    made: dict[str, Range | None] = {}
    for (band, is_buyer), letter in GROUPS.items():
        n = float(cells.loc[(cells["band"] == band) & (cells["is_buyer"] == is_buyer), "n_members"].sum())
        share = n / whole if whole else 0.0
        if 0 < share <= MOST_SHARE:
            made[f"points_threshold.share_{letter.lower()}"] = Range(share, share, share, "share", "data", whole, "points_share")
    return made


def _critical(reading: Reading) -> dict[str, Range | None]:
    """Return where redemption sets in and over how many points, where the data show it; the width's error from the counts as drawn."""
    found = critical_point(reading)
    if not found.is_found or not found.low90 <= found.value <= found.high90:
        return {}
    rise = fit_rise(*(found.bins[c].to_numpy(float) for c in ("balance", "n", "k")))
    error = float(np.sqrt(max(np.linalg.pinv(rise.information)[3, 3], 0.0) * max(found.design, 1.0)))
    wide = float(np.exp(Z90 * min(error, 1.0)))
    n = float(found.n_redemptions)
    return {
        "points_threshold.critical_points": Range(
            found.value, max(found.low90, 1.0), found.high90, "positive", "data", n, "critical_points"
        ),
        "points_threshold.critical_scale": Range(
            found.scale, found.scale / wide, found.scale * wide, "positive", "data", n, "critical_scale"
        ),
    }
