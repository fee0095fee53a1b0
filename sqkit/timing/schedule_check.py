"""Whether a plan keeps every rule, told from the plan alone: written apart from the planner and sharing nothing with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta

from sqkit.policy import Policy, cap, is_held_out
from sqkit.timing.schedule_model import Plan
from sqkit.timing.slots import CLASSES, Slot

__all__ = ["violations"]


def violations(
    plan: Plan,
    rules: Policy,
    history: Iterable[tuple[str, date, int]],
    *,
    slots: Sequence[Slot],
    late: float,
    limits: dict[str, float],
    operators: dict[str, str],
    taken: Collection[tuple[str, date, str]] = (),
) -> list[str]:
    """Return what a plan breaks, one sentence each; nothing where it keeps all.

    Parameters
    ----------
    plan : Plan
    rules : Policy
    history : iterable of (group, day, n)
        Posts that count beside the plan's: sent, accepted, kept for the days in between.
    slots : sequence of Slot
    late : float
        Minutes that a post must be planned before contact hours end.
    limits : dict
        ``groups``, ``per_slot``, ``per_day``, ``per_group_day``, ``product_share``, ``gap`` (minutes).
    operators : dict of str to str
        Group to operator, of the groups that may be planned.
    taken : collection of (group, day, slot)
        Places of accepted posts.
    """
    found: list[str] = []
    by_day: Counter[tuple[str, date]] = Counter()
    for group, day, n in history:
        by_day[group, day] += n
    planned: Counter[tuple[str, date]] = Counter()
    moments: dict[tuple[str, date], list[datetime]] = {}
    places: Counter[tuple[str, date, str]] = Counter((g, d, s) for g, d, s in taken)
    loads: Counter[tuple[str, date, str]] = Counter()
    weeks: dict[tuple[str, date], Counter[str]] = {}
    known = {s.id: s for s in slots}
    for g, d, s in taken:
        if g in operators:
            loads[operators[g], d, s] += 1
    if len({e.post_key for e in plan.entries}) != len(plan.entries):
        found.append("two posts have one key")
    for e in plan.entries:
        found += [f"{e.post_key}: {fault}" for fault in _moment(e, plan, rules, known, late)]
        if list(e.group_ids) != sorted(set(e.group_ids)) or not e.group_ids:
            found.append(f"{e.post_key}: groups are empty, unsorted or named twice")
        for g in e.group_ids:
            if g in plan.kept_away or g not in operators or is_held_out(rules, f"group:{g}"):
                found.append(f"{e.post_key}: group {g} is not to be planned")
                continue
            planned[g, e.on_day] += 1
            moments.setdefault((g, e.on_day), []).append(e.at)
            places[g, e.on_day, e.slot] += 1
            loads[operators[g], e.on_day, e.slot] += 1
            weeks.setdefault((g, e.on_day - timedelta(e.on_day.weekday())), Counter())[e.content_class] += 1
    for (g, d, s), n in sorted(places.items()):
        if n > 1 and (g, d) in planned:
            found.append(f"group {g} gets {n} posts on {d} in {s}")
    for (g, d), times in sorted(moments.items()):
        times.sort()
        least = min((b - a for a, b in zip(times, times[1:], strict=False)), default=timedelta.max)
        if least < timedelta(minutes=limits["gap"]):
            found.append(f"group {g} gets two posts within {least.seconds // 60} minutes on {d}")
    accepted = Counter((g, d) for g, d, _ in taken)
    totals: dict[tuple[str, date, date], int] = {}
    for (g, day), n in sorted(planned.items()):
        both = n + accepted[g, day]
        if both > limits["per_group_day"]:
            found.append(f"group {g} gets {both} posts on {day}")
        for one in cap(rules, "group_post", day):
            if (g, one.first, one.last) not in totals:
                span = [one.first + timedelta(i) for i in range((one.last - one.first).days + 1)]
                totals[g, one.first, one.last] = sum(by_day.get((g, d), 0) + planned.get((g, d), 0) for d in span)
            total = totals[g, one.first, one.last]
            if total > one.at_most:
                found.append(f"group {g} gets {total} posts in the {one.per} of {day}, at most {one.at_most}")
    for (g, week), classes in sorted(weeks.items()):
        products, total = classes["product"], classes.total()
        if products > limits["product_share"] * total + 1e-9 or products == total:
            found.append(f"group {g} gets {products} product posts of {total} in the week of {week}")
    found += _loads(loads, operators, plan, limits)
    return found


def _moment(e, plan: Plan, rules: Policy, known: dict[str, Slot], late: float) -> list[str]:
    faults = []
    if not plan.first <= e.on_day <= plan.last or e.at.date() != e.on_day:
        faults.append("lies outside the days planned")
    if e.at.second or e.at.microsecond or e.at.tzinfo:
        faults.append("is not a local minute")
    slot = known.get(e.slot)
    if slot is None or not slot.first <= e.at.hour < slot.until or e.on_day.isoweekday() not in slot.weekdays:
        faults.append("lies outside its slot")
    elif e.content_class not in slot.classes:
        faults.append(f"{e.content_class} is not planned in {e.slot}")
    if e.content_class not in CLASSES:
        faults.append(f"{e.content_class} is no class")
    out = e.at + timedelta(minutes=min(max(late, 0.0), 10_000.0) if late == late else 10_000.0)
    if e.at.time() < rules.contact_from or out >= datetime.combine(e.on_day, rules.contact_until):
        faults.append(f"may go out in quiet hours: planned {e.at:%H:%M}, out by {out:%H:%M}")
    if not 0 < e.chance <= 1:
        faults.append("has no chance between 0 and 1")
    elif e.chance < 1 and not e.is_exploration:
        faults.append("was not drawn, yet has a chance below 1")
    return faults


def _loads(loads: Counter, operators: dict[str, str], plan: Plan, limits: dict[str, float]) -> list[str]:
    found = []
    active = {(operators[g], e.on_day) for e in plan.entries for g in e.group_ids if g in operators}
    days: Counter[tuple[str, date]] = Counter()
    for (operator, day, slot), n in sorted(loads.items()):
        days[operator, day] += n
        here = (
            any(
                e.on_day == day and e.slot == slot and any(operators.get(g) == operator for g in e.group_ids)
                for e in plan.entries
            )
            if n > limits["per_slot"]
            else False
        )
        if here:
            found.append(f"operator {operator} confirms {n} on {day} in {slot}")
    for (operator, day), n in sorted(days.items()):
        if (operator, day) in active and n > limits["per_day"]:
            found.append(f"operator {operator} confirms {n} on {day}")
    groups: dict[str, set[str]] = {}
    for g in plan.group_ids:
        groups.setdefault(operators.get(g, ""), set()).add(g)
    found += [f"operator {o} runs {len(g)} groups" for o, g in sorted(groups.items()) if len(g) > limits["groups"]]
    return found
