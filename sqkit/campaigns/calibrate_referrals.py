"""Referrals as a drive finds them: how often members bring somebody anyway, how unevenly, and what past drives added."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.calibrate_posts import ratio
from sqkit.campaigns.calibrate_rates import DEFAULT_SPREAD, rate_range
from sqkit.campaigns.calibrate_windows import but_accounts
from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.model import Z90, Range
from sqkit.campaigns.referral_state import referral_state
from sqkit.reading import Reading
from sqkit.stats import Interval

__all__ = ["inviters", "referrals"]

TO_90 = Z90 / 1.959963984540054  # a 95% interval's half width to that of 90%
LEAST_USUAL = 20  # referrals around a past drive
DRIVES = """
    SELECT CAST(starts_at AS DATE) AS first_on, CAST(ends_at AS DATE) AS last_on FROM campaigns
    WHERE kind = 'referral' AND CAST(ends_at AS DATE) <= DATE '{day}' ORDER BY first_on, last_on"""


def referrals(reading: Reading, past: pd.DataFrame, weeks: int) -> dict[str, Range | None]:
    """Return what the brand's referrals tell of a drive: its usual rate, who brings how many, freeloaders, past drives, joiners' orders.

    ``referral_week``: successful referrals a member and week outside drives. ``referral.invited_mean`` and ``dispersion``: what members
    who were themselves brought bring within the longest follow-up. ``referral.drive_multiple``: referrals a day of past drives
    over those of as many days before and after. `reading` and `past` are the whole brand's. Descriptive.
    """
    if not reading.source.has("referrals"):
        return {}
    state = referral_state(reading)
    law = state.invited_spread
    spread = None
    if law is not None and 0 < law.dispersion < 1000:
        low, high = (law.dispersion * (x / law.dispersion) ** TO_90 for x in (law.low, min(law.high, 1000.0)))
        spread = Range(law.dispersion, low, high, "positive", "data", float(law.n), "referral_dispersion")
    return {
        "referral_week": _referral_week(reading, past, weeks),
        "referral.invited_mean": _narrowed(state.k, "positive", "referral_invited_mean"),
        "referral.dispersion": spread,
        "referral.freeloader_share": _narrowed(state.freeloaders, "share", "referral_freeloaders"),
        "referral.drive_multiple": _drives(reading),
        "referral.joiner_orders_week": _joiners(reading),
    }


def inviters(found: dict[str, Range | None], inside: float = 1.0) -> Range | None:
    """Return the share of responders who invite at which the model brings `referral_week` without a reward.

    With one post more a week, a member responds with chance c; an inviter brings K and those K again, K(1 + K(1 - f)) over two
    generations. The share is the rate over the product of both; its range holds what of the rate's range K's does not. What the data do not tell stands at its default, so that the
    usual rate is met all the same. Posts reach members in groups: `inside`, their share of all members.
    """
    week = found.get("referral_week")
    if week is None or not 0 < inside <= 1:
        return None
    shared, own = general(), mechanics()["referral"].parameters
    mean = found.get("referral.invited_mean") or own["invited_mean"].default

    def value(name: str) -> float:
        known = found.get(name)
        if known is not None:
            return known.value
        return (own[name.partition(".")[2]] if "." in name else shared[name]).default.value

    posts = value("posts_week")
    tired = ((posts + 1) / posts) ** (-value("fatigue_effect") / np.log(2)) if posts > 0 else 1.0
    chance = (
        inside
        * value("response_share")
        * tired
        * value("confirmed_share")
        * (1 - value("late_share") * (1 - value("late_worth")))
    )
    brought = mean.value * (1 + mean.value * (1 - value("referral.freeloader_share")))
    share = min(week.value / max(chance * brought, 1e-12), 0.99)
    wide, part = np.log(week.high / week.low) / 2, np.log(mean.high / mean.low) / 2
    width = float(np.exp(np.sqrt(max(wide**2 - part**2, wide**2 / 16))))
    return Range(share, share / width, min(share * width, 0.995), "share", "data", week.n, "referral_inviters")


def _narrowed(told: Interval | None, scale: str, source: str) -> Range | None:
    """Return a 95% interval as a 90% range; a low end below a tenth of the value is cut there, as draws are made on a log scale."""
    if told is None or not np.isfinite(told.low) or told.value <= 0:
        return None
    low, high = (told.value + (x - told.value) * TO_90 for x in (told.low, told.high))
    if scale == "share":
        high = min(high, 0.99)
    return Range(told.value, max(low, told.value / 10), max(high, told.value), scale, "data", float(told.n_clusters), source)


def _drives(reading: Reading) -> Range | None:
    """Return referrals a day of past drives over the same number of days before and after, those of other drives left out.

    The range holds counting noise and how far windows swing anyway (0.15 on the log scale for each side), over the number of drives.
    """
    drives = reading.engine.execute(DRIVES.format(day=reading.as_of)).df()
    if drives.empty:
        return None
    rows = reading.engine.execute("""
        SELECT CAST(referred_at AS DATE) AS on_day, count(*) AS n FROM referrals GROUP BY on_day ORDER BY on_day""").df()
    if rows.empty:
        return None
    daily = pd.Series(rows["n"].to_numpy(float), index=pd.to_datetime(rows["on_day"]))
    daily = daily.reindex(pd.date_range(daily.index[0], pd.Timestamp(reading.as_of)), fill_value=0.0)
    pushed = np.zeros(len(daily), bool)
    for d in drives.itertuples():
        pushed |= (daily.index >= d.first_on) & (daily.index <= d.last_on)
    during, spent, around, usual = 0.0, 0, 0.0, 0
    for d in drives.itertuples():
        span = timedelta(days=(d.last_on - d.first_on).days + 1)
        inside = (daily.index >= d.first_on) & (daily.index <= d.last_on)
        beside = (daily.index >= d.first_on - span) & (daily.index <= d.last_on + span) & ~pushed
        during, spent = during + daily[inside].sum(), spent + int(inside.sum())
        around, usual = around + daily[beside].sum(), usual + int(beside.sum())
    if around < LEAST_USUAL or not during or not spent:
        return None
    value = float(during / spent / (around / usual))
    width = float(np.exp(Z90 * np.sqrt(1 / during + 1 / around + 2 * DEFAULT_SPREAD**2 / len(drives))))
    return Range(value, value / width, value * width, "positive", "data", float(len(drives)), "referral_multiple")


def _joiners(reading: Reading) -> Range | None:
    day = reading.as_of
    return ratio(
        reading, f"""SELECT coalesce(m.cluster_id, concat('member:', r.member_id)) AS cluster_id, 1 AS n, coalesce(o.n, 0) AS num, 90 / 7.0 AS den
                     FROM (SELECT invited_member_id AS member_id, min(CAST(referred_at AS DATE)) AS on_day FROM referrals GROUP BY 1) AS r
                     LEFT JOIN member_facts AS m ON m.member_id = r.member_id
                     LEFT JOIN (
                         SELECT f.member_id, count(*) AS n FROM order_facts AS f
                         JOIN (SELECT invited_member_id, min(CAST(referred_at AS DATE)) AS on_day FROM referrals GROUP BY 1) AS j
                           ON j.invited_member_id = f.member_id
                         WHERE f.ordered_on >= j.on_day AND f.ordered_on < j.on_day + 90 GROUP BY f.member_id
                     ) AS o ON o.member_id = r.member_id
                     WHERE r.on_day <= DATE '{day}' - 90 AND r.on_day > DATE '{day}' - 455 AND {but_accounts(reading, "r.member_id")}""",
        "ratio", "joiner_orders",
    )  # fmt: skip


def _referral_week(reading: Reading, past: pd.DataFrame, weeks: int) -> Range | None:
    """Successful referrals a member and week, without windows in which a referral campaign ran."""
    if past.empty:
        return None
    days = reading.engine.execute("""
        SELECT CAST(referred_at AS DATE) AS on_day, count(*) AS n, count(campaign_id) AS n_campaign FROM referrals
        GROUP BY on_day ORDER BY on_day""").df()
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
