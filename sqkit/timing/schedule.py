"""The calendar of posts for the next week or month: as many posts as pay, in the slots of the best response, within every rule.

Where no slot is better, it keeps the usual rhythm and says so. A part is drawn by chance, so that the next reading tells what causes
what. Sources: S2.7 (capacity), S2.9 (classes), S2.10, S4.1, S4.4 (slots), S3.9 (fatigue).
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import numpy as np

from sqkit import policy
from sqkit.errors import InputError, SqkitError
from sqkit.policy import Policy
from sqkit.reading import Reading
from sqkit.timing import explore
from sqkit.timing.schedule_check import violations
from sqkit.timing.schedule_leave import WAVE_RATIO, WAVE_WEEKS
from sqkit.timing.schedule_model import Entry, Note, Plan
from sqkit.timing.schedule_past import USUAL_WEEKS
from sqkit.timing.schedule_place import Places, place
from sqkit.timing.schedule_task import Capacity, Task, task
from sqkit.timing.schedule_told import MONTH_WEEKS, rounded, told
from sqkit.timing.schedule_value import DRAWS, STAY_WEEKS, Pace, Worth, landing, moment, pace, windows, worth

__all__ = ["RECOVERY", "BrokenPlanError", "make", "schedule"]

RECOVERY = 0.5  # of the usual posts, for a group in a leave wave
SOP_WEEK = 7.0  # posts a week where none was ever sent: one a day


class BrokenPlanError(SqkitError):
    """The planner made a plan that breaks a rule; it is not given out."""


def schedule(
    reading: Reading,
    *,
    horizon: str = "week",
    rules: Policy | None = None,
    share: float | None = None,
    posts_week: float | None = None,
    already: tuple[Entry, ...] = (),
    capacity: Capacity | None = None,
    keep_appointments: bool = True,
) -> Plan:
    """Plan the posts of the next calendar week or month.

    Parameters
    ----------
    reading : Reading
    horizon : {"week", "month"}
        The next calendar week (from Monday) or month after `as_of`.
    rules : Policy, optional
        The brand's policy unless given.
    share : float, optional
        Share of the posts to draw, 0 to 1; sized by what is unknown unless given.
    posts_week : float, optional
        Posts a group and week that a person asks for. Else each group's usual number, or fewer where that is better beyond doubt; never
        more, since who got more was not drawn.
    already : tuple of Entry
        Posts of accepted plans: they count towards pace, caps, slots and capacity.
    capacity : Capacity, optional
    keep_appointments : bool
        Keep the SOP's weekly appointments (:func:`sqkit.timing.slots.appointments`), or give their posts to the best hours.

    Returns
    -------
    Plan
        Without entries, and a note why first, where nothing can be planned: ``undated``, ``no_groups``, ``all_held_out``, ``closed``
        (no minute lies in a slot, in contact hours and early enough), ``no_capacity``, ``no_room`` (caps, or
        accepted posts fill the days: fact ``accepted``).

    Raises
    ------
    InputError
        For an unknown horizon, a share or a number of posts out of range, or a day before the first cap.
    BrokenPlanError
        Never, unless planner and checker disagree.
    """
    asked = task(
        reading, horizon=horizon, rules=rules, capacity=capacity, already=already, keep_appointments=keep_appointments
    )  # fmt: skip
    return make(asked, share, posts_week)


def make(asked: Task, share: float | None = None, posts_week: float | None = None) -> Plan:
    """Plan a task; the same task gives the same plan. Parameters as of :func:`schedule`."""
    for name, value, most in (("share", share, 1.0), ("posts_week", posts_week, 50.0)):
        if value is not None and not 0 <= value <= most:
            raise InputError(f"{name} is {value!r}. Allowed: 0 to {most:g}")
    rng = np.random.default_rng(asked.seed)
    plan = Plan(
        asked.source, asked.store, asked.as_of, asked.horizon, asked.first, asked.last, asked.time_zone,
        kept_away=asked.kept_away, left_out=asked.left_out, seed=asked.seed, notes=asked.notes, rules=_rules(asked),
    )  # fmt: skip
    if any(n.id == "undated" for n in asked.notes):
        return plan
    if not len(asked.groups):
        return _without(plan, "all_held_out" if asked.kept_away else "no_groups")
    if min(asked.capacity.per_slot, asked.capacity.per_day, asked.capacity.per_group_day) < 1:
        return _without(plan, "no_capacity")
    spans = windows(asked)
    if not spans:
        return _without(plan, "closed")
    known = worth(asked.seen)
    slots = [s for s in asked.slots if s.id in spans]
    minutes = {s.id: moment(s, spans[s.id], asked, known.hour) for s in slots}
    lands = np.stack([landing(minutes[s.id], asked.delays) for s in slots])
    hours = known.hour.draws(DRAWS, rng)
    classes = known.content_class.draws(DRAWS, rng)
    chosen = pace(asked, known, rng)
    per_week = _per_week(asked, chosen, posts_week)
    dispersion = asked.seen.dispersion if asked.seen else float("nan")
    expected = float((asked.groups.weight * asked.groups.rate * per_week).sum()) * MONTH_WEEKS
    if share is None:
        share = explore.share_needed(expected, explore.chances(hours @ lands.T), dispersion)
    places = Places(asked, known, spans, minutes, hours @ lands.T, classes, lands @ known.hour.plan, rng)
    place(places, per_week, float(share))
    if not places.rows:
        n = int(places.accepted.sum())
        return _without(plan, "no_room" if places.shares.sum() else "closed", **({"accepted": n} if n else {}))
    entries, figures, moved = told(asked, known, places, hours, classes, rng)
    placed = {r.group for r in places.rows}
    without = [(g, places.why_not(i)) for i, g in enumerate(asked.groups.group_id) if i not in placed]
    notes = [*asked.notes, *_notes(asked, known, chosen, float(share), places, posts_week, figures["detectable"], moved)]
    plan = replace(
        plan, entries=entries, figures=figures, notes=tuple(notes), left_out=tuple(sorted([*asked.left_out, *without])),
        rules=plan.rules | {"share": round(float(share), 4), "windows": {s: [_clock(a), _clock(b)] for s, (a, b) in spans.items()}},
    )  # fmt: skip
    broken = check(plan, asked)
    if broken:
        raise BrokenPlanError(f"plan of {asked.source}: {'; '.join(broken[:5])} ({len(broken)} in all)")
    return plan


def check(plan: Plan, asked: Task) -> list[str]:
    """Return what a plan breaks of the rules of a task; see :func:`sqkit.timing.schedule_check.violations`."""
    return violations(
        plan, asked.rules, asked.sent[["group_id", "on_day", "n"]].itertuples(index=False, name=None), slots=asked.slots, late=asked.late,
        limits=asdict(asked.capacity), operators=dict(zip(asked.groups.group_id, asked.groups.operator, strict=True)), taken=asked.taken,
    )  # fmt: skip


def _without(plan: Plan, why: str, **facts: Any) -> Plan:
    return replace(plan, notes=(Note(why, facts), *plan.notes))


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _rules(asked: Task) -> dict[str, Any]:
    """Return the rules as used, for the plan's record."""
    days = (asked.first + timedelta(i) for i in range((asked.last - asked.first).days + 1))
    caps = dict.fromkeys(
        (c.per, c.at_most, c.first.isoformat(), c.last.isoformat())
        for d in days
        for c in policy.cap(asked.rules, "group_post", d)
    )
    return {
        "caps": [list(c) for c in caps], "contact_from": f"{asked.rules.contact_from:%H:%M}",
        "contact_until": f"{asked.rules.contact_until:%H:%M}", "late_minutes": round(asked.late, 1) if math.isfinite(asked.late) else None,
        "holdout_share": asked.rules.holdout_share, "capacity": asdict(asked.capacity),
    }  # fmt: skip


