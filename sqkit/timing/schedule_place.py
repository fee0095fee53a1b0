"""Which group gets which post when: the week's appointments, then days, classes and slots, group after group, never past a rule.

The worth of a post is a product of what day, slot and class do, so groups compete only for their operators' minutes: the best place for
one group is the best for all until an operator is full. ``benchmarks/schedule_speed.py`` holds it against an exact solver.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from sqkit import policy
from sqkit.timing import explore
from sqkit.timing.schedule_task import Task
from sqkit.timing.schedule_value import Worth, within
from sqkit.timing.slots import CLASSES

__all__ = ["Places", "Row", "place"]

BLOCK = 6  # groups that are drawn together: with ten, a month finds the promised ratio in 67% instead of 80%
GOLDEN = 0.6180339887  # steps of the golden ratio fall evenly on a circle: slots come as often as their chances say
MIX = (0.8, 1.2)  # of a class's usual share, between which its target may move towards the better classes; product never rises
PRODUCT = CLASSES.index("product")
APPOINTED = 0.5  # of a group's posts of a week, at most
GIVEN_UP = ("drawn", "appointment")  # what a week gives up last


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

    @property
    def rows(self) -> list[Row]:
        """Return what is placed, in the order of placing."""
        return list(self.by_place.values())

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
        self.operators, self.kinds = task.groups.operator.tolist(), task.groups.kind.tolist()
        self.in_slot: dict[tuple, int] = defaultdict(int)
        self.in_day: dict[tuple, int] = defaultdict(int)
        self.taken: dict[tuple[int, int], set[int | str]] = defaultdict(set)
        self.at: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.clock = [self.minutes[s.id] for s in self.open]
        self.fixed = {
            (a.weekday, self.place_of[a.slot], CLASSES.index(a.content_class)): within(a.minute, self.spans[a.slot])
            for a in task.appointments
            if a.slot in self.place_of
        }
        self.memo: dict[tuple, np.ndarray] = {}
        self.by_place: dict[tuple[int, int, int], Row] = {}
        self.wanted = np.zeros(len(task.groups), int)
        self.accepted = np.zeros((len(task.groups), len(self.days)), int)
        self.slots_of = [
            [[int(s) for s in np.flatnonzero(self.allowed[c] & self.on[d])] for c in range(len(CLASSES))]
            for d in range(len(self.days))
        ]
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
        total = np.zeros((n, len(windows)), int)
        self.bound: list[set[int]] = [set() for _ in range(n)]
        for g, on_day, count in task.sent[["group_id", "on_day", "n"]].itertuples(index=False):
            if g in known:
                total[known[g], [j for j, (a, b, _) in enumerate(windows) if a <= on_day <= b]] += int(count)
        place_of_day = {d: i for i, d in enumerate(self.days)}
        for g, on_day, slot in task.taken:
            if on_day in place_of_day and g in known:
                d = place_of_day[on_day]
                self.taken[known[g], d].add(self.place_of.get(slot, slot))
                if slot in self.place_of:
                    self.at[known[g], d].append(self.clock[self.place_of[slot]])
                operator = self.operators[known[g]]
                self.in_slot[operator, d, self.place_of.get(slot, slot)] += 1
                self.in_day[operator, d] += 1
                self.accepted[known[g], d] += 1
        most = np.tile(np.array([m for *_, m in windows], int), (n, 1))
        for j, (a, b, _) in enumerate(windows):  # a window that goes on after the plan keeps its part for later
            planned, left = (sum(a <= d <= b for d in self.days), (b - max(a, task.first)).days + 1)
            if planned < left:
                before = total[:, j] - self.accepted[:, [a <= d <= b for d in self.days]].sum(1)
                room = np.maximum(most[:, j] - before, 0)
                most[:, j] = np.minimum(most[:, j], before + -(-room * planned // left))
        self.total, self.most = total.tolist(), most.tolist()

    def caps_room(self, g: int, d: int) -> bool:
        """Return whether the caps leave room for one more post to a group on a day."""
        force, bound, total, most = self.force[d], self.bound[g], self.total[g], self.most[g]
        return all(total[j] < most[j] for j in self.holding[d] if j in force or j in bound)

    def has_room(self, g: int, d: int) -> bool:
        """Return whether caps, operator and the group's day leave room for one more post."""
        return (
            self.in_day[self.operators[g], d] < self.task.capacity.per_day
            and len(self.taken[g, d]) < self.task.capacity.per_group_day
            and self.caps_room(g, d)
        )

    def is_full(self, g: int, d: int, s: int) -> bool:
        """Return whether the operator of a group can confirm no more in a slot."""
        return self.in_slot[self.operators[g], d, s] >= self.task.capacity.per_slot

    def free(self, g: int, d: int, c: int) -> list[int]:
        """Return the slots in which a class may go to a group on a day."""
        return [s for s in self.slots_of[d][c] if self.can(g, d, s, self.clock[s])]

    def can(self, g: int, d: int, s: int, minute: int) -> bool:
        """Return whether a slot is free for a group on a day at a minute that lies far enough from the group's other posts."""
        if s in self.taken[g, d] or self.is_full(g, d, s):
            return False
        return all(abs(minute - other) >= self.task.capacity.gap for other in self.at[g, d])

    def minute(self, row: Row) -> int:
        """Return the minute of the day at which a post goes out: its appointment's, or the slot's."""
        if row.reason == "appointment":
            return self.fixed[self.days[row.day].isoweekday(), row.slot, row.content_class]
        return self.clock[row.slot]

    def add(self, row: Row) -> None:
        """Place a post."""
        self.by_place[row.group, row.day, row.slot] = row
        self._count(row, 1)
        self.bound[row.group].update(self.force[row.day])
        self.taken[row.group, row.day].add(row.slot)
        self.at[row.group, row.day].append(self.minute(row))

    def remove(self, row: Row) -> None:
        """Take a post back; its windows stay bound, which is only stricter."""
        del self.by_place[row.group, row.day, row.slot]
        self._count(row, -1)
        self.taken[row.group, row.day].discard(row.slot)
        self.at[row.group, row.day].remove(self.minute(row))

    def _count(self, row: Row, by: int) -> None:
        for j in self.holding[row.day]:
            self.total[row.group][j] += by
        operator = self.operators[row.group]
        self.in_slot[operator, row.day, row.slot] += by
        self.in_day[operator, row.day] += by

    def chances(self, factor: str, places: tuple[int, ...]) -> np.ndarray:
        """Return the chance of each slot or class of a choice, the same for the same choice."""
        if (factor, places) not in self.memo:
            draws = self.slot_draws if factor == "slot" else self.class_draws
            self.memo[factor, places] = explore.chances(draws[:, places])
        return self.memo[factor, places]

    def why_not(self, g: int) -> str:
        """Return why a group has no post: ``cap``, ``not_due``, ``accepted``, ``operator_full`` or ``closed``."""
        if self.accepted[g].any():
            return "accepted"
        able = [d for d in range(len(self.days)) if self.caps_room(g, d)]
        if not able:
            return "cap"
        if not self.wanted[g]:
            return "not_due"
        can = [(d, s) for d in able for s in np.flatnonzero(self.on[d] & self.allowed.any(0))]
        operator, capacity = self.operators[g], self.task.capacity
        full = [self.in_day[operator, d] >= capacity.per_day or self.is_full(g, d, int(s)) for d, s in can]
        return "operator_full" if full and all(full) else "closed"


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
        high[PRODUCT] = max(share[PRODUCT], 1 - high.sum() + high[PRODUCT])
        share, rest = low.copy(), 1.0 - low.sum()
        slot = np.where(places.allowed, places.slot_worth, -np.inf).max(1, initial=-np.inf)  # the best that takes the class
        for c in np.argsort(-np.round(places.known.content_class.plan + slot, 9), kind="stable"):
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
                first = explore.pick(weight / weight.sum(), places.rng.random())
                rest = [i for i in np.argsort(-weight, kind="stable") if i != first]
                ranked, reason = slots[[first, *rest]], "habit" if usual.sum() else "sop"
            today[c] = ([int(s) for s in ranked], reason)
        made.append(today)
    return made


