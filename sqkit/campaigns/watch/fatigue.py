"""Do members leave the groups because too much is posted: a rise in posts, a wave of leaving, and who left where more was posted."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.watch.alarm import MONTH_DAYS, Alarm, Estimate, step, tail, two_way
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

    The start is the week from which posts per group and week are higher for good (the clearest of 24 starts, corrected for the
    search). Leaving from then on is compared with the time before by observed over expected: what is expected of a group and week
    follows from how long its members had been in it (leaving slows with time in a group, and newcomers come in waves). Members
    whom staff removed did not leave. The p-value is the larger of the two, so that neither a rise in posts nor a wave alone raises the
    alarm. Whether posts are the cause is read within weeks: log hazard per doubling of posts, posts as the mean over the week of those of the last
    seven days, with a level per group and per week (so a rise everywhere at once says nothing here); causal as far as the choice of which group gets a post is free of
    what makes members leave.

    Returns
    -------
    Alarm
        ``effect``: leaving now over leaving before, same time in the group; ``loss``: members a month; ``facts``: ``posts`` (multiple),
        ``posts_before``, ``posts_after`` (a week), ``doubling`` (multiple of leaving per doubling, Estimate), ``weeks``.
        ``series``: week_on, posts, leaving (observed over expected), is_after.
        Smallest sample: 8 groups, 15 weeks, 60 who left.
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Alarm("fatigue", FINDING, "missing", missing=lacks)
    cells, posts = _cells(reading), _posts(reading)
    n_groups = cells.group_id.nunique() if len(cells) else 0
    if posts.empty or n_groups < LEAST_GROUPS:
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_groups", n_clusters=n_groups)
    weekly = posts.groupby("age").posts.mean().sort_index(ascending=False)
    weekly = weekly[weekly.index < WEEKS]
    if len(weekly) < LEAST_BEFORE + LAST.start or cells.left.sum() < LEAST_LEFT:
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_left", n=int(cells.left.sum()), n_clusters=n_groups)
    weeks, _, p_posts = step(np.log(weekly.to_numpy() + 0.5), LAST, LEAST_BEFORE)
    cells = cells[cells.age.isin(weekly.index)]
    before = cells[cells.age >= weeks]
    rates = before.groupby("band").left.sum() / before.groupby("band").days.sum()
    cells = cells.assign(expected=cells.band.map(rates).fillna(0.0) * cells.days)
    both = cells.groupby(["group_id", "store_id", "age"], as_index=False)[["left", "expected"]].sum()
    both = both.merge(posts, on=["group_id", "age"], how="left").dropna(subset=["posts"])
    ratio, excess, error, df = _wave(both, weeks)
    if not np.isfinite(error):
        return Alarm("fatigue", FINDING, "not_enough_data", reason="few_left", n=int(cells.left.sum()), n_clusters=n_groups)
    p_wave = tail(np.log(ratio) / error, df)
    rise = _rise(both, weeks)
    p = max(p_posts, p_wave)
    if not (rise.value >= LEAST_RISE and rise.low > 1):
        p = max(p, 0.5)
    doubling = _doubling(both)
    half = 1.96 * error
    a_month = MONTH_DAYS / 7 / weeks
    effect = Estimate.of(np.log(ratio), half).exp()
    new = both[both.age < weeks]
    loss = Estimate(*(new.left.sum() * (1 - 1 / r) * a_month for r in (effect.value, effect.low, effect.high)))
    told = posts.groupby(posts.age < weeks).posts.mean()
    shown = both.groupby("age").agg(left=("left", "sum"), expected=("expected", "sum")).sort_index(ascending=False)
    shown = pd.DataFrame(
        {
            "week_on": [reading.as_of - timedelta(days=7 * int(a) + 6) for a in weekly.index],
            "posts": weekly.to_numpy(),
            "leaving": (shown.left / shown.expected.where(shown.expected > 0)).reindex(weekly.index).to_numpy(),
            "is_after": weekly.index.to_numpy() < weeks,
        }
    )
    return Alarm(
        "fatigue",
        FINDING,
        "not_found",
        p=p,
        since=reading.as_of - timedelta(days=7 * weeks - 1),
        stores=_stores(both, weeks),
        effect=effect,
        loss=loss,
        is_causal=doubling.is_told and doubling.low > 1,
        n=int(both.left.sum()),
        n_clusters=n_groups,
        facts={
            "posts": rise,
            "posts_before": float(told.get(False, np.nan)),
            "posts_after": float(told.get(True, np.nan)),
            "doubling": doubling,
            "weeks": weeks,
            "p_posts": p_posts,
            "p_wave": p_wave,
        },
        series=shown,
    )


def _cells(reading: Reading) -> pd.DataFrame:
    """Days in groups and leaving, per group, week (0 is the last) and time in the group."""
    day = f"DATE '{reading.as_of.isoformat()}'"
    bands = " ".join(f"WHEN tenure < {b} THEN {i}" for i, b in enumerate(BANDS))
    store = f"AND store_id = '{reading.store}'" if reading.store else ""
    sql = f"""
    WITH weeks AS (SELECT CAST(a AS INTEGER) AS age, {day} - CAST(7 * a + 6 AS INTEGER) AS first_on, {day} - CAST(7 * a AS INTEGER) AS last_on
                   FROM range({WEEKS}) AS w(a)),
    inside AS (
        SELECT s.group_id, s.store_id, w.age, greatest(date_diff('day', s.joined_on, w.last_on) - 3, 0) AS tenure,
               date_diff('day', greatest(s.joined_on, w.first_on), least(coalesce(s.left_on, w.last_on), w.last_on)) + 0.5 AS days,
               CASE WHEN s.left_on <= w.last_on AND coalesce(s.quit_scene, '') <> 'removed' THEN 1 ELSE 0 END AS is_left
        FROM membership_facts AS s JOIN weeks AS w ON s.joined_on <= w.last_on AND coalesce(s.left_on, w.last_on) >= w.first_on
        WHERE s.joined_on <= {day} {store}
    )
    SELECT group_id, coalesce(store_id, '') AS store_id, age, CASE {bands} ELSE {len(BANDS)} END AS band,
           CAST(sum(days) AS DOUBLE) AS days, CAST(sum(is_left) AS BIGINT) AS "left"
    FROM inside GROUP BY ALL ORDER BY ALL
    """
    return reading.engine.execute(sql).df()


def _posts(reading: Reading) -> pd.DataFrame:
    """Posts sent per group and week, 0 where the group got none; weeks from the first post of the brand on, whole weeks of a group only.

    ``felt`` is the mean over the week's days of the posts of the seven days up to each.
    """
    day = f"DATE '{reading.as_of.isoformat()}'"
    store = f"AND g.store_id = '{reading.store}'" if reading.store else ""
    sql = f"""
    WITH each AS (
        SELECT group_id, CAST(date_diff('day', CAST(sent_at AS DATE), {day}) AS INTEGER) AS days
        FROM deliveries WHERE status = 'sent' AND sent_at IS NOT NULL AND CAST(sent_at AS DATE) <= {day}
    ),
    sent AS (
        SELECT group_id, age, sum(posts) AS posts, sum(felt) AS felt FROM (
            SELECT group_id, days // 7 AS age, 1 AS posts, (days % 7 + 1) / 7 AS felt FROM each
            UNION ALL SELECT group_id, days // 7 - 1, 0, (6 - days % 7) / 7 FROM each
        ) AS parts GROUP BY 1, 2
    )
    SELECT g.group_id, CAST(a AS INTEGER) AS age, CAST(coalesce(s.posts, 0) AS DOUBLE) AS posts,
           CAST(coalesce(s.felt, 0) AS DOUBLE) AS felt
    FROM groups AS g CROSS JOIN range(least((SELECT coalesce(max(age), 0) FROM sent), {WEEKS})) AS w(a)
    LEFT JOIN sent AS s ON s.group_id = g.group_id AND s.age = a
    WHERE CAST(g.created_at AS DATE) < {day} - CAST(7 * a + 6 AS INTEGER)
      AND coalesce(CAST(g.dissolved_at AS DATE), {day}) >= {day} - CAST(7 * a AS INTEGER) {store}
    ORDER BY 1, 2
    """
    if reading.source.missing("groups.dissolved_at"):
        sql = sql.replace("g.dissolved_at", "NULL")
    return reading.engine.execute(sql).df()


def _wave(both: pd.DataFrame, weeks: int) -> tuple[float, float, float, float]:
    """Return leaving now over before, members lost beyond it, the error of its logarithm and its degrees of freedom.

    The error is the larger of two: over groups, and over weeks (a wave is shared by all groups of a week).
    """
    new = (both.age < weeks).to_numpy()
    o_new, e_new = both.left[new].sum(), both.expected[new].sum()
    o_old, e_old = both.left[~new].sum(), both.expected[~new].sum()
    if min(o_new, e_new, o_old, e_old) <= 0:
        return np.nan, np.nan, np.nan, 1.0
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
    return float(ratio), float(o_new * (1 - 1 / ratio)), float(max(errors[worst], floor)), float(sizes[worst] - 2)


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


def _stores(both: pd.DataFrame, weeks: int) -> tuple[str, ...]:
    """Stores where posts rose; empty where they rose in all."""
    part = (
        both.assign(is_new=both.age < weeks)
        .pivot_table(index="store_id", columns="is_new", values="posts", aggfunc="mean")
        .dropna()
    )
    if part.shape[1] < 2:
        return ()
    rose = part[True] >= LEAST_RISE * part[False]
    return () if rose.all() else tuple(part.index[rose])
