"""Do members leave the groups because too much is posted: more posts, a wave of leaving, and who left where."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.watch.alarm import MONTH_DAYS, Alarm, Estimate, given, step, tail, two_way
from sqkit.reading import Reading, remembered

__all__ = ["FINDING", "LEAST_RISE", "NEEDS", "check"]

FINDING = "leave_wave_from_post_pressure"
NEEDS = ("memberships", "memberships.left_at", "deliveries.sent_at", "groups")
WEEKS = 60  # that are looked at
LAST = range(3, 27)  # weeks that a wave may have lasted
LEAST_BEFORE = 12  # weeks to compare with
LEAST_GROUPS = 8
LEAST_LEFT = 60  # members who left before the wave
LEAST_RISE = 1.2  # posts a week, new over old: less is no pressure
BANDS = (7, 14, 28, 56, 112, 224)  # days in the group


@remembered
def check(reading: Reading) -> Alarm:
    """Look for a wave of leaving that set in with a rise in posts.

    The start is the week from which posts per group and week are higher for good (the clearest of 24 starts, corrected for
    the search). Leaving from then on is compared with the time before by observed over expected: what is expected of a group
    and week follows from how long its members had been in it (leaving slows with time in a group, and newcomers come in
    waves). Members whom staff removed did not leave. The p-value is the larger of the two, so that neither a rise in posts
    nor a wave alone raises the alarm. Where posts rose in some stores only, the others are what leaving is compared with
    (difference in differences). Whether posts are the cause is also read within weeks: log hazard per doubling of posts,
    posts as the mean over the week of those of the last seven days, with a level per group and per week (so a rise everywhere
    at once says nothing here); causal as far as the choice of which group gets a post is free of what makes members leave.

    Returns
    -------
    Alarm
        ``effect``: leaving now over leaving before, same time in the group; ``loss``: members a month; ``facts``: ``posts``
        (multiple), ``posts_before``, ``posts_after`` (a week), ``doubling`` (multiple of leaving per doubling, Estimate),
        ``weeks``. ``series``: week_on, posts, leaving (observed over expected), is_after. Smallest sample: 8 groups, 15
        weeks, 60 who left.
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Alarm("fatigue", FINDING, "missing", missing=lacks)
    cells, posts = _cells(reading), _posts(reading)
    n_groups = cells.group_id.nunique() if len(cells) else 0
    if posts.empty or n_groups < LEAST_GROUPS:
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_groups", n_clusters=n_groups)
    weeks_known = int(posts.age[posts.age < WEEKS].nunique())
    n_left = int(cells.left.sum())
    if weeks_known < LEAST_BEFORE + LAST.start or n_left < LEAST_LEFT:
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_left", n=n_left, n_clusters=n_groups)
    posts = posts[posts.age < WEEKS]
    stores, weeks, p_posts = _affected(posts)
    cells = cells[cells.age.isin(posts.age.unique())]
    before = cells[cells.age >= weeks].groupby("band")[["left", "days"]].sum().reindex(range(len(BANDS) + 1))
    rates = (before.left / before.days).ffill().bfill()
    cells = cells.assign(expected=cells.band.map(rates).fillna(0.0) * cells.days)
    both = cells.groupby(["group_id", "store_id", "age"], as_index=False)[["left", "expected"]].sum()
    both = both.merge(posts.drop(columns="store_id"), on=["group_id", "age"])
    is_hit = both.store_id.isin(stores) if stores else np.ones(len(both), bool)
    hit = both[is_hit]
    log_ratio, error, df = _wave(hit, weeks)
    if stores:
        rest, rest_error, rest_df = _wave(both[~is_hit], weeks)
        log_ratio, error, df = log_ratio - rest, float(np.hypot(error, rest_error)), min(df, rest_df)
    if not np.isfinite(log_ratio):
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_left", n=n_left, n_clusters=n_groups)
    p_wave = tail(log_ratio / error, df)
    rise = _rise(hit, weeks)
    is_rise = rise.value >= LEAST_RISE and rise.low > 1
    p = max(p_posts, p_wave) if is_rise else max(p_posts, p_wave, 0.5)
    doubling = _doubling(both)
    effect = Estimate.of(log_ratio, 1.96 * error).exp()
    now = hit.left[hit.age < weeks].sum() * MONTH_DAYS / 7 / weeks
    told = hit.groupby(hit.age < weeks).posts.mean()
    return Alarm(
        "fatigue",
        FINDING,
        "not_found",
        p=p,
        since=reading.as_of - timedelta(days=7 * weeks - 1),
        stores=stores,
        effect=effect,
        loss=Estimate(*(now * (1 - 1 / m) for m in (effect.value, effect.low, effect.high))),
        is_causal=bool(stores) or (doubling.is_told and doubling.low > 1),
        n=n_left,
        n_clusters=n_groups,
        facts={
            "posts": rise,
            "posts_before": float(told.get(False, np.nan)),
            "posts_after": float(told.get(True, np.nan)),
            "doubling": doubling,
            "error": error,
            "df": df,
            "weeks": weeks,
            "p_posts": p_posts,
            "p_wave": p_wave,
        },
        series=_series(reading, hit, weeks),
    )