def place(places: Places, per_week: np.ndarray, share: float) -> None:
    """Place the posts of all groups, week by week: appointments, then day by day the blocks that are drawn, then the others.

    Parameters
    ----------
    places : Places
    per_week : ndarray
        Posts a week by group.
    share : float
        Of the posts, the part that is drawn.
    """
    if not places.open or not places.shares.sum():
        return
    programme, rng, n = _programme(places), places.rng, len(per_week)
    owed, phase, before = (rng.random((n, len(CLASSES))) * (places.shares > 0)).tolist(), rng.random(n), np.zeros(n)
    kinds: dict[str, list[int]] = defaultdict(list)
    for g, kind in enumerate(places.task.groups.kind):
        kinds[kind].append(g)
    due = {kind: float(rng.random()) * min(BLOCK, len(members)) for kind, members in sorted(kinds.items())}
    at = {kind: float(rng.random()) for kind in due}
    size = (places.task.groups.weight * places.task.groups.rate).fillna(0.0).tolist()
    weeks: dict[date, list[int]] = defaultdict(list)
    for d, day in enumerate(places.days):
        weeks[day - timedelta(day.weekday())].append(d)
    for week in weeks.values():
        after = before + per_week * len(week) / 7
        wanted = np.floor(after + phase) - np.floor(before + phase)
        before = after
        wanted = np.maximum(wanted - places.accepted[:, week].sum(1), 0.0)
        places.wanted += wanted.astype(int)
        mine: dict[int, list[Row]] = defaultdict(list)
        budget = [_products(places, int(k)) for k in wanted]
        for g in np.argsort(-np.array(size), kind="stable"):
            _appoint(places, int(g), week, int(wanted[g]), owed, budget, mine)
        held = [[r.day for r in mine.get(g, [])] for g in range(n)]
        chosen = [_chosen_days(places, g, week, int(wanted[g]) - len(held[g]), float(phase[g]), held[g]) for g in range(n)]
        for g in range(n):
            appointed = sum(r.content_class == PRODUCT for r in mine.get(g, []))
            budget[g] = max(_products(places, len(chosen[g]) + len(held[g])) - appointed, 0)
        others = sum(map(len, chosen))
        part = min(share * (1 + sum(map(len, held)) / others), 1.0) if others else 0.0
        for d in week:
            todo = {int(g): chosen[g].count(d) for g in rng.permutation(n) if d in chosen[g]}
            for kind in due:
                able = [g for g in todo if places.kinds[g] == kind and places.has_room(g, d)]
                for block in _blocks(able, due, kind, part):
                    at[kind] = (at[kind] + GOLDEN) % 1.0
                    for row in _drawn(places, programme[d], block, d, budget, at[kind]):
                        todo[row.group] -= 1
                        _keep(places, row, owed, budget, mine)
            turns = [g for g, k in todo.items() for _ in range(k)]
            if places.known.hour.matters:  # where minutes are short, the groups that answer most come first
                turns.sort(key=lambda g: -size[g])
            for g in turns:
                row = _next(places, programme[d], g, d, owed[g], budget[g])
                if row:
                    _keep(places, row, owed, budget, mine)
        for rows in mine.values():
            _mix(places, rows)


