"""What is known before a campaign, from the user's own data: who there is, what they do anyway, and how sure that is.

Everything is read as of the day of the reading. What the data cannot give is left out and named in the notes, so that the
mechanic's default stands and the reader knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sqkit.campaigns import calibrate_moments as moments
from sqkit.campaigns import calibrate_posts, calibrate_referrals, calibrate_season, calibrate_windows
from sqkit.campaigns import calibrate_rates as rates
from sqkit.campaigns.model import Calibration, Population, Range
from sqkit.errors import InputError
from sqkit.reading import Reading, remembered

__all__ = ["PARTS", "Calibrated", "calibrate"]

WIDE = Range(0.25, 0.10, 0.50, "positive", "default", source="calibration")  # level of a window where its spread cannot be told
PARTS = ("posts", "money", "coupons", "referrals", "points")
# What a reader misses when the data do not give it, and which of it follows from a whole table being absent.
NOTED = (
    "order_value_fen", "margin_share", "refund_share", "response_share", "order_share", "confirmed_share", "late_share", "posts_week",
    "fatigue_effect", "quit_week", "pressure_effect", "shock_group_sd", "shock_store_sd", "coupon.redeemed_share", "referral_week",
    "referral.joiner_orders_week", "redeem_week",
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
    of_brand : tuple of str
        Parameters that the store of the reading cannot tell and that are the whole brand's; () for a brand.
    """

    population: Population
    calibration: Calibration
    windows: pd.DataFrame
    depth: int
    correction: str = "none"
    of_brand: tuple[str, ...] = ()


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
    past = calibrate_windows.past_windows(reading, weeks)
    tested = moments.backtest(past, weeks)
    windows = tested.windows
    index = calibrate_season.season_index(reading, [*windows["origin_on"], reading.as_of], weeks)
    by_depth = {
        k: calibrate_season.adjusted(windows[f"error_{k}"].to_numpy(float), index[:-1], float(index[-1])) for k in moments.DEPTHS
    }
    season = by_depth[tested.depth]
    shifts = np.array([by_depth[k].shifts[i] for i, k in enumerate(windows["looked"])], float)
    windows = windows.assign(forecast=windows["forecast"] * np.exp(shifts), error=windows["error"] - shifts)
    windows = windows[["origin_on", "actual", "forecast", "error", "noise"]]
    has_orders = reading.source.has("orders") and len(past) > 0
    if has_orders:
        latest = sorted(past["origin_on"].unique())[-tested.depth :]
        rate = moments.expected(past[past["origin_on"].isin(latest)], cells, weeks) * np.exp(season.shift)
    else:
        rate = np.full(len(cells), np.nan)
    made = cells[["store_id", "group_id", "segment", "n_members"]].assign(orders_week=rate)
    made = made.merge(calibrate_windows.held_groups(reading), on="group_id", how="left")
    made[["capacity", "present"]] = made[["capacity", "present"]].fillna(0).astype(int)
    made = made.sort_values(["store_id", "group_id", "segment"], ignore_index=True)
    known, notes, of_brand = _parameters(reading, past, replace(tested, windows=windows), weeks, has_orders, parts, cells)
    population = Population(made, reading.as_of, reading.currency)
    return Calibrated(population, Calibration(known, notes), windows, tested.depth, season.kind, of_brand)


def _parameters(
    reading: Reading,
    past: pd.DataFrame,
    tested: moments.Backtest,
    weeks: int,
    has_orders: bool,
    parts: tuple[str, ...],
    cells: pd.DataFrame,
) -> tuple[dict[str, Range], tuple[str, ...], tuple[str, ...]]:
    found: dict[str, Range | None] = {}
    notes: list[str] = []
    if not has_orders:
        notes.append("calibration_note_no_orders" if not reading.source.has("orders") else "calibration_note_short_history")
    if calibrate_windows.accounts(reading):
        notes.append("calibration_note_accounts")
    if calibrate_windows.reaches_members(reading, weeks):
        notes.append("calibration_note_member_campaigns")
    if not reading.source.has("deliveries"):
        notes.append("calibration_note_no_deliveries")
    read = {
        "money": lambda: rates.money(reading, past),
        "posts": lambda: calibrate_posts.per_post(reading) | calibrate_posts.within_effects(reading),
        "coupons": lambda: {"coupon.redeemed_share": rates.coupons(reading)},
        "referrals": lambda: {} if reading.store else calibrate_referrals.referrals(reading, past, weeks),
        "points": lambda: rates.points(reading, weeks),
    }
    for part in PARTS:
        found |= read[part]() if part in parts and (part != "posts" or reading.source.has("deliveries")) else {}
    inside = past[past["group_id"] != ""]
    if len(inside):
        found["quit_week"] = rates.windowed(inside, "n_quits", weeks, "quit_week")
    else:
        notes.append("calibration_note_no_groups")
    found |= _shocks(tested, notes) if has_orders else {}
    of_brand = _of_brand(reading, found, notes, weeks, parts)
    found["referral.inviter_share"] = calibrate_referrals.inviters(found, _inside(cells))
    covered = {name for note in notes for name in COVERS.get(note, ())}
    notes += [f"calibration_lacks_{name.replace('.', '_')}" for name in NOTED if found.get(name) is None and name not in covered]
    return {k: v for k, v in found.items() if v is not None}, tuple(dict.fromkeys(notes)), of_brand


def _inside(cells: pd.DataFrame) -> float:
    """Return the share of members who are in groups; 1 where there are no groups."""
    held = float(cells.loc[cells["group_id"] != "", "n_members"].sum())
    return held / float(cells["n_members"].sum()) if held else 1.0


def _of_brand(
    reading: Reading, found: dict[str, Range | None], notes: list[str], weeks: int, parts: tuple[str, ...]
) -> tuple[str, ...]:
    """Fill in what one store cannot tell with what the whole brand knows; return the names."""
    if not reading.store:
        return ()
    known = calibrate(replace(reading, store=""), weeks=weeks, parts=parts).calibration.parameters
    own = found.get("shock_brand_sd")
    if own is not None and own.origin == "data":  # the level of this store's windows: its swing around the brand is in it
        found["shock_store_sd"] = Range(0.0, 0.0, 0.0, "positive", "data", own.n, "shock_store_sd")
    taken = tuple(k for k, r in known.items() if r.origin == "data" and ((f := found.get(k)) is None or f.origin != "data"))
    found |= {name: known[name] for name in taken}
    for note, name in (("calibration_note_few_windows", "shock_brand_sd"), ("calibration_note_no_groups", "quit_week")):
        if note in notes and name in taken:
            notes.remove(note)
    if taken:
        notes.append("calibration_note_of_brand")
    return tuple(name for name in taken if name != "referral.inviter_share")


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
