"""How long a post lives: when half of the messages that it provoked have come, and what a second post of the same category gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqkit.reading import Reading, remembered
from sqkit.timing.cells import cells
from sqkit.timing.content import controls, rows
from sqkit.timing.effects import Pair, pair
from sqkit.timing.posted import posted
from sqkit.timing.response import seed_of

__all__ = ["CLEAR_HOURS", "HalfLife", "Repost", "half_life", "repost"]

NEEDS = ("messages", "messages.sent_at", "deliveries.sent_at")
CLEAR_HOURS = 6  # without another post before and after: what comes in this time is the post's
SHIFTS = (-7, -2, -1, 1, 2, 7)  # days to the same clock time, for what comes without a post
LEAST_GROUPS = 8
LEAST_PROVOKED = 200
DRAWS = 1000
NEAR, WEEK = 3, 7  # days since the last post of the category


@dataclass(frozen=True)
class HalfLife:
    """How long posts are answered.

    Attributes
    ----------
    minutes, low, high : float
        From the real sending until half of the provoked messages have come; 95% interval, groups drawn anew.
    most, most_low, most_high : float
        Until 90% have come.
    provoked, provoked_low, provoked_high : float
        Messages of members beyond the usual, per post.
    curve : DataFrame
        ``minute``, ``share`` of provoked messages come by then, ``low``, ``high``.
    n_posts, n_groups : int
        Posts in a group that stand clear of others.
    n_messages : int
        Messages of members in the hours after them.
    reason : str
        ``""``, ``missing``, ``not_enough_data``, ``no_answer`` (not more messages than without a post).
    """

    minutes: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    most: float = float("nan")
    most_low: float = float("nan")
    most_high: float = float("nan")
    provoked: float = float("nan")
    provoked_low: float = float("nan")
    provoked_high: float = float("nan")
    curve: pd.DataFrame | None = None
    n_posts: int = 0
    n_groups: int = 0
    n_messages: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Repost:
    """What a second post of the same category, under another title, gets.

    Attributes
    ----------
    near, week : Pair
        A post within 3 days, and within 4 to 7, of the last of its category in the group, over posts whose category was not there for a
        week.
    unreached : float
        Members of a group who did not respond to a post, as a share of members; NaN where members are unknown.
    reason : str
        ``""``, ``missing``, or why `near` could not be compared.
    """

    near: Pair
    week: Pair
    unreached: float = float("nan")
    reason: str = ""


@remembered
def half_life(reading: Reading) -> HalfLife:
    """Return when half of the messages that posts provoked have come.

    Posts that stand at least six hours clear of others in their group; members' messages by minutes since the real sending; less those
    of the same clock time one, two and seven days before and after, where no post was near either. Replies to replies count: they would
    not have come without the post. Groups are clusters. Smallest sample: 8 groups, 200 messages beyond the usual. Descriptive.
    """
    if reading.source.missing(*NEEDS):
        return HalfLife(reason="missing")
    posted(reading)
    counts = _counts(reading)
    n_posts, n_groups = int(counts.n.sum()), int((counts.n > 0).sum())
    made = counts.after - counts.usual
    total = made.sum(axis=0)
    sizes = {"n_posts": n_posts, "n_groups": n_groups, "n_messages": int(counts.after.sum())}
    if n_groups < LEAST_GROUPS or counts.after.sum() < LEAST_PROVOKED:
        return HalfLife(reason="not_enough_data", **sizes)
    rng = np.random.default_rng(seed_of(reading, "half_life"))
    weights = rng.multinomial(len(made), np.full(len(made), 1 / len(made)), size=DRAWS).astype(float)
    drawn = weights @ made
    sums = drawn.sum(axis=1)
    if total.sum() < LEAST_PROVOKED or np.quantile(sums, 0.025) <= 0:
        return HalfLife(reason="no_answer", **sizes)
    share = np.cumsum(total) / total.sum()
    shares = np.cumsum(drawn, axis=1) / sums[:, None]
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    half, most = ([_when(s, at) for s in shares] for at in (0.5, 0.9))
    per_post = sums / (weights @ counts.n)
    minute = np.arange(1, len(share) + 1)
    return HalfLife(
        _when(share, 0.5),
        *np.quantile(half, [0.025, 0.975]),
        _when(share, 0.9),
        *np.quantile(most, [0.025, 0.975]),
        total.sum() / n_posts,
        *np.quantile(per_post, [0.025, 0.975]),
        pd.DataFrame({"minute": minute, "share": share, "low": low, "high": high}),
        **sizes,
    )


@dataclass(frozen=True)
class _Counts:
    n: np.ndarray  # posts by group
    after: np.ndarray  # messages by group and minute
    usual: np.ndarray  # the same without a post


def _counts(reading: Reading) -> _Counts:
    engine, clear = reading.engine, f"INTERVAL {CLEAR_HOURS} HOUR"
    day = f"DATE '{reading.as_of.isoformat()}'"
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE clear_posts AS
        WITH sent AS (SELECT group_id, sent_at, lag(sent_at) OVER g AS last_at, lead(sent_at) OVER g AS next_at
                      FROM post_facts WHERE status = 'sent' AND sent_at IS NOT NULL
                      WINDOW g AS (PARTITION BY group_id ORDER BY sent_at, post_id)),
        alone AS (SELECT group_id, sent_at FROM sent
                  WHERE coalesce(last_at <= sent_at - {clear}, TRUE) AND coalesce(next_at >= sent_at + {clear}, TRUE)
                    AND sent_at + {clear} < {day} + INTERVAL 1 DAY AND group_id IN (SELECT group_id FROM posted)),
        span AS (SELECT group_id, min(sent_at) AS first_at, max(sent_at) AS last_at FROM sent GROUP BY 1),
        shifted AS (SELECT a.group_id, a.sent_at, s.shift, a.sent_at + s.shift * INTERVAL 1 DAY AS at
                    FROM alone AS a CROSS JOIN (VALUES {", ".join(f"({s})" for s in SHIFTS)}) AS s(shift)),
        free AS (SELECT f.group_id, f.sent_at, f.shift FROM shifted AS f ASOF JOIN sent AS s
                 ON s.group_id = f.group_id AND s.sent_at < f.at + {clear}
                 JOIN span ON span.group_id = f.group_id
                 WHERE s.sent_at <= f.at - {clear} AND f.at + {clear} <= span.last_at)
        SELECT group_id, sent_at, list(shift ORDER BY shift) AS shifts, len(list(shift)) AS n_shifts FROM free GROUP BY 1, 2"""
    )
    minutes = CLEAR_HOURS * 60
    parts = " UNION ALL ".join(
        f"""SELECT c.group_id, {s} AS shift, CAST(floor(date_diff('second', c.sent_at, m.at) / 60) AS INTEGER) AS minute,
                   {"1.0" if s == 0 else f"CASE WHEN list_contains(c.shifts, {s}) THEN 1.0 / c.n_shifts ELSE 0 END"} AS weight
            FROM (SELECT group_id, sent_at - {s} * INTERVAL 1 DAY AS at FROM messages WHERE NOT is_staff) AS m
            ASOF JOIN clear_posts AS c ON c.group_id = m.group_id AND c.sent_at <= m.at
            WHERE date_diff('second', c.sent_at, m.at) < {minutes * 60}"""
        for s in (0, *SHIFTS)
    )
    found = engine.execute(
        f"SELECT group_id, shift = 0 AS is_after, minute, sum(weight) AS n FROM ({parts}) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ).df()
    groups = engine.execute("SELECT group_id, count(*) AS n FROM clear_posts GROUP BY 1 ORDER BY 1").df()
    place = {g: i for i, g in enumerate(groups.group_id)}
    grids = np.zeros((2, len(groups), minutes))
    np.add.at(grids, (found.is_after.astype(int), found.group_id.map(place).astype(int), found.minute), found.n)
    return _Counts(groups.n.to_numpy(float), grids[1], grids[0])


def _when(share: np.ndarray, at: float) -> float:
    """Return the minute by which a share has come, within its minute by a straight line."""
    i = int(np.argmax(share >= at))
    before = share[i - 1] if i else 0.0
    return float(i + (at - before) / (share[i] - before)) if share[i] > before else float(i + 1)


@remembered
def repost(reading: Reading) -> Repost:
    """Return what a post gets whose category was in the group days ago under another title, against a category not there for a week.

    Hour, weekday, month, posts of the seven days before, class and group held equal; descriptive.
    """
    found = posted(reading)
    total = reading.engine.execute("SELECT sum(y), sum(m) FROM posted").fetchone() if found.n_rows else (None, None)
    unreached = 1 - float(total[0]) / float(total[1]) if found.has_members and total[1] else float("nan")
    unreached = unreached if 0 <= unreached <= 1 else float("nan")
    if not found.n_rows or reading.source.missing("posts.product_category", "posts.title", "deliveries.sent_at"):
        return Repost(Pair(), Pair(), unreached, "missing")
    rows(reading)
    reading.engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE repost_rows AS
        WITH named AS (SELECT *, lag(sent_at) OVER c AS before_at, lag(title) OVER c AS before_title FROM content_rows
                       WHERE product_category IS NOT NULL AND title IS NOT NULL
                       WINDOW c AS (PARTITION BY group_id, product_category ORDER BY sent_at, post_id))
        SELECT *, CASE WHEN before_at IS NULL OR sent_at > before_at + INTERVAL {WEEK} DAY THEN 'late'
                       WHEN before_title = title THEN ''
                       WHEN sent_at > before_at + INTERVAL {NEAR} DAY THEN 'week' ELSE 'near' END AS again FROM named"""
    )
    held = controls(reading)
    some = reading.engine.execute("SELECT count(*) FROM repost_rows").fetchone()[0]
    coded = cells(reading.engine, ["again", *held], "repost_rows") if some else None
    near, week = (pair(coded, "again", held, seed_of(reading, level), (level, "late")) for level in ("near", "week"))
    return Repost(near, week, unreached, near.reason)
