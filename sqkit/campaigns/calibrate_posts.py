"""What posts to groups did in the user's own data: response, orders, confirmation, fatigue, and quits under pressure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sqkit.campaigns.calibrate_moments import cut_at_zero
from sqkit.campaigns.model import Z90, Range
from sqkit.reading import Reading
from sqkit.stats import ratio_interval
from sqkit.stats.blocks import blocks_sql

__all__ = ["LOOK_DAYS", "per_post", "ratio", "within", "within_effects"]

LOOK_DAYS = 182
LEAST_GROUPS = 8


def ratio(reading: Reading, units: str, kind: str, source: str, store: bool = False) -> Range | None:
    """Return the 90% range of a ratio over units with ``cluster_id``, ``n``, ``num``, ``den``; None where the data are not enough.

    Clusters are groups (or what stands for them); CR2, Satterthwaite.
    """
    values = {"store": reading.store} if store and reading.store else None
    found = ratio_interval(reading.engine.execute(blocks_sql(units), values).df(), kind=kind, level=0.9)
    if not found.enough or not np.isfinite(found.low):
        return None
    scale = "share" if kind == "proportion" else "positive" if found.low > 0 else "real"
    low, high = min(found.low, found.value), max(found.high, found.value)
    if kind == "ratio" and source.endswith("_share") and low > 0 and high < 1:
        scale = "share"
    return Range(float(found.value), float(low), float(high), scale, "data", float(found.n_clusters), source)


def _of_store(reading: Reading, column: str = "group_id") -> str:
    return f"AND {column} IN (SELECT group_id FROM groups WHERE store_id = $store)" if reading.store else ""


def per_post(reading: Reading) -> dict[str, Range | None]:
    """Return response, orders a responder, confirmation, lateness, and posts a group and week, over the last half year.

    A delivery scheduled in the last two days is left out: it may still be confirmed. Groups are the clusters.
    """
    day, mine = reading.as_of, _of_store(reading)
    sent = f"""SELECT concat('group:', group_id) AS cluster_id, n_members, n_responders, n_orders, status, scheduled_at, sent_at
               FROM deliveries WHERE CAST(coalesce(scheduled_at, sent_at) AS DATE) <= DATE '{day}' - 2
               AND CAST(coalesce(scheduled_at, sent_at) AS DATE) > DATE '{day}' - {LOOK_DAYS} {mine}"""
    went = f"({sent}) AS d WHERE status = 'sent'"
    late = "CASE WHEN sent_at >= scheduled_at + INTERVAL '1' DAY THEN 1 ELSE 0 END"
    weeks = f"""
        SELECT concat('group:', g.group_id) AS cluster_id, 1 AS n, coalesce(p.n_sent, 0) AS num,
               least(date_diff('day', CAST(g.created_at AS DATE), coalesce(CAST(g.dissolved_at AS DATE), DATE '{day}')),
                     {LOOK_DAYS}) / 7.0 AS den
        FROM groups AS g LEFT JOIN (
            SELECT group_id, count(*) AS n_sent FROM deliveries
            WHERE status = 'sent' AND CAST(sent_at AS DATE) > DATE '{day}' - {LOOK_DAYS}
            GROUP BY group_id) AS p ON p.group_id = g.group_id
        WHERE CAST(g.created_at AS DATE) < DATE '{day}'
          AND coalesce(CAST(g.dissolved_at AS DATE), DATE '{day}') > DATE '{day}' - {LOOK_DAYS} {_of_store(reading, "g.group_id")}"""
    return {
        "response_share": ratio(reading, f"""SELECT cluster_id, n_members AS n, least(n_responders, n_members) AS num, n_members AS den
                                             FROM {went} AND n_members > 0 AND n_responders IS NOT NULL""", "proportion", "response_share", True),
        "order_share": ratio(reading, f"""SELECT cluster_id, n_responders AS n, n_orders AS num, n_responders AS den
                                          FROM {went} AND n_responders > 0 AND n_orders IS NOT NULL""", "ratio", "response_order_share", True),
        "confirmed_share": ratio(reading, f"""SELECT cluster_id, 1 AS n, CASE WHEN status = 'sent' THEN 1 ELSE 0 END AS num, 1 AS den
                                              FROM ({sent}) AS d""", "proportion", "post_confirmed_share", True),
        "late_share": ratio(reading, f"""SELECT cluster_id, 1 AS n, {late} AS num, 1 AS den
                                         FROM {went} AND scheduled_at IS NOT NULL""", "proportion", "post_late_share", True),
        "posts_week": ratio(reading, weeks, "ratio", "posts_week", True),
    }  # fmt: skip


def within(y: np.ndarray, x: np.ndarray, offset: np.ndarray, group: np.ndarray) -> tuple[float, float, int] | None:
    """Return the log effect of `x` on a rate, its standard error, and the number of groups that tell it; None if none do.

    Poisson with a level of its own per group (conditional likelihood), so that only changes within groups count; the error is
    clustered by group (sandwich). `offset` is the exposure; rows without exposure are left out.
    """
    kept = (offset > 0) & np.isfinite(x)
    y, x, offset = (np.asarray(v, float)[kept] for v in (y, x, offset))
    group = np.unique(np.asarray(group)[kept], return_inverse=True)[1]
    n = int(group.max()) + 1 if len(group) else 0
    total = np.bincount(group, y, n)
    beta, info, mean = 0.0, 0.0, np.zeros(0)
    for _ in range(30):
        weight = offset * np.exp(beta * (x - x.mean())) if len(x) else offset
        mean = total[group] * weight / np.bincount(group, weight, n)[group]
        centre = (np.bincount(group, mean * x, n) / np.maximum(np.bincount(group, mean, n), 1e-300))[group]
        info = float((mean * (x - centre) ** 2).sum())
        if info <= 1e-9:
            return None
        step = float(((y - mean) * x).sum()) / info
        beta += float(np.clip(step, -1, 1))
        if abs(step) < 1e-9:
            break
    score = np.bincount(group, (y - mean) * (x - centre), n)
    told = int((np.bincount(group, mean * (x - centre) ** 2, n) > 0).sum())
    if told < LEAST_GROUPS:
        return None
    return beta, float(np.sqrt((score**2).sum() * told / (told - 1))) / info, told


def _effect(frame: pd.DataFrame, sign: float, source: str) -> Range | None:
    if frame.empty:
        return None
    found = within(
        frame["y"].to_numpy(float),
        np.log2(frame["posts"].to_numpy(float)),
        frame["exposure"].to_numpy(float),
        frame["group_id"].to_numpy(),
    )
    if found is None:
        return None
    beta, se, told = found
    low, mid, high = cut_at_zero(sign * beta, se * float(stdtrit(told - 1, 0.95)) / Z90)
    return Range(mid, low, high, "positive", "data", float(told), source)


def within_effects(reading: Reading) -> dict[str, Range | None]:
    """Return the response lost, and the hazard of quitting gained, per doubling of posts within 7 days.

    Both compare a group with itself at other times. Quits are set against what the group's mix of new and old members leads to
    expect (hazards by days since joining, over all groups). The number of posts counts one more than were sent, so that none is no
    infinity. Taken as known: more posts never raise the response and never keep members; an estimate near 0 is cut there. Descriptive: who chose the days of many posts may have known more.
    """
    return {
        "fatigue_effect": _effect(_fatigue(reading), -1.0, "fatigue_effect"),
        "pressure_effect": _effect(_pressure(reading), 1.0, "pressure_effect"),
    }


def _posts7(reading: Reading) -> str:
    day, mine = reading.as_of, _of_store(reading)
    return f"""
        posted AS (
            SELECT group_id, CAST(sent_at AS DATE) AS on_day, count(*) AS n FROM deliveries
            WHERE status = 'sent' AND CAST(sent_at AS DATE) > DATE '{day}' - {LOOK_DAYS + 7} {mine}
            GROUP BY ALL
        ),
        days AS (SELECT CAST(unnest(generate_series(DATE '{day}' - {LOOK_DAYS + 6}, DATE '{day}', INTERVAL '1' DAY)) AS DATE) AS on_day),
        pressed AS (
            SELECT g.group_id, d.on_day, d.on_day >= DATE '{day}' - {LOOK_DAYS - 1} AS is_told,
                   sum(coalesce(p.n, 0)) OVER (PARTITION BY g.group_id ORDER BY d.on_day ROWS 6 PRECEDING) AS posts7
            FROM (SELECT group_id, created_at FROM groups WHERE TRUE {mine}) AS g
            JOIN days AS d ON d.on_day >= CAST(g.created_at AS DATE)
            LEFT JOIN posted AS p ON p.group_id = g.group_id AND p.on_day = d.on_day
        )"""


def _fatigue(reading: Reading) -> pd.DataFrame:
    values = {"store": reading.store} if reading.store else None
    return reading.engine.execute(
        f"""
        WITH {_posts7(reading)}
        SELECT p.group_id, p.posts7 AS posts, CAST(sum(d.n_responders) AS DOUBLE) AS y, CAST(sum(d.n_members) AS DOUBLE) AS exposure
        FROM deliveries AS d JOIN pressed AS p ON p.group_id = d.group_id AND p.on_day = CAST(d.sent_at AS DATE)
        WHERE d.status = 'sent' AND p.is_told AND p.posts7 > 0 AND d.n_members > 0 AND d.n_responders IS NOT NULL
        GROUP BY ALL ORDER BY ALL""",
        values,
    ).df()


def _pressure(reading: Reading) -> pd.DataFrame:
    """Quits and expected quits by group and posts of 7 days; presence by days since joining comes from running sums of events."""
    values = {"store": reading.store} if reading.store else None
    return reading.engine.execute(
        f"""
        WITH {_posts7(reading)},
        ages AS (SELECT * FROM (VALUES (0, 7), (7, 30), (30, 90), (90, 100000)) AS a(low, high)),
        spells AS (
            SELECT s.group_id, a.low, s.joined_on + a.low AS from_on, least(coalesce(s.left_on + 1, DATE '9999-01-01'), s.joined_on + a.high) AS to_on,
                   CASE WHEN s.left_on >= s.joined_on + a.low AND s.left_on < s.joined_on + a.high THEN s.left_on END AS quit_on
            FROM membership_facts AS s CROSS JOIN ages AS a
            WHERE (s.left_on IS NULL OR s.left_on >= s.joined_on + a.low) AND s.joined_on + a.low <= DATE '{reading.as_of}'
        ),
        moves AS (
            SELECT group_id, low, from_on AS on_day, 1 AS step, 0 AS quit FROM spells
            UNION ALL SELECT group_id, low, to_on, -1, 0 FROM spells WHERE to_on <= DATE '{reading.as_of}'
            UNION ALL SELECT group_id, low, quit_on, 0, 1 FROM spells WHERE quit_on IS NOT NULL
        ),
        before AS (
            SELECT group_id, low, greatest(on_day, DATE '{reading.as_of}' - {LOOK_DAYS - 1}) AS on_day, sum(step) AS step,
                   sum(CASE WHEN on_day >= DATE '{reading.as_of}' - {LOOK_DAYS - 1} THEN quit ELSE 0 END) AS quit
            FROM moves GROUP BY ALL
        ),
        panel AS (
            SELECT p.group_id, p.on_day, p.posts7, a.low, coalesce(b.quit, 0) AS quit,
                   sum(coalesce(b.step, 0)) OVER (PARTITION BY p.group_id, a.low ORDER BY p.on_day) AS present
            FROM pressed AS p CROSS JOIN ages AS a
            LEFT JOIN before AS b ON b.group_id = p.group_id AND b.low = a.low AND b.on_day = p.on_day
            WHERE p.is_told
        ),
        usual AS (SELECT low, sum(quit) / sum(present) AS hazard FROM panel WHERE present > 0 GROUP BY low)
        SELECT p.group_id, p.posts7 + 1 AS posts, CAST(sum(p.quit) AS DOUBLE) AS y, sum(p.present * u.hazard) AS exposure
        FROM panel AS p JOIN usual AS u ON u.low = p.low WHERE p.present > 0
        GROUP BY ALL ORDER BY ALL""",
        values,
    ).df()
