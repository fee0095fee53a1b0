"""When members are active of their own accord: what they write and when they buy, the brand's own posts taken out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.reading import Reading, remembered
from sqkit.timing import clock
from sqkit.timing.clustered import Fit, relative, t_quantile
from sqkit.timing.model import OTHER_LEVEL

__all__ = ["AFTER", "Rhythm", "messages", "purchases"]

AFTER = {"0-1": (0, 1), "1-3": (1, 3), "3-12": (3, 12)}  # hours after a post; later is "12+"
OWN = ("3-12", "12+")  # the hours that count as the members' own
LEAST, LEAST_CLUSTERS, LEAST_CELL = 500, 8, 10  # events, clusters, events of an hour
TOLD_REPLIES = 0.1  # of messages that answer nobody, from which on replies can be told from the rest
LEAST_QUIET = 0.1  # of an hour's exposure that must lie three hours after a post or later for the hour to be read
PEAK_HOURS = 6  # a peak that many hours cannot be told from is no peak
STREAM_OF = {"messages": "messages", "purchases": "orders"}


@dataclass(frozen=True)
class Rhythm:
    """The members' day.

    Attributes
    ----------
    what : str
        ``messages`` or ``purchases``.
    hours : DataFrame
        One row per hour 0 to 23: ``hour``; ``n`` (events as counted); ``raw`` (their number relative to an even day); ``n_own`` (events
        of their own accord); ``ratio``, ``low``, ``high`` (rate of their own accord relative to an even day, 95% simultaneous over the
        hours; NaN where the hour has fewer than ten events, or is
        hardly ever three hours after a post); ``is_peak`` (cannot be told from the busiest hour).
    weekdays : DataFrame
        The same by ``weekday`` 1 (Monday) to 7, of purchases; else empty.
    cells : DataFrame
        Purchases by ``weekday`` and ``hour``: ``ratio`` to an even week; else empty.
    after : DataFrame
        One row per time since the group's last post: ``after``, ``n``, ``ratio``, ``low``, ``high``: messages relative to what the hour
        brings of its own accord.
    peak : tuple of int
        Hours that cannot be told from the busiest; empty where there is no peak.
    raw_peak : int
        Busiest hour as counted, -1 if none.
    provoked : tuple of float
        Share of the messages that the brand's posts brought, with its 95% interval; NaN where it cannot be read.
    is_made_by_posts : bool or None
        Whether the busiest hour as counted is none of the peak hours of their own accord; None where that cannot be told.
    n, n_own, n_clusters : int
    cluster : str
        What is drawn as a whole: ``group``, ``store`` or ``week``.
    has_replies : bool
        Whether replies are counted too, because the source does not tell them apart.
    reason : str
        Why not: ``missing`` (no such table or no hours), ``not_enough_data``, ``shifted`` (the clock is off, hours are not local); else ''.
    """

    what: str
    hours: pd.DataFrame = field(default_factory=pd.DataFrame)
    weekdays: pd.DataFrame = field(default_factory=pd.DataFrame)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    after: pd.DataFrame = field(default_factory=pd.DataFrame)
    peak: tuple[int, ...] = ()
    raw_peak: int = -1
    provoked: tuple[float, float, float] = (float("nan"),) * 3
    is_made_by_posts: bool | None = None
    n: int = 0
    n_own: int = 0
    n_clusters: int = 0
    cluster: str = ""
    has_replies: bool = False
    reason: str = ""


@remembered
def messages(reading: Reading) -> Rhythm:
    """Read when members write of their own accord.

    Messages of members that answer nobody are counted by group, hour and time since the group's last post; exposure is member-hours
    (hours where memberships or group sizes are not known). The hour's rate comes from hours at least three after a post; each group
    keeps its own level, and groups are the clusters (weeks, where there are fewer than eight groups). Replies are left out where the
    source marks them. Descriptive; smallest sample 500 such messages, 8 clusters. Domain S3.15, S3.17.

    Returns
    -------
    Rhythm
    """
    source = reading.source
    if not source.has("messages.sent_at") or clock.shift(reading).reason == "no_activity":
        return Rhythm("messages", reason="missing")
    has_replies = _hour_cells(reading)
    groups = reading.engine.execute("SELECT count(DISTINCT cluster) FROM rhythm_cells WHERE n > 0").fetchone()[0]
    made = _by_week(reading, "messages") if groups < LEAST_CLUSTERS else _corrected(reading, groups)
    return replace(made, has_replies=has_replies)


@remembered
def purchases(reading: Reading) -> Rhythm:
    """Read when members buy: orders of members by hour and by weekday, in local time.

    Hours are clustered by store (group or week where there are fewer than eight), weekdays by week. Orders that follow a post of the
    brand are not taken out: what a post sells is told by a comparison with groups that got none. Descriptive; smallest sample 500 orders.

    Returns
    -------
    Rhythm
    """
    if not reading.source.has("orders.ordered_at"):
        return Rhythm("purchases", reason="missing")
    where, values = _mine(reading)
    base = f"""FROM order_facts WHERE member_id IS NOT NULL AND date_trunc('day', ordered_at) <> ordered_at {where}"""
    for name in ("store", "group"):
        column = f"{name}_id"
        n = reading.engine.execute(f"SELECT count(DISTINCT {column}) {base}", values).fetchone()[0]
        if n >= LEAST_CLUSTERS:
            break
    else:
        name, column = "week", "CAST(date_trunc('week', ordered_on) AS VARCHAR)"
    rows = reading.engine.execute(
        f"""SELECT {column} AS cluster, CAST(extract(HOUR FROM ordered_at) AS INTEGER) AS hour, count(*) AS n {base}
        AND {column} IS NOT NULL GROUP BY ALL ORDER BY cluster, hour""",
        values,
    ).df()
    made = _even(reading, "purchases", rows, name)
    if made.reason == "missing" or made.hours.empty:
        return made
    days = reading.engine.execute(
        f"""SELECT date_trunc('week', ordered_on) AS cluster, isodow(ordered_on) AS weekday,
                   CAST(extract(HOUR FROM ordered_at) AS INTEGER) AS hour, count(*) AS n {base}
        GROUP BY ALL ORDER BY cluster, weekday, hour""",
        values,
    ).df()
    return replace(made, weekdays=_weekdays(days), cells=_cells(days))


def _mine(reading: Reading, column: str = "store_id") -> tuple[str, dict | None]:
    return (f"AND {column} = $store", {"store": reading.store}) if reading.store else ("", None)


def _hour_cells(reading: Reading) -> bool:
    """Build ``rhythm_said``, the messages that count, and ``rhythm_cells``, events and exposure by group, hour and time since the last post.

    Returns whether replies are among them.
    """
    source, run = reading.source, reading.engine.execute
    where, values = _mine(reading)
    is_sized = source.has("memberships.joined_at", "deliveries.n_members")
    size = "coalesce(n_members, 0)" if is_sized else "1"
    end = f"TIMESTAMP '{reading.as_of + timedelta(days=1)}'"
    posted = f"""SELECT group_id, sent_at, {size} AS size FROM post_facts
        WHERE status = 'sent' AND sent_at IS NOT NULL AND date_trunc('day', sent_at) <> sent_at {where}"""
    ranges = ", ".join(f"('{name}', INTERVAL '{low}' HOUR, INTERVAL '{high}' HOUR)" for name, (low, high) in AFTER.items())
    places = " ".join(f"WHEN sent_at < last_at + INTERVAL '{high}' HOUR THEN '{name}'" for name, (_, high) in AFTER.items())
    begun = "(SELECT group_id, date_trunc('day', min(sent_at)) AS first_at FROM messages GROUP BY group_id)"
    stays = (
        f"""SELECT s.group_id, sum(date_diff('second', s.joined_at, coalesce(s.left_at, {end}))) / 86400.0 AS hours
            FROM memberships AS s GROUP BY s.group_id"""
        if is_sized
        else f"""SELECT group_id, date_diff('second', first_at, {end}) / 86400.0 AS hours FROM {begun} AS b"""
    )
    mine = "AND m.group_id IN (SELECT group_id FROM groups WHERE store_id = $store)" if reading.store else ""
    written = f"""FROM messages AS m WHERE NOT coalesce(is_staff, FALSE)
        AND date_trunc('day', sent_at) <> sent_at {mine}"""
    alone, of = run(f"SELECT count(*) FILTER (reply_to_member_id IS NULL), count(*) {written}", values).fetchone()
    told = "AND reply_to_member_id IS NULL" if alone >= TOLD_REPLIES * of else ""  # else everything is addressed to somebody
    run(f"CREATE OR REPLACE TEMP TABLE rhythm_said AS SELECT group_id, sent_at {written} {told}", values)
    run(
        f"""CREATE OR REPLACE TEMP TABLE rhythm_cells AS
        WITH went AS ({posted}),
        spans AS (SELECT *, coalesce(lead(sent_at) OVER (PARTITION BY group_id ORDER BY sent_at), {end}) AS next_at FROM went),
        parts AS (
            SELECT s.group_id, s.size, r.name AS after, s.sent_at + r.low AS a, least(s.sent_at + r.high, s.next_at, {end}) AS b
            FROM spans AS s, (VALUES {ranges}) AS r(name, low, high)),
        cut AS (
            SELECT group_id, after, size, date_trunc('hour', a) + INTERVAL '1' HOUR * k AS starts, a, b
            FROM parts, range(0, 10) AS t(k) WHERE b > a AND date_trunc('hour', a) + INTERVAL '1' HOUR * k < b),
        near AS (
            SELECT group_id, after, CAST(extract(HOUR FROM starts) AS INTEGER) AS hour,
                   sum(size * date_diff('second', greatest(a, starts), least(b, starts + INTERVAL '1' HOUR))) / 3600.0 AS exposure
            FROM cut GROUP BY ALL),
        stays AS ({stays}),
        late AS (
            SELECT s.group_id, '12+' AS after, CAST(h AS INTEGER) AS hour, s.hours - coalesce(sum(n.exposure), 0) AS exposure
            FROM stays AS s CROSS JOIN range(0, 24) AS t(h) LEFT JOIN near AS n ON n.group_id = s.group_id AND n.hour = h
            GROUP BY s.group_id, h, s.hours),
        exposed AS (SELECT * FROM near UNION ALL SELECT * FROM late),
        said AS (
            SELECT m.group_id, m.sent_at, p.sent_at AS last_at FROM rhythm_said AS m
            ASOF LEFT JOIN went AS p ON m.group_id = p.group_id AND m.sent_at >= p.sent_at),
        counted AS (
            SELECT group_id, CASE WHEN last_at IS NULL THEN '12+' {places} ELSE '12+' END AS after,
                   CAST(extract(HOUR FROM sent_at) AS INTEGER) AS hour, count(*) AS n FROM said GROUP BY ALL)
        SELECT coalesce(e.group_id, c.group_id) AS cluster, coalesce(e.after, c.after) AS after, coalesce(e.hour, c.hour) AS hour,
               coalesce(c.n, 0) AS n, greatest(coalesce(e.exposure, 0), 0) AS exposure
        FROM exposed AS e FULL JOIN counted AS c ON c.group_id = e.group_id AND c.after = e.after AND c.hour = e.hour""",
        values,
    )
    return not told


def _corrected(reading: Reading, n_groups: int) -> Rhythm:
    rows = reading.engine.execute("SELECT * FROM rhythm_cells ORDER BY cluster, after, hour").df()
    names = [*AFTER, "12+"]
    groups, place = np.unique(rows.cluster.to_numpy(str), return_inverse=True)
    y, exposure = np.zeros((2, len(groups), len(names), 24))
    at = (place, rows.after.map(names.index).to_numpy(), rows.hour.to_numpy())
    y[at], exposure[at] = rows.n, rows.exposure
    own = [names.index(name) for name in OWN]
    quiet_y, quiet_e = y[:, own].sum(1), exposure[:, own].sum(1)
    is_read = quiet_e.sum(0) >= LEAST_QUIET * exposure.sum((0, 1))  # the others are hardly ever three hours after a post
    quiet_y[:, ~is_read] = 0
    n_own = int(quiet_y.sum())
    made = {"n": int(y.sum()), "n_own": n_own, "cluster": "group", "n_clusters": n_groups}
    if n_own < LEAST:
        return Rhythm("messages", reason="not_enough_data", **made)
    hours, fit, kept = _hours(y.sum((0, 1)), quiet_y, quiet_e, is_read)
    rate = np.zeros(24)
    rate[kept] = np.exp(fit.log_rate)
    rate[~is_read] = np.interp(np.flatnonzero(~is_read), np.flatnonzero(is_read), rate[is_read], period=24)
    level = quiet_y.sum(1) / np.maximum((quiet_e * rate).sum(1), 1e-300)
    expected = exposure * (rate * level[:, None])[:, None, :]
    after = [_ratio(name, y[:, i].sum(1), expected[:, i].sum(1)) for i, name in enumerate(names)]
    total, spontaneous = y.sum((1, 2)), np.minimum(expected.sum((1, 2)), y.sum((1, 2)))
    share, low, high = _share(total - spontaneous, total)
    has_posts = exposure[:, :2].sum() > 0
    return _told(
        reading,
        Rhythm(
            "messages",
            hours,
            after=pd.DataFrame(after) if has_posts else pd.DataFrame(),
            provoked=(share, low, high) if has_posts else (float("nan"),) * 3,
            **made,
        ),
    )


def _by_week(reading: Reading, what: str) -> Rhythm:
    rows = reading.engine.execute(
        """SELECT CAST(date_trunc('week', sent_at) AS VARCHAR) AS cluster, CAST(extract(HOUR FROM sent_at) AS INTEGER) AS hour, count(*) AS n
        FROM rhythm_said
        GROUP BY ALL ORDER BY cluster, hour"""
    ).df()
    return _even(reading, what, rows, "week")


def _even(reading: Reading, what: str, rows: pd.DataFrame, cluster: str) -> Rhythm:
    """Read hours that all had the same exposure."""
    n = int(rows.n.sum())
    clusters, place = np.unique(rows.cluster.to_numpy(str), return_inverse=True)
    made = {"n": n, "n_own": n, "cluster": cluster, "n_clusters": len(clusters)}
    if n == 0:
        return Rhythm(what, reason="missing")
    if n < LEAST or len(clusters) < LEAST_CLUSTERS:
        return Rhythm(what, reason="not_enough_data", **made)
    y = np.zeros((len(clusters), 24))
    y[place, rows.hour.to_numpy()] = rows.n
    hours, _, _ = _hours(y.sum(0), y, np.ones_like(y), np.full(24, True))
    return _told(reading, Rhythm(what, hours, **made))


def _hours(counted: np.ndarray, y: np.ndarray, exposure: np.ndarray, is_read: np.ndarray) -> tuple[pd.DataFrame, Fit, np.ndarray]:
    kept = np.flatnonzero(y.sum(0) >= LEAST_CELL)
    fit = relative(y[:, kept], exposure[:, kept])
    scale = len(kept) / is_read.sum()  # of an even day, the hours without activity included
    low, high = fit.bounds()
    table = pd.DataFrame(
        {"hour": range(24), "n": counted.astype(int), "raw": counted / counted.mean(), "n_own": y.sum(0).astype(int)}
    )
    for name, values in (("ratio", np.exp(fit.log_rate) / scale), ("low", low / scale), ("high", high / scale)):
        table[name] = pd.Series(values, index=kept).reindex(range(24))
    for name, level in (("is_peak", 0.95), ("is_near_peak", 1 - OTHER_LEVEL)):
        table[name] = pd.Series(fit.as_high(level), index=kept).reindex(range(24), fill_value=False).astype(bool)
    return table, fit, kept


def _told(reading: Reading, made: Rhythm) -> Rhythm:
    hours = made.hours
    peak = tuple(hours.hour[hours.is_peak].tolist())
    peak = peak if 0 < len(peak) <= PEAK_HOURS and hours.low[hours.ratio.idxmax()] > 1 else ()
    raw_peak = int(hours.n.idxmax())
    by_posts = (not hours.is_near_peak[raw_peak]) if peak and made.provoked[0] == made.provoked[0] else None
    shifted = clock.shift(reading)
    off = shifted.verdict == "shifted" and shifted.stream == STREAM_OF[made.what]
    told = {"peak": peak, "raw_peak": raw_peak, "is_made_by_posts": by_posts, "reason": "shifted" if off else ""}
    return replace(made, **told)


def _weekdays(days: pd.DataFrame) -> pd.DataFrame:
    weeks, place = np.unique(days.cluster.to_numpy(), return_inverse=True)
    y = np.zeros((len(weeks), 7))
    np.add.at(y, (place, days.weekday.to_numpy() - 1), days.n.to_numpy())
    whole = (y > 0).all(1)
    if whole.sum() < LEAST_CLUSTERS:
        return pd.DataFrame()
    y = y[whole]
    fit = relative(y, np.ones_like(y))
    low, high = fit.bounds()
    return pd.DataFrame(
        {
            "weekday": range(1, 8), "n": y.sum(0).astype(int), "ratio": np.exp(fit.log_rate), "low": low, "high": high,
            "is_peak": fit.as_high(),
        }
    )  # fmt: skip


def _cells(days: pd.DataFrame) -> pd.DataFrame:
    n_days = days.groupby("weekday").cluster.nunique()
    cells = (
        days.groupby(["weekday", "hour"])
        .n.sum()
        .unstack(fill_value=0)
        .reindex(index=range(1, 8), columns=range(24), fill_value=0)
    )
    per_day = cells.div(n_days.reindex(range(1, 8)), axis=0).fillna(0.0)
    ratio = per_day / per_day.to_numpy().mean()
    return ratio.stack().rename("ratio").reset_index()


def _ratio(name: str, seen: np.ndarray, expected: np.ndarray) -> dict[str, object]:
    """Return observed over expected over clusters, with a 95% interval on the log scale."""
    total, base, n = seen.sum(), expected.sum(), len(seen)
    told = {"after": name, "n": int(total), "ratio": float("nan"), "low": float("nan"), "high": float("nan")}
    if total <= 0 or base <= 0 or n < 2:
        return told
    value = total / base
    error = np.sqrt(((seen - value * expected) ** 2).sum() * n / (n - 1)) / total
    wide = t_quantile(0.975, n - 1)
    return told | {"ratio": value, "low": value * np.exp(-wide * error), "high": value * np.exp(wide * error)}


def _share(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    n, value = len(whole), part.sum() / whole.sum()
    error = np.sqrt(((part - value * whole) ** 2).sum() * n / (n - 1)) / whole.sum()
    half = t_quantile(0.975, n - 1) * error
    return float(value), float(max(value - half, 0.0)), float(min(value + half, 1.0))
