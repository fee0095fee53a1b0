"""What a calendar takes from the past: groups and their response, the usual rhythm, delays, what caps count, and what the model missed."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import policy
from sqkit.policy import Policy
from sqkit.reading import Reading
from sqkit.timing.model import Response
from sqkit.timing.schedule_leave import mine
from sqkit.timing.schedule_model import Entry
from sqkit.timing.slots import CLASSES, slot_of, slots

__all__ = [
    "USUAL_WEEKS", "counted", "delay_shares", "missed", "no_groups", "no_sent", "no_usual", "places_taken", "rates", "standing", "usual_posts",
]  # fmt: skip

USUAL_WEEKS = 8
FEW_POSTS = 3  # a group with this many or fewer gets the rate of its kind
OFF = 3.0  # standard errors from which the level of the last weeks counts
LEAST_WEEKS = 4  # from which the model is held against what came


def no_groups() -> pd.DataFrame:
    """Return no groups, with their columns."""
    return pd.DataFrame(columns=["group_id", "operator", "n_members", "weight", "rate", "per_week", "is_recovering", "kind"])


def no_sent() -> pd.DataFrame:
    """Return no posts that caps count."""
    return pd.DataFrame(columns=["group_id", "on_day", "n"])


def no_usual() -> pd.DataFrame:
    """Return no usual rhythm."""
    return pd.DataFrame(columns=["weekday", "scheduled_hour", "hour", "content_class", "n"])


def standing(reading: Reading) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the groups that stand, with operator, members and usual posts a week; and those that do not."""
    run, source = reading.engine.execute, reading.source
    if not source.has("groups") and not source.has("deliveries"):
        return no_groups(), []
    where, values = mine(reading)
    values |= {"as_of": reading.as_of}
    if source.has("groups"):
        pick = lambda name, instead: name if source.has(f"groups.{name}") else instead
        known = f"""SELECT group_id, {pick("store_id", "''")} AS store_id, {pick("kind", "''")} AS kind,
            {pick("operator_id", "NULL")} AS operator_id, CAST(created_at AS DATE) AS made_on,
            CAST({pick("dissolved_at", "NULL")} AS DATE) AS gone_on FROM groups"""
    else:
        known = """SELECT group_id, any_value(store_id) AS store_id, any_value(kind) AS kind, any_value(operator_id) AS operator_id,
            min(on_day) AS made_on, CAST(NULL AS DATE) AS gone_on FROM post_facts WHERE group_id IS NOT NULL GROUP BY group_id"""
    if source.has("memberships"):
        heads = """SELECT group_id, count(*) AS n_members FROM membership_facts
            WHERE left_on IS NULL GROUP BY group_id"""
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
               CAST(coalesce(h.n_members, 0) AS BIGINT) AS n_members, k.gone_on IS NOT NULL AS is_gone,
               coalesce(p.n, 0) / (greatest(least(date_diff('day', k.made_on, $as_of) + 1, {7 * USUAL_WEEKS}), 7) / 7.0) AS per_week
        FROM known AS k LEFT JOIN heads AS h USING (group_id) LEFT JOIN posts AS p USING (group_id)
        WHERE {where} ORDER BY k.group_id""",
        values,
    ).df()
    gone, empty = frame.is_gone, ~frame.is_gone & (frame.n_members <= 0)
    left = [(g, "dissolved") for g in frame.group_id[gone]] + [(g, "empty") for g in frame.group_id[empty]]
    return frame[~gone & ~empty].drop(columns="is_gone").reset_index(drop=True), left


def rates(reading: Reading, groups: pd.DataFrame, has_members: bool) -> pd.DataFrame:
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
    known = many & np.isfinite(chance) & (between > 0)
    share = np.divide(between, between + chance, out=np.zeros(len(frame)), where=known)
    return groups.assign(rate=kind + share * (own - kind), weight=frame.n_members if has_members else 1)


def delay_shares(reading: Reading) -> tuple[float, ...]:
    """Return delays in minutes at ten evenly spaced shares of the posts sent, a day at most; no delay where none is known."""
    shares = [(i + 0.5) / 10 for i in range(10)]
    found = reading.engine.execute(
        f"SELECT quantile_disc(delay_minutes, {shares}) FROM posted WHERE delay_minutes IS NOT NULL"
    ).fetchone()[0]
    return tuple(min(float(v), 1440.0) for v in found) if found else (0.0,)


def usual_posts(reading: Reading) -> tuple[pd.DataFrame, dict[str, int], int]:
    """Return posts of eight weeks by weekday, hour and class; the usual minute of each slot; how many contents a day there usually are."""
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


def counted(
    reading: Reading, rules: Policy, first: date, last: date, groups: pd.DataFrame, already: tuple[Entry, ...]
) -> pd.DataFrame:
    """Count posts that a cap of the days planned may see: sent, accepted, and the usual number for days between data and plan."""
    days = [first + timedelta(i) for i in range((last - first).days + 1)]
    since = min((c.first for d in days for c in policy.cap(rules, "group_post", d)), default=first)
    parts = [no_sent()]
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
    return both.groupby(["group_id", "on_day"], as_index=False).n.sum() if len(both) else no_sent()


def places_taken(already: tuple[Entry, ...]) -> frozenset[tuple[str, date, str]]:
    """Return group, day and slot of accepted posts."""
    return frozenset((g, e.on_day, e.slot) for e in already for g in e.group_ids)


def missed(reading: Reading, groups: pd.DataFrame, seen: Response | None) -> tuple[float, int, float]:
    """Return by how much a week's responders scatter around what the response model says of its mix, of how many weeks, and their level.

    The level is responders of the last eight weeks over what the model says of them (rates come from the whole past, at whatever pace it
    was), where it lies three standard errors of weeks off 1; else 1. The scatter is the standard deviation of the log of responders over ``members x rate of the group x hour x weekday x class`` by week of the last eight,
    each counted back from `as_of`, widened for a level that is estimated from so many weeks. In part the chance of a week, in part what the
    model does not know; NaN, and a level of 1, below four weeks.
    """
    nan = float("nan")
    if seen is None or not len(groups):
        return nan, 0, 1.0
    frame = reading.engine.execute(
        f"""SELECT CAST(date_diff('day', on_day, DATE '{reading.as_of}') // 7 AS INTEGER) AS week, group_id, hour, weekday, content_class,
            CAST(sum(y) AS DOUBLE) AS y, CAST(sum(m) AS DOUBLE) AS m FROM posted
        WHERE on_day > DATE '{reading.as_of}' - INTERVAL '{7 * USUAL_WEEKS}' DAY GROUP BY ALL ORDER BY ALL"""
    ).df()
    expected = frame.m * frame.group_id.map(dict(zip(groups.group_id, groups.rate, strict=True)))
    for factor, curve in seen.curves.items():
        if factor in frame and curve.matters is True:
            known = dict(zip(curve.table.level.astype(str), curve.table.ratio, strict=True))
            level = frame[factor].astype("Int64").astype(str) if factor != "content_class" else frame[factor].astype(str)
            expected = expected * level.map(known).fillna(1.0).astype(float)
    weeks = frame.assign(expected=expected)[expected > 0].groupby("week")[["y", "expected"]].sum()
    weeks = weeks[weeks.y > 0]
    if len(weeks) < LEAST_WEEKS:
        return nan, len(weeks), 1.0
    n = len(weeks)
    spread = float(np.log(weeks.y / weeks.expected).std(ddof=1))
    level = float(weeks.y.sum() / weeks.expected.sum())
    is_off = abs(np.log(level)) > OFF * spread / np.sqrt(n)
    return spread * float(np.sqrt(1 + 1 / n)), n, level if is_off else 1.0