def _products(places: Places, n: int) -> int:
    """Return how many of a group's posts of a week may be of the class product: never all."""
    return max(min(int(places.task.capacity.product_share * n + 1e-9), n - 1), 0)


def _appoint(
    places: Places, g: int, week: list[int], wanted: int, owed: list[list[float]], budget: list[int], mine: dict
) -> None:
    """Place the appointments of a group's week, the most important first, as far as rules and its number of posts bear."""
    for (weekday, slot, c), minute in places.fixed.items():
        if len(mine[g]) >= int(APPOINTED * wanted):
            return
        if c == PRODUCT and budget[g] < 1:
            continue
        for d in week:
            on = places.days[d].isoweekday() == weekday and slot in places.slots_of[d][c]
            if on and places.can(g, d, slot, minute):
                _keep(places, Row(g, d, slot, c, False, 1.0, "appointment"), owed, budget, mine)


def _blocks(able: list[int], due: dict[str, float], kind: str, share: float) -> list[list[int]]:
    """Return the blocks of a day, of about six groups: what is due of the share is kept until it fills one."""
    due[kind] += share * len(able)
    if not able or due[kind] < min(BLOCK, len(able)):
        return []
    n = min(int(due[kind]), len(able))
    due[kind] -= n
    size = -(-n // max(round(n / BLOCK), 1))
    return [able[i : min(i + size, n)] for i in range(0, n, size)]


def _drawn(places: Places, today: dict, block: list[int], d: int, budget: list[int], at: float) -> list[Row]:
    """Draw one slot and class for a block, of those that all its groups may have."""
    free = [{(s, c) for c in today if c != PRODUCT or budget[g] > 0 for s in places.free(g, d, c)} for g in block]
    block, free = [g for g, f in zip(block, free, strict=True) if f], [f for f in free if f]
    if not block:
        return []
    load = Counter(places.operators[g] for g in block)
    both, most = set.intersection(*free), places.task.capacity.per_slot
    both = {(s, c) for s, c in both if all(places.in_slot[o, d, s] + n <= most for o, n in load.items())}
    if not both:
        return []
    open_slots = tuple(sorted({s for s, _ in both}))
    of_slot = places.chances("slot", open_slots)
    i = explore.pick(of_slot, at)
    classes = tuple(sorted(c for s, c in both if s == open_slots[i]))
    of_class = places.chances("class", classes)
    j = explore.pick(of_class, places.rng.random())
    chance = round(float(of_slot[i] * of_class[j]), 6)
    return [Row(g, d, open_slots[i], classes[j], True, chance, "drawn") for g in block]


def _next(places: Places, today: dict, g: int, d: int, owed: list[float], budget: int) -> Row | None:
    """Return the next post of a group on a day: of the class that is owed most, in its best free slot; None without room."""
    if not places.has_room(g, d):
        return None
    options = {c: free for c in sorted(today) if (c != PRODUCT or budget > 0) and (free := places.free(g, d, c))}
    if not options:
        return None
    c = max(options, key=lambda c: owed[c] + places.shares[c])
    ranked, reason = today[c]
    slot = next(s for s in ranked if s in options[c])
    return Row(g, d, slot, c, False, 1.0, "full" if places.is_full(g, d, ranked[0]) else reason)


def _keep(places: Places, row: Row, owed: list[list[float]], budget: list[int], mine: dict[int, list[Row]]) -> None:
    if not places.has_room(row.group, row.day):
        return
    mine_owed = owed[row.group]
    for c, share in enumerate(places.shares):
        mine_owed[c] += share
    mine_owed[row.content_class] -= 1.0
    budget[row.group] -= row.content_class == PRODUCT
    places.add(row)
    mine[row.group].append(row)


def _mix(places: Places, rows: list[Row]) -> None:
    """Give another class to product posts that a week without the others does not bear, or take them back: the last of the best hours first."""
    products = [r for r in rows if r.content_class == PRODUCT]
    products.sort(key=lambda r: GIVEN_UP.index(r.reason) if r.reason in GIVEN_UP else len(GIVEN_UP))  # else as they were placed
    n = len(rows)
    while products and (len(products) > places.task.capacity.product_share * n + 1e-9 or len(products) == n):
        row = products.pop()
        places.remove(row)
        others = [
            c for c in np.argsort(-places.shares, kind="stable") if c != PRODUCT and row.slot in places.slots_of[row.day][c]
        ]
        if row.reason not in GIVEN_UP and others and places.shares[others[0]] > 0:
            places.add(replace(row, content_class=int(others[0])))
        else:
            n -= 1


def _chosen_days(places: Places, g: int, week: list[int], wanted: int, phase: float, held: list[int]) -> list[int]:
    """Return the days of a group's further posts, a day twice only where all have one: the best weekdays where they matter, else evenly."""
    able = [d for d in week if places.has_room(g, d)]
    if not able or wanted <= 0:
        return []
    rounds: list[int] = []
    pool = [d for d in able if d not in held] or able
    while wanted > 0 and len(rounds) < len(able) * places.task.capacity.per_group_day:
        n = min(wanted, len(pool))
        if places.known.weekday.matters:
            worth = [-places.known.weekday.plan[places.days[d].weekday()] for d in pool]
            picked = [pool[i] for i in np.argsort(np.round(worth, 9), kind="stable")[:n]]
        else:
            picked = [pool[int((i + phase) * len(pool) / n) % len(pool)] for i in range(n)]
        rounds += picked
        pool = able
        wanted -= n
    return sorted(rounds)
