"""Which group gets which post when: days, then classes and slots, one group after the other, never past a rule.

The worth of a post is a product of what day, slot and class do, so groups compete only for their operators' minutes: the best place for
one group is the best for all until an operator is full. ``benchmarks/schedule_speed.py`` holds it against an exact solver.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from sqkit import policy
from sqkit.timing import explore
from sqkit.timing.schedule_task import Task
from sqkit.timing.schedule_value import Worth
from sqkit.timing.slots import CLASSES

__all__ = ["Places", "Row", "place"]

MIX = (0.5, 1.5)  # of a class's usual share, between which its share may move towards the better classes
PRODUCT = CLASSES.index("product")


@dataclass(frozen=True)
class Row:
    """One post in one group: places in the lists of groups, days, slots and classes."""

    group: int
    day: int
    slot: int
    content_class: int
    is_exploration: bool
    chance: float
    reason: str


@dataclass
class Places:
    """What is placed so far, and what room is left."""

    task: Task
    known: Worth
    spans: dict[str, tuple[int, int]]
    minutes: dict[str, int]
    slot_draws: np.ndarray  # log ratio by draw and open slot
    class_draws: np.ndarray
    slot_worth: np.ndarray  # as the planner goes by, by open slot
    rng: np.random.Generator
    days: list[date] = field(init=False)
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        task = self.task
        self.days = [task.first + timedelta(i) for i in range((task.last - task.first).days + 1)]
        self.open = [s for s in task.slots if s.id in self.spans]
        self.place_of = {s.id: i for i, s in enumerate(self.open)}
        self.allowed = np.array([[c in s.classes for s in self.open] for c in CLASSES], bool).reshape(
            len(CLASSES), len(self.open)
        )
        self.on = np.array([[d.isoweekday() in s.weekdays for s in self.open] for d in self.days], bool).reshape(
            len(self.days), -1
        )
        self.operators = task.groups.operator.to_numpy()
        self.in_slot: dict[tuple, int] = defaultdict(int)
        self.in_day: dict[tuple, int] = defaultdict(int)
        self.taken: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.memo: dict[tuple, np.ndarray] = {}
        self._caps()
        self.shares = _shares(self)

    def _caps(self) -> None:
        """Collect caps by window. A window is bound once a day on which its cap is in force has a post planned."""
        task, index, known = self.task, {}, {}
        self.force, self.holding = [], []
        for d in self.days:
            caps = [(c.first, c.last, c.at_most) for c in policy.cap(task.rules, "group_post", d)]
            self.force.append([index.setdefault(c, len(index)) for c in caps])
        windows = list(index)
        self.holding = [[j for j, (a, b, _) in enumerate(windows) if a <= d <= b] for d in self.days]
        n = len(task.groups)
        known = {g: i for i, g in enumerate(task.groups.group_id)}
        self.total, self.bound = np.zeros((n, len(windows)), int), np.zeros((n, len(windows)), bool)
        for g, on_day, count in task.sent[["group_id", "on_day", "n"]].itertuples(index=False):
            if g in known:
                self.total[known[g], [j for j, (a, b, _) in enumerate(windows) if a <= on_day <= b]] += int(count)
        self.most = np.tile(np.array([m for *_, m in windows], int), (n, 1))
        for j, (a, b, _) in enumerate(windows):  # a window that goes on after the plan keeps its part for later
            planned, left = (sum(a <= d <= b for d in self.days), (b - max(a, task.first)).days + 1)
            if planned < left:
                room = np.maximum(self.most[:, j] - self.total[:, j], 0)
                self.most[:, j] = np.minimum(self.most[:, j], self.total[:, j] + -(-room * planned // left))
        place_of_day = {d: i for i, d in enumerate(self.days)}
        for g, on_day, slot in task.taken:
            if on_day in place_of_day and g in known:
                d = place_of_day[on_day]
                self.taken[known[g], d].add(self.place_of.get(slot, -1))
                operator = self.operators[known[g]]
                self.in_slot[operator, d, self.place_of.get(slot, -1)] += 1
                self.in_day[operator, d] += 1

    def has_room(self, g: int, d: int) -> bool:
        """Return whether caps and operator leave room for one more post to a group on a day."""
        if (
            self.in_day[self.operators[g], d] >= self.task.capacity.per_day
            or len(self.taken[g, d]) >= self.task.capacity.per_group_day
        ):
            return False
        force, total, most = self.force[d], self.total[g], self.most[g]
        return all(total[j] < most[j] for j in self.holding[d] if j in force or self.bound[g, j])

    def free(self, g: int, d: int, c: int) -> list[int]:
        """Return the slots in which a class may go to a group on a day."""
        operator, most, held = self.operators[g], self.task.capacity.per_slot, self.taken[g, d]
        return [
            int(s)
            for s in np.flatnonzero(self.allowed[c] & self.on[d])
            if s not in held and self.in_slot[operator, d, int(s)] < most
        ]

    def add(self, row: Row) -> None:
        """Place a post."""
        self.rows.append(row)
        self._count(row, 1)
        self.bound[row.group, self.force[row.day]] = True
        self.taken[row.group, row.day].add(row.slot)

    def remove(self, row: Row) -> None:
        """Take a post back; its windows stay bound, which is only stricter."""
        self.rows.remove(row)
        self._count(row, -1)
        self.taken[row.group, row.day].discard(row.slot)

    def _count(self, row: Row, by: int) -> None:
        self.total[row.group, self.holding[row.day]] += by
        operator = self.operators[row.group]
        self.in_slot[operator, row.day, row.slot] += by
        self.in_day[operator, row.day] += by

    def chances(self, cells: tuple[tuple[int, int], ...]) -> np.ndarray:
        """Return the chance of each class and slot, the same for the same choice."""
        if cells not in self.memo:
            worth = np.stack([self.class_draws[:, c] + self.slot_draws[:, s] for c, s in cells], 1)
            self.memo[cells] = np.round(explore.chances(worth), 6)
        return self.memo[cells]


def _shares(places: Places) -> np.ndarray:
    """Return the target share of each class: as usual; where classes matter, moved towards the better ones; product within its limit."""
    task = places.task
    usual = task.usual.groupby("content_class").n.sum() if len(task.usual) else {}
    share = np.array([float(usual.get(c, 0)) for c in CLASSES])
    can = (places.allowed[:, None, :] & places.on[None]).any((1, 2)) if places.open else np.zeros(len(CLASSES), bool)
    if not share[can].sum():
        share = np.ones(len(CLASSES))
    share = np.where(can, share, 0.0)
    share /= max(share.sum(), 1e-12)
    if places.known.content_class.matters:
        low, high = MIX[0] * share, MIX[1] * share
        share, rest = low.copy(), 1.0 - low.sum()
        for c in np.argsort(-places.known.content_class.plan, kind="stable"):
            more = min(rest, high[c] - low[c])
            share[c] += more
            rest -= more
    most = task.capacity.product_share
    others = share.sum() - share[PRODUCT]
    if share[PRODUCT] > most and others > 0:
        share *= np.where(np.arange(len(CLASSES)) == PRODUCT, most / share[PRODUCT], (1 - most) / others)
    return share


def _programme(places: Places) -> list[dict[int, tuple[list[int], str]]]:
    """Return the day's contents: class to its slots, the first choice in front, and the reason of the first.

    As many different classes a day as there usually are posts, each as often as its share asks for.
    """
    task, made, owed = places.task, [], np.zeros(len(CLASSES))
    usual = np.zeros((len(CLASSES), len(places.open)))
    for c, hour, n in task.usual[["content_class", "scheduled_hour", "n"]].itertuples(index=False):
        here = next((i for i, s in enumerate(places.open) if hour == hour and int(hour) in s.hours), None)
        if here is not None:
            usual[CLASSES.index(c), here] += n
    for d in range(len(places.days)):
        can = (places.allowed & places.on[d]).any(1) & (places.shares > 0)
        owed += np.where(can, np.minimum(task.contents * places.shares, 1.0), 0.0)
        order = [int(c) for c in np.argsort(-np.where(can, owed, -np.inf), kind="stable") if can[c]]
        chosen = order[: task.contents]
        if chosen == [PRODUCT] and len(order) > 1:
            chosen.append(order[1])
        owed[chosen] -= 1.0
        today = {}
        for c in chosen:
            slots = np.flatnonzero(places.allowed[c] & places.on[d])
            if places.known.hour.matters:
                ranked, reason = slots[np.argsort(-places.slot_worth[slots], kind="stable")], "best"
            else:
                weight = usual[c, slots] + (0.0 if usual[c, slots].sum() else 1.0)
                first = explore.pick(weight / weight.sum(), places.rng)
                rest = [i for i in np.argsort(-weight, kind="stable") if i != first]
                ranked, reason = slots[[first, *rest]], "habit" if usual.sum() else "sop"
            today[c] = ([int(s) for s in ranked], reason)
        made.append(today)
    return made


def place(places: Places, per_week: np.ndarray, share: float) -> None:
    """Place the posts of all groups, week by week.

    Parameters
    ----------
    places : Places
    per_week : ndarray
        Posts a week by group.
    share : float
        Chance with which a post of a group and day is drawn.
    """
    if not places.open or not places.shares.sum():
        return
    programme, rng, n = _programme(places), places.rng, len(per_week)
    owed, phase, before = np.zeros((n, len(CLASSES))), rng.random(n), np.zeros(n)
    drawn = rng.random((n, len(places.days))) < share
    weeks: dict[date, list[int]] = defaultdict(list)
    for d, day in enumerate(places.days):
        weeks[day - timedelta(day.weekday())].append(d)
    for week in weeks.values():
        after = before + per_week * len(week) / 7
        wanted = np.floor(after + phase) - np.floor(before + phase)
        before = after
        for g in rng.permutation(n):
            _group_week(places, programme, int(g), week, int(wanted[g]), owed[g], drawn[g], float(phase[g]))


def _group_week(
    places, programme, g: int, week: list[int], wanted: int, owed: np.ndarray, drawn: np.ndarray, phase: float
) -> None:
    days = _chosen_days(places, g, week, wanted, phase)
    budget, mine = int(places.task.capacity.product_share * len(days) + 1e-9), []
    for d in days:
        if not places.has_room(g, d):
            continue
        options = {c: free for c in programme[d] if (c != PRODUCT or budget > 0) and (free := places.free(g, d, c))}
        if not options:
            continue
        owed += places.shares
        if drawn[d]:
            cells = tuple((c, s) for c in sorted(options) for s in options[c])
            chance = places.chances(cells)
            at = explore.pick(chance, places.rng)
            row = Row(g, d, cells[at][1], cells[at][0], True, float(chance[at]), "drawn")
        else:
            c = max(sorted(options), key=lambda c: owed[c])
            ranked, reason = programme[d][c]
            slot = next(s for s in ranked if s in options[c])
            row = Row(g, d, slot, c, False, 1.0, reason if slot == ranked[0] else "full")
        owed[row.content_class] -= 1.0
        budget -= row.content_class == PRODUCT
        places.add(row)
        mine.append(row)
    products = [r for r in mine if r.content_class == PRODUCT]
    while products and len(products) > places.task.capacity.product_share * len(mine) + 1e-9:
        places.remove(products[-1])
        mine.remove(products.pop())


def _chosen_days(places: Places, g: int, week: list[int], wanted: int, phase: float) -> list[int]:
    """Return the days of a group's posts, a day twice only where all have one: the best weekdays where they matter, else evenly spread."""
    able = [d for d in week if places.has_room(g, d)]
    if not able or wanted <= 0:
        return []
    rounds: list[int] = []
    while wanted > 0 and len(rounds) < len(able) * places.task.capacity.per_group_day:
        n = min(wanted, len(able))
        if places.known.weekday.matters:
            worth = [-places.known.weekday.plan[places.days[d].weekday()] for d in able]
            picked = [able[i] for i in np.argsort(np.round(worth, 9), kind="stable")[:n]]
        else:
            picked = [able[int((i + phase) * len(able) / n) % len(able)] for i in range(n)]
        rounds += picked
        wanted -= n
    return sorted(rounds)
