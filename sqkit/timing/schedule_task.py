"""What a calendar of posts is made from: groups, what they got, how they usually get it, how staff confirm, and who leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from sqkit import calendar, policy
from sqkit.errors import InputError, unknown
from sqkit.policy import Policy
from sqkit.reading import Reading
from sqkit.timing.checks import years_without_calendar
from sqkit.timing.model import Response
from sqkit.timing.posted import posted
from sqkit.timing.response import response, seed_of
from sqkit.timing.schedule_model import Entry, Note
from sqkit.timing.slots import CLASSES, Slot, slot_of, slots

__all__ = ["HORIZONS", "Capacity", "Task", "horizon_days", "task"]

HORIZONS = ("week", "month")
USUAL_WEEKS = 8
LATE_SHARE = 0.9  # of posts that must be out before contact hours end
LATE_UNKNOWN = 120.0  # minutes, where no delay was ever recorded
FEW_POSTS = 3  # a group with this many or fewer gets the rate of its kind
WAVE_WEEKS, WAVE_LEAST, WAVE_RATIO, WAVE_P = 4, 5, 1.5, 0.01
LEAVE_WEEKS = 26


@dataclass(frozen=True)
class Capacity:
    """What one operator can confirm, and the mix of a group's week.

    Attributes
    ----------
    groups : int
        Groups that one operator runs (S2.7: 100 to 150); more are said, and left out.
    per_slot, per_day : int
        Confirmations (one post in one group) of an operator in one slot and one day.
    per_group_day : int
        Posts to one group on one day.
    product_share : float
        Most of a group's week that may be product posts; one other class at least is always there.
    """

    groups: int = 150
    per_slot: int = 75
    per_day: int = 150
    per_group_day: int = 2
    product_share: float = 0.5


@dataclass(frozen=True)
class Task:
    """All that a plan depends on.

    Attributes
    ----------
    groups : DataFrame
        One row per group to plan, by id: ``group_id``, ``operator``, ``n_members``, ``weight`` (members, or 1 where response is counted per
        post), ``rate`` (responders per weight and post, shrunk to its kind; NaN if unknown), ``per_week`` (usual posts), ``is_recovering``.
    sent : DataFrame
        ``group_id``, ``on_day``, ``n``: posts that count towards the caps of the days planned, accepted ones included.
    taken : frozenset of (group_id, date, slot)
        Places that accepted posts hold.
    usual : DataFrame
        ``weekday``, ``scheduled_hour``, ``hour``, ``content_class``, ``n`` over the last eight weeks.
    minutes : dict of str to int
        Usual minute of the day by slot.
    late : float
        Minutes within which nine of ten posts that are sent at all are out.
    delays : tuple of float
        Delays at evenly spaced shares, in minutes.
    contents : int
        Different posts a day.
    leave_rate, leave_power, leave_error : float
        Members who leave per member and week; power by which that grows with posts a week, and its standard error. NaN if unknown.
    """

    source: str
    store: str
    as_of: date
    horizon: str
    first: date
    last: date
    time_zone: str
    rules: Policy
    groups: pd.DataFrame
    sent: pd.DataFrame
    usual: pd.DataFrame
    slots: tuple[Slot, ...] = ()
    minutes: dict[str, int] = field(default_factory=dict)
    late: float = LATE_UNKNOWN
    delays: tuple[float, ...] = (0.0,)
    contents: int = 4
    seen: Response | None = None
    kept_away: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    taken: frozenset[tuple[str, date, str]] = frozenset()
    capacity: Capacity = Capacity()
    leave_rate: float = float("nan")
    leave_power: float = float("nan")
    leave_error: float = float("nan")
    seed: int = 0
    notes: tuple[Note, ...] = ()


def horizon_days(as_of: date, horizon: str) -> tuple[date, date]:
    """Return first and last day of the next calendar week (from Monday) or month after `as_of`.

    Examples
    --------
    >>> [str(d) for d in horizon_days(date(2026, 6, 30), "week")], [str(d) for d in horizon_days(date(2026, 6, 30), "month")]
    (['2026-07-06', '2026-07-12'], ['2026-07-01', '2026-07-31'])
    """
    if horizon not in HORIZONS:
        raise InputError(unknown("horizon", horizon, HORIZONS))
    first = policy.window(horizon, as_of)[1] + timedelta(1)
    return policy.window(horizon, first)


def task(
    reading: Reading,
    *,
    horizon: str = "week",
    rules: Policy | None = None,
    capacity: Capacity | None = None,
    already: tuple[Entry, ...] = (),
) -> Task:
    """Collect what the plan of a reading depends on; one pass over posts and stays in the engine.

    Grain: groups of the reading that stand on its `as_of`. Undated sources give no groups and the note ``undated``.
    """
    rules, capacity = rules or policy.policy(), capacity or Capacity()
    first, last = horizon_days(reading.as_of, horizon)
    data = posted(reading)
    common: dict[str, Any] = {
        "source": reading.source.id, "store": reading.store, "as_of": reading.as_of, "horizon": horizon, "first": first, "last": last,
        "time_zone": reading.source.time_zone, "rules": rules, "slots": slots(), "capacity": capacity,
        "seed": seed_of(reading, f"schedule {horizon}"),
    }  # fmt: skip
    if reading.is_undated or (data.n_rows and not data.is_dated):
        return Task(groups=_no_groups(), sent=_no_sent(), usual=_no_usual(), notes=(Note("undated"),), **common)
    notes: list[Note] = []
    groups, left_out = _groups(reading)
    held = sorted(g for g in groups.group_id if policy.is_held_out(rules, f"group:{g}"))
    groups = groups[~groups.group_id.isin(held)]
    over = _over(groups, capacity.groups)
    if over:
        notes.append(Note("operators_over", {"operators": over, "n": capacity.groups}))
    kept = groups.groupby("operator", sort=False).cumcount() < capacity.groups
    left_out += [(g, "operator_full") for g in groups.group_id[~kept]]
    groups = groups[kept].reset_index(drop=True)
    leaving = _leaving(reading)
    groups["is_recovering"] = groups.group_id.isin(_waves(leaving))
    groups = _rates(reading, groups, data.has_members)
    seen = response(reading) if data.n_rows else None
    if seen is None or not np.isfinite(seen.base_rate) or seen.base_rate <= 0:
        seen = None
        notes.append(Note("no_response"))
        groups["rate"] = np.nan
    late, delays = _delays(reading)
    if not np.isfinite(late):
        late, delays = LATE_UNKNOWN, (0.0,)
        notes.append(Note("no_delays", {"minutes": LATE_UNKNOWN}))
    if calendar.is_chinese(reading.source.time_zone) and (years := years_without_calendar(first, last)):
        notes.append(Note("no_holiday_calendar", {"years": list(years)}))
    gap = (first - reading.as_of).days - 1
    if gap:
        notes.append(Note("gap", {"days": gap}))
    rate, power, error = _power(leaving)
    usual, minutes, contents = _usual(reading)
    return Task(
        groups=groups, sent=_sent(reading, rules, first, last, groups, already), usual=usual, minutes=minutes, late=late, delays=delays,
        contents=contents, seen=seen, kept_away=tuple(held), left_out=tuple(sorted(left_out)), taken=_taken(already),
        leave_rate=rate, leave_power=power, leave_error=error, notes=tuple(notes), **common,
    )  # fmt: skip


def _no_groups() -> pd.DataFrame:
    return pd.DataFrame(columns=["group_id", "operator", "n_members", "weight", "rate", "per_week", "is_recovering", "kind"])


def _no_sent() -> pd.DataFrame:
    return pd.DataFrame(columns=["group_id", "on_day", "n"])


def _no_usual() -> pd.DataFrame:
    return pd.DataFrame(columns=["weekday", "scheduled_hour", "hour", "content_class", "n"])


def _mine(reading: Reading) -> tuple[str, dict[str, Any]]:
    return ("store_id = $store", {"store": reading.store}) if reading.store else ("TRUE", {})


def _groups(reading: Reading) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the groups that stand, with operator, members and usual posts a week; and those that do not."""
    run, source = reading.engine.execute, reading.source
    if not source.has("groups") and not source.has("deliveries"):
        return _no_groups(), []
    where, values = _mine(reading)
    values |= {"as_of": reading.as_of}
    if source.has("groups"):
        pick = lambda name, instead: name if source.has(f"groups.{name}") else instead
        known = f"""SELECT group_id, {pick("store_id", "''")} AS store_id, {pick("kind", "''")} AS kind,
            {pick("operator_id", "NULL")} AS operator_id, CAST(created_at AS DATE) AS made_on,
            CAST({pick("dissolved_at", "NULL")} AS DATE) AS gone_on FROM groups WHERE CAST(created_at AS DATE) <= $as_of"""
    else:
        known = """SELECT group_id, any_value(store_id) AS store_id, any_value(kind) AS kind, any_value(operator_id) AS operator_id,
            min(on_day) AS made_on, CAST(NULL AS DATE) AS gone_on FROM post_facts WHERE group_id IS NOT NULL GROUP BY group_id"""
    if source.has("memberships"):
        heads = """SELECT group_id, count(*) AS n_members FROM membership_facts
            WHERE left_on IS NULL AND joined_on <= $as_of GROUP BY group_id"""
    elif source.has("deliveries.n_members"):
        heads = "SELECT group_id, arg_max(n_members, (on_day, post_id)) AS n_members FROM post_facts WHERE n_members IS NOT NULL GROUP BY group_id"
    else:
        heads = "SELECT group_id, 1 AS n_members FROM known"
    posts = "SELECT CAST(NULL AS VARCHAR) AS group_id, 0 AS n WHERE FALSE"
    if source.has("deliveries"):
        posts = f"""SELECT group_id, count(*) AS n FROM post_facts
            WHERE status = 'sent' AND on_day > $as_of - INTERVAL '{7 * USUAL_WEEKS}' DAY GROUP BY group_id"""
    frame = run(
        f"""WITH known AS ({known}), heads AS ({heads}), posts AS ({posts})
        SELECT k.group_id, coalesce(k.store_id, '') AS store_id, coalesce(k.kind, '') AS kind,
               coalesce(k.operator_id, concat('store:', coalesce(k.store_id, ''))) AS operator,
               CAST(coalesce(h.n_members, 0) AS BIGINT) AS n_members, coalesce(k.gone_on <= $as_of, FALSE) AS is_gone,
               coalesce(p.n, 0) / (greatest(least(date_diff('day', k.made_on, $as_of) + 1, {7 * USUAL_WEEKS}), 7) / 7.0) AS per_week
        FROM known AS k LEFT JOIN heads AS h USING (group_id) LEFT JOIN posts AS p USING (group_id)
        WHERE {where} ORDER BY k.group_id""",
        values,
    ).df()
    gone, empty = frame.is_gone, ~frame.is_gone & (frame.n_members <= 0)
    left = [(g, "dissolved") for g in frame.group_id[gone]] + [(g, "empty") for g in frame.group_id[empty]]
    return frame[~gone & ~empty].drop(columns="is_gone").reset_index(drop=True), left


