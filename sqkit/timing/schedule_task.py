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
from sqkit.timing.delay import late_quantile
from sqkit.timing.model import Response
from sqkit.timing.posted import posted
from sqkit.timing.response import response, seed_of
from sqkit.timing.schedule_leave import leave_power, leaving_weeks, waves
from sqkit.timing.schedule_model import Entry, Note, is_name
from sqkit.timing.schedule_past import (
    counted,
    delay_shares,
    missed,
    no_groups,
    no_sent,
    no_usual,
    places_taken,
    rates,
    standing,
    usual_posts,
)  # fmt: skip
from sqkit.timing.slots import Appointment, Slot, appointments, slots

__all__ = ["HORIZONS", "Capacity", "Task", "horizon_days", "task"]

HORIZONS = ("week", "month")
LATE_SHARE = 0.9  # of posts that must be out before contact hours end
LATE_UNKNOWN = 120.0  # minutes, where no delay was ever recorded


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
    gap: int = 90  # minutes between two posts to a group, three half-lives of a post that nobody answers any more


@dataclass(frozen=True)
class Task:
    """All that a plan depends on.

    Attributes
    ----------
    groups : DataFrame
        One row per group to plan, by id: ``group_id``, ``operator``, ``n_members``, ``weight`` (members, or 1 where response is counted per
        post), ``rate`` (responders per weight and post, shrunk to its kind, at the level of the last weeks; NaN if unknown), ``per_week`` (usual posts), ``is_recovering``.
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
    scatter : float
        Standard deviation of the log of a week's responders around what the response model says of that week's mix; NaN if unknown.
    scatter_weeks : int
        Weeks it was read from.
    appointments : tuple of Appointment
        The SOP's posts of every week, the most important first.
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
    scatter: float = float("nan")
    scatter_weeks: int = 0
    appointments: tuple[Appointment, ...] = ()


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
    keep_appointments: bool = True,
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
        "appointments": appointments() if keep_appointments else (),
        "seed": seed_of(reading, f"schedule {horizon}"),
    }  # fmt: skip
    if reading.is_undated or (data.n_rows and not data.is_dated):
        return Task(groups=no_groups(), sent=no_sent(), usual=no_usual(), notes=(Note("undated"),), **common)
    notes: list[Note] = []
    groups, left_out = standing(reading)
    named = groups.group_id.map(is_name).astype(bool) & groups.operator.map(is_name).astype(bool)
    left_out += [(g, "no_name") for g in groups.group_id[~named]]
    groups = groups[named]
    held = sorted(g for g in groups.group_id if policy.is_held_out(rules, f"group:{g}"))
    groups = groups[~groups.group_id.isin(held)]
    over = _over(groups, capacity.groups)
    if over:
        notes.append(Note("operators_over", {"operators": over, "n": capacity.groups}))
    kept = groups.groupby("operator", sort=False).cumcount() < capacity.groups
    left_out += [(g, "operator_full") for g in groups.group_id[~kept]]
    groups = groups[kept].reset_index(drop=True)
    weeks = leaving_weeks(reading)
    groups["is_recovering"] = groups.group_id.isin(waves(weeks))
    groups = rates(reading, groups, data.has_members)
    seen = response(reading) if data.n_rows else None
    if seen is None or not np.isfinite(seen.base_rate) or seen.base_rate <= 0:
        seen = None
        notes.append(Note("no_response"))
        groups["rate"] = np.nan
    late, delays = late_quantile(reading, LATE_SHARE), delay_shares(reading)
    if not np.isfinite(late):
        late, delays = LATE_UNKNOWN, (0.0,)
        notes.append(Note("no_delays", {"minutes": LATE_UNKNOWN}))
    if calendar.is_chinese(reading.source.time_zone) and (years := years_without_calendar(first, last)):
        notes.append(Note("no_holiday_calendar", {"years": list(years)}))
    gap = (first - reading.as_of).days - 1
    if gap:
        notes.append(Note("gap", {"days": gap}))
    rate, power, error = leave_power(weeks)
    usual, minutes, contents = usual_posts(reading)
    scatter, n_weeks, level = missed(reading, groups, seen)
    groups["rate"] *= level
    return Task(
        groups=groups, sent=counted(reading, rules, first, last, groups, already), usual=usual, minutes=minutes, late=late, delays=delays,
        contents=contents, seen=seen, kept_away=tuple(held), left_out=tuple(sorted(left_out)), taken=places_taken(already),
        leave_rate=rate, leave_power=power, leave_error=error, scatter=scatter, scatter_weeks=n_weeks, notes=tuple(notes), **common,
    )  # fmt: skip


def _over(groups: pd.DataFrame, most: int) -> list[str]:
    sizes = groups.groupby("operator").size()
    return sorted(str(o) for o in sizes.index[sizes > most])