def _affected(posts: pd.DataFrame) -> tuple[tuple[str, ...], int, float]:
    """Return the stores where posts rose (empty for everywhere), for how many weeks, and how sure (corrected for both).

    Stores are looked at one by one; where some rose and others did not, the start is that of those that did, and the others
    are what they are held against. Else all groups together are looked at.
    """
    table = posts.pivot_table(index="age", columns="store_id", values="posts", aggfunc="mean").sort_index(ascending=False)
    rose = {}
    for store in table.columns:
        weekly = table[store].dropna()
        weeks, change, p = step(np.log(weekly.to_numpy() + 0.5), LAST, LEAST_BEFORE)
        if p * len(table.columns) < 0.01 and change >= np.log(LEAST_RISE):
            rose[store] = p * len(table.columns)
    some = 0 < len(rose) < len(table.columns)
    mine = posts[posts.store_id.isin(list(rose))] if some else posts
    weekly = mine.groupby("age").posts.mean().sort_index(ascending=False)
    weeks, _, p = step(np.log(weekly.to_numpy() + 0.5), LAST, LEAST_BEFORE)
    return (tuple(sorted(rose)), weeks, min(1.0, max(p, min(rose.values())))) if some else ((), weeks, p)


def _series(reading: Reading, hit: pd.DataFrame, weeks: int) -> pd.DataFrame:
    shown = hit.groupby("age").agg(left=("left", "sum"), expected=("expected", "sum"), posts=("posts", "mean"))
    shown = shown.sort_index(ascending=False).reset_index()
    return pd.DataFrame(
        {
            "week_on": [reading.as_of - timedelta(days=7 * int(a) + 6) for a in shown.age],
            "posts": shown.posts,
            "leaving": shown.left / shown.expected.where(shown.expected > 0),
            "is_after": shown.age < weeks,
        }
    )


def _cells(reading: Reading) -> pd.DataFrame:
    """Days in groups and leaving, per group, week (0 is the last) and time in the group."""
    day = f"DATE '{reading.as_of.isoformat()}'"
    bands = " ".join(f"WHEN tenure < {b} THEN {i}" for i, b in enumerate(BANDS))
    store = "WHERE store_id = $store" if reading.store else ""
    sql = f"""
    WITH weeks AS (SELECT CAST(a AS INTEGER) AS age, {day} - CAST(7 * a + 6 AS INTEGER) AS first_on,
                          {day} - CAST(7 * a AS INTEGER) AS last_on
                   FROM range({WEEKS}) AS w(a)),
    inside AS (
        SELECT s.group_id, s.store_id, w.age, greatest(date_diff('day', s.joined_on, w.last_on) - 3, 0) AS tenure,
               date_diff('day', greatest(s.joined_on, w.first_on), least(coalesce(s.left_on, w.last_on), w.last_on))
                   + 0.5 AS days,
               CASE WHEN s.left_on <= w.last_on AND coalesce(s.quit_scene, '') <> 'removed' THEN 1 ELSE 0 END AS is_left
        FROM membership_facts AS s JOIN weeks AS w ON s.joined_on <= w.last_on AND coalesce(s.left_on, w.last_on) >= w.first_on
        {store}
    )
    SELECT group_id, coalesce(store_id, '') AS store_id, age, CASE {bands} ELSE {len(BANDS)} END AS band,
           CAST(sum(days) AS DOUBLE) AS days, CAST(sum(is_left) AS BIGINT) AS "left"
    FROM inside GROUP BY ALL ORDER BY ALL
    """
    return reading.engine.execute(sql, given(reading)).df()