def _over(groups: pd.DataFrame, most: int) -> list[str]:
    sizes = groups.groupby("operator").size()
    return sorted(str(o) for o in sizes.index[sizes > most])


def _rates(reading: Reading, groups: pd.DataFrame, has_members: bool) -> pd.DataFrame:
    """Add the response of each group, drawn towards its kind by how far groups of a kind differ beyond chance."""
    counted = reading.engine.execute(
        "SELECT group_id, count(*) AS n, CAST(sum(y) AS DOUBLE) AS y, CAST(sum(m) AS DOUBLE) AS m FROM posted GROUP BY group_id"
    ).df()
    frame = groups.merge(counted, how="left", on="group_id")
    y, m, n = (frame[c].fillna(0.0).to_numpy(float) for c in ("y", "m", "n"))
    overall = counted.y.sum() / counted.m.sum() if counted.m.sum() > 0 else np.nan
    by_kind = frame.assign(y=y, m=m).groupby("kind")[["y", "m"]].transform("sum")
    kind = np.where(by_kind.m > 0, by_kind.y / by_kind.m.where(by_kind.m > 0), overall)
    own = np.divide(y, m, out=np.copy(kind), where=m > 0)
    many = n > FEW_POSTS
    chance = np.divide(kind, m, out=np.full(len(frame), np.inf), where=m > 0)
    between = max(float(np.mean((own - kind)[many] ** 2 - chance[many])), 0.0) if many.any() else 0.0
    share = np.where(
        many & np.isfinite(chance) & (between > 0), between / (between + np.where(np.isfinite(chance), chance, 1.0)), 0.0
    )
    return groups.assign(rate=kind + share * (own - kind), weight=frame.n_members if has_members else 1)


