"""What a plan is expected to bring: its entries with their responders, and what it gains and gives up against the usual rhythm.

All by paired draws of the same beliefs about hours, weekdays, classes and fatigue. Descriptive: times were not drawn by lot. Source: S2.9,
S3.9, S3.16.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, time

import numpy as np

from sqkit.timing import explore
from sqkit.timing.schedule_model import Entry
from sqkit.timing.schedule_place import Places
from sqkit.timing.schedule_task import Task
from sqkit.timing.schedule_value import DRAWS, Worth, landing
from sqkit.timing.slots import CLASSES

__all__ = ["MONTH_WEEKS", "rounded", "told"]

MONTH_WEEKS = 30.4375 / 7


def told(
    asked: Task, known: Worth, places: Places, hours: np.ndarray, classes: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[Entry, ...], dict[str, tuple[float, float, float]], tuple[str, int] | None]:
    """Return entries with their expectation, the plan's figures, and the appointment that a better weekday would help most.

    Parameters
    ----------
    hours, classes : ndarray
        Draws of log ratios, by hour (0 to 23) and class.

    Returns
    -------
    entries : tuple of Entry
        Bounds of an entry hold what is not known of the model and the chance of a day.
    figures : dict of str to (value, low, high)
        ``plan``, ``habit``, ``difference`` (responders; accepted posts count in the pace, and of the habit only what they leave is
        compared; the plan's total scatters as past weeks did around the model, the habit's does not); ``same_number`` (against
        as many posts at the usual hours and of the usual classes); ``part_pace``, ``part_time``, ``part_class`` (what of the difference
        comes from the number of posts, from hours and weekdays, from classes: they add up to it);
        ``appointments``, ``exploration`` (responders given up against the same posts in the slots of the best response);
        ``appointment_day`` (responders gained by moving one appointment to the best weekday); ``leaving``, ``posts_week``,
        ``detectable``, ``class_*`` (planned and usual share of each class), ``quiet`` (share of the posts of the last weeks that went out
        in an hour that begins outside contact hours).
    moved : (str, int) or None
        Id of the appointment of ``appointment_day`` and the better weekday.
    """
    groups = asked.groups
    size, heads = (groups.weight * groups.rate).to_numpy(float), groups.n_members.to_numpy(float)
    names, operator_of = groups.group_id.astype(str).tolist(), groups.operator.astype(str).tolist()
    weeks = len(places.days) / 7
    held = places.accepted.sum(1) / weeks
    planned = np.bincount([r.group for r in places.rows], minlength=len(groups)) / weeks + held
    usual = groups.per_week.to_numpy(float)
    grown = np.log2(np.maximum(planned, 1 / weeks) / np.where(usual > 0, usual, np.maximum(planned, 1 / weeks)))
    slope = rng.normal(*known.fatigue, DRAWS)
    weekdays = known.weekday.draws(DRAWS, rng)
    noise = math.sqrt(max(asked.seen.dispersion, 1.0)) if asked.seen and np.isfinite(asked.seen.dispersion) else 1.0
    mean, mean_class = _habit(asked, hours, classes, weekdays)
    kept = {(a.weekday, a.slot, a.content_class): a.id for a in asked.appointments}
    cells: dict[tuple, list] = defaultdict(list)
    for r in places.rows:
        cells[r.day, places.minute(r), r.slot, r.content_class, r.is_exploration, r.chance, r.reason].append(r.group)
    entries, counter, drawn = [], defaultdict(int), np.zeros(len(places.open))
    total, same, by_time, given_up, lot = (np.zeros(DRAWS) for _ in range(5))
    moved: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(DRAWS))
    for key in sorted(cells):
        (d, minute, s, c, is_exploration, chance, reason), members = key, sorted(cells[key])
        day, slot = places.days[d], places.open[s].id
        weight = float(size[members].sum())
        level = float((size[members] * grown[members]).sum()) / weight if weight > 0 else 0.0
        of_hour = hours @ landing(minute, asked.delays)
        of_time, pressed = np.exp(of_hour + weekdays[:, day.weekday()]), weight * np.exp(slope * level)
        values = pressed * of_time * np.exp(classes[:, c])
        total += values
        same += pressed * mean
        by_time += pressed * (of_time * mean_class - mean)
        if is_exploration or reason == "appointment":
            best = int(np.where(places.allowed[c] & places.on[d], places.slot_worth, -np.inf).argmax())
            lost = values * (np.exp(hours @ landing(places.clock[best], asked.delays) - of_hour) - 1)
            if is_exploration:
                lot += lost
                drawn[s] += float(values.mean())
            else:
                given_up += lost
                on = [w for w in places.open[s].weekdays if known.weekday.matters]
                to = max(on, key=lambda w: known.weekday.plan[w - 1], default=day.isoweekday())
                moved[kept[day.isoweekday(), slot, CLASSES[c]], to] += values * (
                    np.exp(weekdays[:, to - 1] - weekdays[:, day.weekday()]) - 1
                )
        counter[day, slot] += 1
        operators: dict[str, int] = defaultdict(int)
        for g in members:
            operators[operator_of[g]] += 1
        seen = np.maximum(values + rng.standard_normal(DRAWS) * noise * np.sqrt(values), 0.0)
        low, high = np.quantile(seen, [0.025, 0.975]) if weight == weight else (math.nan, math.nan)
        entries.append(
            Entry(
                f"{day}-{slot}-{counter[day, slot]}", day, datetime.combine(day, time(minute // 60, minute % 60)), slot, CLASSES[c],
                tuple(sorted(names[g] for g in members)), is_exploration, chance, tuple(sorted(operators.items())),
                int(heads[members].sum()), rounded(values.mean()), rounded(low), rounded(high), reason,
            )
        )  # fmt: skip
    habit = mean * float((size * np.maximum(usual - held, 0.0)).sum()) * weeks
    parts = {"part_pace": same - habit, "part_time": by_time, "part_class": total - same - by_time}
    if np.isfinite(asked.scatter):
        total = total * np.exp(rng.normal(0.0, asked.scatter / math.sqrt(weeks), DRAWS))
    made = {"plan": total, "habit": habit, "difference": total - habit, "same_number": total - same, **parts}
    if known.hour.matters:
        made |= {key: draws for key, draws in (("appointments", given_up), ("exploration", lot)) if draws.any()}
    made["leaving"] = asked.leave_rate * weeks * (np.exp(np.multiply.outer(_power(asked, rng), grown * math.log(2))) - 1) @ heads
    figures = {key: _three(draws) for key, draws in made.items()}
    figures["posts_week"] = (rounded(np.average(planned, weights=heads)), rounded(np.average(usual, weights=heads)), math.nan)
    over = MONTH_WEEKS / weeks if asked.horizon == "week" else 1.0
    now = asked.seen.curves["hour"].detectable if asked.seen and "hour" in asked.seen.curves else math.nan
    dispersion = asked.seen.dispersion if asked.seen else math.nan
    after = explore.detectable(drawn.sum() * over, drawn / (drawn.sum() or 1.0), dispersion)
    figures["detectable"] = (rounded(after), rounded(now), math.nan)
    figures |= _classes(asked, places)
    if len(asked.usual):
        quiet = (asked.usual.hour < asked.rules.contact_from.hour) | (asked.usual.hour >= asked.rules.contact_until.hour)
        figures["quiet"] = (rounded(asked.usual.n[quiet].sum() / asked.usual.n.sum()), math.nan, math.nan)
    best = max(moved, key=lambda k: moved[k].mean(), default=None)
    if best is None or np.quantile(moved[best], 0.025) <= 0:
        return tuple(entries), figures, None
    figures["appointment_day"] = _three(moved[best])
    return tuple(entries), figures, best


def _habit(asked: Task, hours, classes, weekdays) -> tuple[np.ndarray, np.ndarray]:
    """Return by draw the mean multiple of response over the weekdays, hours and classes that were usual, and that of classes alone."""
    if not len(asked.usual):
        nothing = np.full(DRAWS, np.nan if asked.seen is None else 1.0)
        return nothing, nothing
    made, by_class = np.zeros(DRAWS), np.zeros(DRAWS)
    for weekday, hour, content_class, n in asked.usual[["weekday", "hour", "content_class", "n"]].itertuples(index=False):
        own = np.exp(classes[:, CLASSES.index(content_class)])
        made += n * np.exp(weekdays[:, int(weekday) - 1] + hours[:, int(hour)]) * own
        by_class += n * own
    return made / asked.usual.n.sum(), by_class / asked.usual.n.sum()


def _power(asked: Task, rng: np.random.Generator) -> np.ndarray:
    if not np.isfinite(asked.leave_power):
        return np.full(DRAWS, np.nan)
    return np.clip(rng.normal(asked.leave_power, asked.leave_error, DRAWS), 0.0, 3.0)


def _classes(asked: Task, places: Places) -> dict[str, tuple[float, float, float]]:
    planned = np.bincount([r.content_class for r in places.rows], minlength=len(CLASSES)) / len(places.rows)
    usual = asked.usual.groupby("content_class").n.sum() if len(asked.usual) else {}
    n = float(sum(usual.get(c, 0) for c in CLASSES))
    return {
        f"class_{c}": (rounded(planned[i]), rounded(usual.get(c, 0) / n) if n else math.nan, math.nan)
        for i, c in enumerate(CLASSES)
    }


def rounded(value: float) -> float:
    """Return a figure as plans keep it."""
    return round(float(value), 6)


def _three(draws: np.ndarray) -> tuple[float, float, float]:
    if not np.isfinite(draws).all():
        return (math.nan,) * 3
    low, high = np.quantile(draws, [0.025, 0.975])
    return rounded(draws.mean()), rounded(low), rounded(high)