def _posts(reading: Reading) -> pd.DataFrame:
    """Posts sent per group and week, 0 where the group got none.

    Weeks from the first post of the brand on, and whole weeks of a group only.

    ``felt`` is the mean over the week's days of the posts of the seven days up to each.
    """
    day = f"DATE '{reading.as_of.isoformat()}'"
    store = "AND g.store_id = $store" if reading.store else ""
    home = "''" if reading.source.missing("groups.store_id") else "coalesce(g.store_id, '')"
    sql = f"""
    WITH each AS (
        SELECT group_id, CAST(date_diff('day', CAST(sent_at AS DATE), {day}) AS INTEGER) AS days
        FROM deliveries WHERE status = 'sent' AND sent_at IS NOT NULL
    ),
    sent AS (
        SELECT group_id, age, sum(posts) AS posts, sum(felt) AS felt FROM (
            SELECT group_id, days // 7 AS age, 1 AS posts, (days % 7 + 1) / 7 AS felt FROM each
            UNION ALL SELECT group_id, days // 7 - 1, 0, (6 - days % 7) / 7 FROM each
        ) AS parts GROUP BY 1, 2
    )
    SELECT g.group_id, {home} AS store_id, CAST(a AS INTEGER) AS age, CAST(coalesce(s.posts, 0) AS DOUBLE) AS posts,
           CAST(coalesce(s.felt, 0) AS DOUBLE) AS felt
    FROM groups AS g CROSS JOIN range(least((SELECT coalesce(max(age), 0) FROM sent), {WEEKS})) AS w(a)
    LEFT JOIN sent AS s ON s.group_id = g.group_id AND s.age = a
    WHERE CAST(g.created_at AS DATE) < {day} - CAST(7 * a + 6 AS INTEGER)
      AND coalesce(CAST(g.dissolved_at AS DATE), {day}) >= {day} - CAST(7 * a AS INTEGER) {store}
    ORDER BY 1, 2
    """
    if reading.source.missing("groups.dissolved_at"):
        sql = sql.replace("g.dissolved_at", "NULL")
    return reading.engine.execute(sql, given(reading)).df()


def _wave(both: pd.DataFrame, weeks: int) -> tuple[float, float, float]:
    """Return the logarithm of leaving now over before, its error and its degrees of freedom.

    The error is the larger of two: over groups, and over weeks (a wave is shared by all groups of a week).
    """
    new = (both.age < weeks).to_numpy()
    o_new, e_new = both.left[new].sum(), both.expected[new].sum()
    o_old, e_old = both.left[~new].sum(), both.expected[~new].sum()
    if min(o_new, e_new, o_old, e_old) <= 0:
        return np.nan, np.nan, 1.0
    ratio = (o_new / e_new) / (o_old / e_old)
    share = pd.Series(
        np.where(new, (both.left - o_new / e_new * both.expected) / o_new, -(both.left - o_old / e_old * both.expected) / o_old),
        both.index,
    )
    errors, sizes = [], []
    for unit in ("group_id", "age"):
        moved = share.groupby(both[unit]).sum().to_numpy()
        n = len(moved)
        errors.append(np.sqrt((moved**2).sum() * n / max(n - 1, 1)))
        sizes.append(n)
    worst = int(np.argmax(errors))
    floor = np.sqrt(1 / o_new + 1 / o_old)
    return float(np.log(ratio)), float(max(errors[worst], floor)), float(sizes[worst] - 2)


def _rise(both: pd.DataFrame, weeks: int) -> Estimate:
    """Posts a group and week, new over old, groups as clusters."""
    part = (
        both.assign(is_new=both.age < weeks)
        .pivot_table(index="group_id", columns="is_new", values="posts", aggfunc="mean")
        .dropna()
    )
    if part.shape[1] < 2 or len(part) < 2 or part[False].sum() <= 0:
        return Estimate()
    old, new = part[False].to_numpy(), part[True].to_numpy()
    ratio = new.sum() / old.sum()
    n = len(old)
    error = np.sqrt(((new / new.sum() - old / old.sum()) ** 2).sum() * n / (n - 1)) if new.sum() > 0 else np.inf
    return Estimate.of(np.log(max(ratio, 1e-9)), 1.96 * error).exp()


def _doubling(both: pd.DataFrame) -> Estimate:
    """Multiple of leaving per doubling of posts of the week, with a level per group and week."""
    used = both[both.expected > 0]
    fit = two_way(
        used.left.to_numpy(),
        np.log(used.expected.to_numpy()),
        pd.factorize(used.group_id)[0],
        used.age.to_numpy(),
        np.log2(used.felt.to_numpy() + 1.0)[:, None],
    )
    return Estimate() if fit is None else fit.estimate().exp()