def _delays(reading: Reading) -> tuple[float, tuple[float, ...]]:
    shares = [*((i + 0.5) / 10 for i in range(10)), LATE_SHARE]
    found = reading.engine.execute(
        f"SELECT quantile_disc(delay_minutes, {shares}) FROM posted WHERE delay_minutes IS NOT NULL"
    ).fetchone()[0]
    if not found:
        return float("nan"), (0.0,)
    return float(found[-1]), tuple(min(float(v), 1440.0) for v in found[:-1])


def _usual(reading: Reading) -> tuple[pd.DataFrame, dict[str, int], int]:
    known = ", ".join(f"'{c}'" for c in CLASSES)
    recent = f"on_day > DATE '{reading.as_of}' - INTERVAL '{7 * USUAL_WEEKS}' DAY"
    run = reading.engine.execute
    usual = run(
        f"""SELECT weekday, coalesce(scheduled_hour, hour) AS scheduled_hour, hour, content_class, count(*) AS n FROM posted
        WHERE {recent} AND hour IS NOT NULL AND content_class IN ({known}) GROUP BY ALL ORDER BY ALL"""
    ).df()
    moments = run(
        """SELECT CAST(extract(HOUR FROM m) * 60 + extract(MINUTE FROM m) AS INTEGER) AS minute, count(*) AS n FROM (
            SELECT coalesce(scheduled_at, sent_at) AS m FROM post_facts WHERE status = 'sent' AND coalesce(scheduled_at, sent_at) IS NOT NULL
        ) GROUP BY 1 ORDER BY 1"""
    ).df()
    minutes = {}
    for slot in slots() if len(moments) else ():
        here = moments[[slot_of(int(v) // 60) == slot.id for v in moments.minute]]
        if len(here):
            minutes[slot.id] = int(here.minute.iloc[int(np.searchsorted(here.n.cumsum(), here.n.sum() / 2))]) // 5 * 5
    a_day = run(f"SELECT count(DISTINCT post_id) / count(DISTINCT on_day) FROM posted WHERE {recent}").fetchone()[0]
    return usual, minutes, int(min(max(round(a_day if a_day and np.isfinite(a_day) else 4), 2), len(CLASSES)))


def _sent(
    reading: Reading, rules: Policy, first: date, last: date, groups: pd.DataFrame, already: tuple[Entry, ...]
) -> pd.DataFrame:
    """Count posts that a cap of the days planned may see: sent, accepted, and the usual number for days between data and plan."""
    days = [first + timedelta(i) for i in range((last - first).days + 1)]
    since = min((c.first for d in days for c in policy.cap(rules, "group_post", d)), default=first)
    parts = [_no_sent()]
    if reading.source.has("deliveries"):
        parts.append(
            reading.engine.execute(
                """SELECT group_id, on_day, count(*) AS n FROM post_facts
                WHERE status = 'sent' AND on_day >= $since GROUP BY ALL ORDER BY ALL""",
                {"since": since},
            ).df()
        )
    made = pd.concat(parts)
    made["on_day"] = pd.to_datetime(made.on_day).dt.date
    extra = pd.DataFrame([(g, e.on_day, 1) for e in already for g in e.group_ids], columns=["group_id", "on_day", "n"])
    between = [reading.as_of + timedelta(i + 1) for i in range((first - reading.as_of).days - 1)]
    between = [d for d in between if d >= since]
    kept = pd.DataFrame(
        [
            (g, d, int(np.ceil(w * (i + 1) / 7)) - int(np.ceil(w * i / 7)))
            for g, w in zip(groups.group_id, groups.per_week, strict=True)
            for i, d in enumerate(between)
        ],
        columns=["group_id", "on_day", "n"],
    )
    accepted = extra.groupby(["group_id", "on_day"], as_index=False).n.sum() if len(extra) else extra
    future = (
        pd.concat([kept, accepted]).groupby(["group_id", "on_day"], as_index=False).n.max()
        if len(kept) or len(accepted)
        else kept
    )
    both = pd.concat([made, future])
    return both.groupby(["group_id", "on_day"], as_index=False).n.sum() if len(both) else _no_sent()


def _taken(already: tuple[Entry, ...]) -> frozenset[tuple[str, date, str]]:
    return frozenset((g, e.on_day, e.slot) for e in already for g in e.group_ids)


def _leaving(reading: Reading) -> pd.DataFrame:
    """Return members at the start, leavers and posts by group and week of the last half year; week 0 is the newest."""
    columns = ["group_id", "week", "members", "leavers", "posts"]
    if not reading.source.has("memberships") or not reading.source.has("deliveries"):
        return pd.DataFrame(columns=columns)
    where, values = _mine(reading)
    by_choice = "AND coalesce(quit_scene, 'left') = 'left'" if reading.source.has("memberships.quit_scene") else ""
    return reading.engine.execute(
        f"""WITH weeks AS (SELECT CAST(range AS INTEGER) AS week, CAST($as_of - CAST(7 * (range + 1) - 1 AS INTEGER) AS DATE) AS since
                           FROM range({LEAVE_WEEKS})),
        posts AS (SELECT group_id, CAST(date_diff('day', on_day, $as_of) // 7 AS INTEGER) AS week, count(*) AS n FROM post_facts
                  WHERE status = 'sent' AND on_day <= $as_of GROUP BY ALL)
        SELECT s.group_id, w.week, count(*) AS members,
               count(*) FILTER (s.left_on < w.since + 7 {by_choice}) AS leavers, coalesce(any_value(p.n), 0) AS posts
        FROM membership_facts AS s JOIN weeks AS w ON s.joined_on < w.since AND (s.left_on IS NULL OR s.left_on >= w.since)
        LEFT JOIN posts AS p ON p.group_id = s.group_id AND p.week = w.week
        WHERE {where} GROUP BY s.group_id, w.week ORDER BY s.group_id, w.week""",
        values | {"as_of": reading.as_of},
    ).df()


def _waves(leaving: pd.DataFrame) -> set[str]:
    """Return groups that leave faster in the last four weeks than before: 1.5 times, five leavers, p below .01 (Poisson)."""
    if leaving.empty:
        return set()
    from scipy.special import pdtrc

    recent = leaving.week < WAVE_WEEKS
    now, before = (part.groupby("group_id")[["members", "leavers"]].sum() for part in (leaving[recent], leaving[~recent]))
    both = now.join(before, how="inner", rsuffix="_before")
    expected = (both.leavers_before + 0.5) / both.members_before * both.members
    p = pdtrc(both.leavers - 1, expected)
    return set(both.index[(both.leavers >= WAVE_LEAST) & (both.leavers >= WAVE_RATIO * expected) & (p < WAVE_P)])


def _power(leaving: pd.DataFrame) -> tuple[float, float, float]:
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
