"""Who leaves: groups in a leave wave, and by how much leaving grows with the number of posts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit.reading import Reading
from sqkit.stats import holm

__all__ = ["WAVE_RATIO", "WAVE_WEEKS", "leave_power", "leaving_weeks", "mine", "waves"]

WAVE_WEEKS, WAVE_LEAST, WAVE_RATIO, WAVE_P = 4, 5, 1.5, 0.05
LEAVE_WEEKS = 26


def mine(reading: Reading) -> tuple[str, dict[str, object]]:
    """Return the condition of SQL for the reading's store, and its values."""
    return ("store_id = $store", {"store": reading.store}) if reading.store else ("TRUE", {})


def leaving_weeks(reading: Reading) -> pd.DataFrame:
    """Return members at the start, leavers and posts by group and week of the last half year; week 0 is the newest."""
    columns = ["group_id", "week", "members", "leavers", "posts"]
    if not reading.source.has("memberships") or not reading.source.has("deliveries"):
        return pd.DataFrame(columns=columns)
    where, values = mine(reading)
    by_choice = "AND coalesce(quit_scene, 'left') = 'left'" if reading.source.has("memberships.quit_scene") else ""
    return reading.engine.execute(
        f"""WITH weeks AS (SELECT CAST(range AS INTEGER) AS week, CAST($as_of - CAST(7 * (range + 1) - 1 AS INTEGER) AS DATE) AS since
                           FROM range({LEAVE_WEEKS})),
        posts AS (SELECT group_id, CAST(date_diff('day', on_day, $as_of) // 7 AS INTEGER) AS week, count(*) AS n FROM post_facts
                  WHERE status = 'sent' GROUP BY ALL)
        SELECT s.group_id, w.week, count(*) AS members,
               count(*) FILTER (s.left_on < w.since + 7 {by_choice}) AS leavers, coalesce(any_value(p.n), 0) AS posts
        FROM membership_facts AS s JOIN weeks AS w ON s.joined_on < w.since AND (s.left_on IS NULL OR s.left_on >= w.since)
        LEFT JOIN posts AS p ON p.group_id = s.group_id AND p.week = w.week
        WHERE {where} GROUP BY s.group_id, w.week ORDER BY s.group_id, w.week""",
        values | {"as_of": reading.as_of},
    ).df()


def waves(leaving: pd.DataFrame) -> set[str]:
    """Return groups that leave faster in the last four weeks than before: 1.5 times, five leavers, p below .05 by Holm over all groups.

    Given all leavers of a group, those of the last weeks are binomial with the share of members then; counts are divided by how much
    the weeks before vary beyond chance (Pearson, over all groups).
    """
    if leaving.empty:
        return set()
    from scipy.special import betainc

    recent = leaving.week < WAVE_WEEKS
    now, before = (part.groupby("group_id")[["members", "leavers"]].sum() for part in (leaving[recent], leaving[~recent]))
    both = now.join(before.add_suffix("_before"), how="inner")
    past = leaving[~recent]
    whole = past.groupby("group_id")[["members", "leavers"]].transform("sum")
    expected = past.members * whole.leavers / whole.members
    some = expected > 0
    df = int(some.sum()) - past.group_id[some].nunique()
    over = max(float(((past.leavers - expected)[some] ** 2 / expected[some]).sum()) / df, 1.0) if df > 0 else 1.0
    share = both.members / (both.members + both.members_before)
    p = betainc(np.maximum(both.leavers, 1e-9) / over, both.leavers_before / over + 1, share)
    usual = (both.leavers_before + 0.5) / both.members_before * both.members
    named = (both.leavers >= WAVE_LEAST) & (both.leavers >= WAVE_RATIO * usual) & (np.array(holm(p.tolist())) < WAVE_P)
    return set(both.index[named])


def leave_power(leaving: pd.DataFrame) -> tuple[float, float, float]:
    """Return weekly leave rate, its power in posts a week, and the error: weighted regression with a level per group and week.

    Errors by group. A linear slope per log of posts, put over the mean rate: zeros need no care. Descriptive: who gets more posts is
    not drawn.
    """
    nan = float("nan")
    frame = leaving[leaving.posts > 0]
    if len(frame) < 40 or frame.group_id.nunique() < 6 or not frame.leavers.sum():
        return nan, nan, nan
    w = frame.members.to_numpy(float)
    rate = float(frame.leavers.sum() / w.sum())
    codes = [pd.factorize(frame.group_id)[0], pd.factorize(frame.week)[0]]
    x, y = np.log(frame.posts.to_numpy(float)), frame.leavers.to_numpy(float) / w
    for _ in range(50):
        for code in codes:
            total = np.bincount(code, w)
            x, y = (v - (np.bincount(code, w * v) / total)[code] for v in (x, y))
    spread = float((w * x * x).sum())
    if spread < 1e-9:
        return rate, nan, nan
    slope = float((w * x * y).sum()) / spread
    score = np.bincount(codes[0], w * x * (y - slope * x))
    n = len(score)
    return rate, slope / rate, float(np.sqrt((score**2).sum() * n / (n - 1))) / spread / rate