def _per_week(asked: Task, chosen: Pace, posts_week: float | None) -> np.ndarray:
    """Return posts a week by group: the number asked for, else fewer where that is better, else its own; half in a leave wave, one at least."""
    own = asked.groups.per_week.to_numpy(float)
    own = np.where(own > 0, own, chosen.usual if chosen.usual > 0 else SOP_WEEK)
    if posts_week is not None:
        made = np.full(len(own), float(posts_week))
    else:
        made = np.minimum(own, chosen.per_week) if chosen.reason == "fewer" else own
    slow = np.minimum(np.maximum(RECOVERY * np.minimum(made, own), 1.0), made)
    return np.where(asked.groups.is_recovering.to_numpy(bool), slow, made)


def _notes(
    asked: Task,
    known: Worth,
    chosen: Pace,
    share: float,
    places: Places,
    posts_week: float | None,
    found: tuple[float, float, float],
    moved: tuple[str, int] | None,
) -> list[Note]:
    """Return what shaped the plan, in the order of the page."""
    capacity, made, rows = asked.capacity, [], places.rows
    hour = asked.seen.curves.get("hour") if asked.seen else None
    is_read = hour is not None and hour.matters is not None
    made.append(Note(f"hour_{'matters' if known.hour.matters else 'usual' if is_read else 'unknown'}"))
    facts = {k: _fact(getattr(chosen, k)) for k in ("per_week", "usual", "gain", "low", "high")}
    if posts_week is not None:
        made.append(Note("pace_asked", {"per_week": rounded(posts_week), "usual": rounded(chosen.usual)}))
    else:
        more = {"at_edge": chosen.at_edge, "planned": rounded(chosen.usual)} if chosen.reason == "more" else {}
        weeks = STAY_WEEKS if chosen.reason != "unknown" else USUAL_WEEKS
        made.append(Note(f"pace_{chosen.reason}", facts | {"weeks": weeks} | more))
    slow = [str(g) for g in asked.groups.group_id[asked.groups.is_recovering.astype(bool)]]
    if slow:
        made.append(
            Note("recovery", {"groups": slow, "n": len(slow), "part": RECOVERY, "weeks": WAVE_WEEKS, "ratio": WAVE_RATIO})
        )
    made.append(Note("product_share", {"share": capacity.product_share}))
    made.append(Note("capacity", {"groups": capacity.groups, "per_slot": capacity.per_slot, "per_day": capacity.per_day}))
    kept = sum(r.reason == "appointment" for r in rows)
    if kept:
        made.append(Note("appointments", {"n": kept, "of": len(rows)}))
    if moved:
        made.append(Note("appointment_day", {"id": moved[0], "to": moved[1]}))
    contents = len({(r.day, places.minute(r), r.content_class) for r in rows})
    made.append(Note("contents", {"n": contents}))
    if places.wanted.sum() > len(rows):
        made.append(Note("short", {"n": len(rows), "of": int(places.wanted.sum())}))
    drawn = sum(r.is_exploration for r in rows)
    made.append(
        Note("exploration", {
            "n": drawn, "of": len(rows), "share": rounded(drawn / len(rows)), "asked": rounded(share),
            "detectable": _fact(found[0]), "aim": explore.AIM,
        })
    )  # fmt: skip
    full = sum(r.reason == "full" for r in rows)
    if full:
        made.append(Note("slots_full", {"n": full}))
    if asked.seen:
        made.append(Note("described", {"scatter": _fact(asked.scatter), "weeks": asked.scatter_weeks}))
    return made


def _fact(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None
