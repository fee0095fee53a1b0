"""No calendar breaks a rule, whatever the brand: rules are checked here by hand from the record, and the checker on broken plans."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqkit.policy import Policy
from sqkit.timing.model import Curve, Response
from sqkit.timing.schedule import check, make
from sqkit.timing.schedule_model import Entry, Plan
from sqkit.timing.schedule_task import Capacity, Task
from sqkit.timing.slots import CLASSES, Appointment, Slot, slots

SLOTS = (
    Slot("early", "", "", 0, 7, ("interaction", "rules")),
    Slot("noon", "", "", 11, 14, ("knowledge", "product"), (1, 3, 5, 7)),
    Slot("shop", "", "", 14, 15, ("product",)),
    Slot("late", "", "", 18, 24, ("product", "culture", "service", "interaction")),
)


def held_out(rules: Policy, group: str) -> bool:
    drawn = hmac.new(rules.holdout_seed.encode(), f"group:{group}".encode(), hashlib.sha256).digest()
    return int.from_bytes(drawn[:8], "big") / 2**64 < rules.holdout_share


def month_length(day: date) -> int:
    return ((day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)).day


def cap_of(rules: Policy, day: date) -> tuple[int, list[date]]:
    """The one cap of a day and the days over which it counts, read from the record."""
    limits = [given for since, given in rules.caps["group_post"] if since <= day][-1]
    length = month_length(day)
    number = {per: length if n == "days" else n for per, n in limits.items()}
    per = rules.mass_window
    if per not in number:
        over_a_month = {"day": length, "week": length / 7, "month": 1.0}
        per = min(number, key=lambda p: (number[p] * over_a_month[p], ["day", "week", "month"].index(p)))
    if per == "day":
        span = [day]
    elif per == "week":
        span = [day + timedelta(i - day.weekday()) for i in range(7)]
    else:
        span = [day.replace(day=1) + timedelta(i) for i in range(length)]
    return number[per], span


def broken(plan: Plan, task: Task) -> list[str]:
    """Everything a plan breaks, by the rules as a person reads them."""
    rules, capacity, found = task.rules, task.capacity, []
    operator = dict(zip(task.groups.group_id, task.groups.operator, strict=True))
    slot_of = {s.id: s for s in task.slots}
    posts = [(e, g) for e in plan.entries for g in e.group_ids]
    sent, planned = Counter(), Counter((g, e.on_day) for e, g in posts)
    for g, day, n in task.sent[["group_id", "on_day", "n"]].itertuples(index=False):
        sent[g, day] += n
    for e in plan.entries:
        s = slot_of[e.slot]
        minute = e.at.hour * 60 + e.at.minute
        out = datetime.combine(date.min, e.at.time()) + timedelta(minutes=max(task.late, 0.0))
        found += ["day"] * (not task.first <= e.on_day <= task.last or e.at.date() != e.on_day)
        found += ["slot"] * (not s.first * 60 <= minute < s.until * 60 or e.on_day.isoweekday() not in s.weekdays)
        found += ["class"] * (e.content_class not in s.classes)
        found += ["quiet"] * (e.at.time() < rules.contact_from or out >= datetime.combine(date.min, rules.contact_until))
        found += ["chance"] * (not 0 < e.chance <= 1 or (e.chance < 1 and not e.is_exploration))
    for e, g in posts:
        found += ["holdout"] * (held_out(rules, g) or g in task.kept_away or g not in operator)
        most, span = cap_of(rules, e.on_day)
        found += ["cap"] * (sum(sent[g, d] + planned[g, d] for d in span) > most)
    places = Counter([(g, e.on_day, e.slot) for e, g in posts] + list(task.taken))
    found += ["twice"] * sum(places[g, e.on_day, e.slot] > 1 for e, g in posts)
    a_day, in_slot, in_day = Counter(), Counter(), Counter()
    for (g, day, slot), n in places.items():
        a_day[g, day] += n
        if g in operator:
            in_slot[operator[g], day, slot] += n
            in_day[operator[g], day] += n
    for e, g in posts:
        found += ["group day"] * (a_day[g, e.on_day] > capacity.per_group_day)
        found += ["operator slot"] * (in_slot[operator[g], e.on_day, e.slot] > capacity.per_slot)
        found += ["operator day"] * (in_day[operator[g], e.on_day] > capacity.per_day)
    weeks: dict[tuple, list[str]] = {}
    for e, g in posts:
        weeks.setdefault((g, e.on_day.isocalendar()[:2]), []).append(e.content_class)
    for classes in weeks.values():
        products = classes.count("product")
        found += ["mix"] * (products > capacity.product_share * len(classes) + 1e-9 or products == len(classes))
    return found


def curve(rng, factor: str, levels) -> Curve:
    ratio = np.exp(rng.normal(0, 0.3, len(levels)))
    table = pd.DataFrame({"level": list(levels), "ratio": ratio})
    return Curve(factor, table, np.eye(len(levels)) * 0.05**2, 0.01, bool(rng.random() < 0.5), detectable=1.1)


def drawn_task(rng, as_of: date, horizon: str, rules: Policy, late: float, capacity: Capacity, n: int) -> Task:
    if horizon == "week":
        first = as_of + timedelta(7 - as_of.weekday())
        last = first + timedelta(6)
    else:
        first = (as_of.replace(day=28) + timedelta(4)).replace(day=1)
        last = first.replace(day=month_length(first))
    names = [f"G{i:03d}" for i in range(n)]
    held = tuple(g for g in names if held_out(rules, g))
    names = [g for g in names if g not in held]
    k = len(names)
    groups = pd.DataFrame(
        {
            "group_id": names, "operator": [f"OP{o}" for o in rng.integers(0, 3, k)], "n_members": rng.integers(1, 300, k),
            "weight": rng.integers(1, 300, k), "rate": rng.uniform(0.01, 0.1, k), "per_week": rng.choice([0.0, 0.4, 3.0, 7.0, 25.0], k),
            "is_recovering": rng.random(k) < 0.2, "kind": rng.choice(["a", "b", ""], k),
        }
    )  # fmt: skip
    days = [first + timedelta(int(i)) for i in range(-40, (last - first).days + 1)]
    accepted, sent = set(), Counter()
    for g in names:
        for _ in range(int(rng.choice([0, 0, 2, 12]))):
            sent[g, days[int(rng.integers(40))]] += 1
        for _ in range(int(rng.choice([0, 0, 2, 10]))):
            accepted.add((g, days[int(rng.integers(40, len(days)))], str(rng.choice(["early", "noon", "late", "gone"]))))
    for g, day, _ in accepted:
        sent[g, day] += 1
    seen = None
    if rng.random() < 0.8:
        factors = {"hour": range(24), "weekday": range(1, 8), "content_class": CLASSES}
        curves = {f: curve(rng, f, levels) for f, levels in factors.items() if rng.random() < 0.8}
        seen = Response(curves, 0.05, 3.0, 900, 90, n, fatigue=(0.8, 0.75, 0.86) if rng.random() < 0.7 else (math.nan,) * 3)
    usual = pd.DataFrame(
        [(int(w), int(h), int(h), str(c), int(k)) for w, h, c, k in zip(
            rng.integers(1, 8, 9), rng.integers(0, 24, 9), rng.choice(CLASSES, 9), rng.integers(1, 9, 9), strict=True)],
        columns=["weekday", "scheduled_hour", "hour", "content_class", "n"],
    )  # fmt: skip
    day_slots = SLOTS if rng.random() < 0.7 else slots()
    kept = tuple(
        Appointment(f"A{i}", "", "", int(rng.choice(s.weekdays)), s.id, int(rng.integers(s.first * 60, s.until * 60)), str(rng.choice(s.classes)))
        for i, s in enumerate(day_slots[int(j)] for j in rng.integers(0, len(day_slots), int(rng.integers(0, 6))))
    )  # fmt: skip
    delays = tuple(float(v) for v in rng.choice([0.0, 5.0, 60.0, 1440.0, 9e9, math.nan], 5))
    return Task(
        "drawn", "", as_of, horizon, first, last, "Asia/Shanghai", rules, groups,
        pd.DataFrame([(g, d, c) for (g, d), c in sent.items()], columns=["group_id", "on_day", "n"]),
        usual if rng.random() < 0.8 else usual[:0], day_slots, {"late": 1140, "noon": 733}, late, delays,
        int(rng.integers(1, 7)), seen, held, (), frozenset(accepted), capacity, 0.01, float(rng.choice([math.nan, 0.1, 2.0])), 0.05,
        int(rng.integers(2**31)), scatter=float(rng.choice([math.nan, 0.05])), appointments=kept,
    )  # fmt: skip


limit = st.one_of(
    st.fixed_dictionaries({"month": st.one_of(st.just("days"), st.integers(0, 40))}),
    st.fixed_dictionaries({"week": st.integers(0, 9)}),
    st.fixed_dictionaries({"day": st.integers(0, 2)}),
    st.just({"month": "days", "week": 7, "day": 1}),
    st.just({"week": 3, "day": 2}),
)
regimes = st.tuples(limit, limit, limit, st.integers(-20, 50), st.integers(1, 30))
clocks = st.tuples(st.times(), st.times()).filter(lambda pair: pair[0].replace(microsecond=0) < pair[1].replace(microsecond=0))


@settings(derandomize=True, deadline=None, max_examples=110, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    as_of=st.one_of(
        st.dates(date(2025, 10, 1), date(2027, 3, 31)),
        st.sampled_from([date(2026, 12, 27), date(2027, 1, 31), date(2026, 11, 30)]),
    ),
    horizon=st.sampled_from(["week", "month"]),
    caps=regimes,
    window=st.sampled_from(["month", "week", "day"]),
    hours=st.one_of(clocks, st.sampled_from([(time(9), time(21)), (time(0), time(23, 59)), (time(8, 30, 15), time(20, 0, 1))])),
)
def test_no_calendar_breaks_a_rule(seed, as_of, horizon, caps, window, hours):
    rng = np.random.default_rng(seed)
    before, middle, after, start, gap = caps
    since = as_of + timedelta(start)
    rules = Policy(
        holdout_share=float(rng.choice([0.0, 0.1, 0.5])), holdout_seed=f"s{seed % 7}", mass_window=window,
        contact_from=hours[0].replace(microsecond=0), contact_until=hours[1].replace(microsecond=0),
        caps={"group_post": ((date(1900, 1, 1), before), (since, middle), (since + timedelta(gap), after))},
    )  # fmt: skip
    late = float(
        rng.choice([0.0, 16.5, 86.6, 240.0, 1e6, math.nan, math.inf, -5.0], p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
    )
    few, many = rng.choice([0, 1, 2, 4, 9], p=[0.02, 0.1, 0.2, 0.3, 0.38]), rng.choice([0, 2, 5, 14], p=[0.02, 0.2, 0.38, 0.4])
    capacity = Capacity(150, int(few), int(many), int(rng.integers(1, 4)), float(rng.choice([0.0, 0.3, 0.5, 1.0])))
    task = drawn_task(rng, as_of, horizon, rules, late, capacity, int(rng.integers(1, 15)))
    plan = make(task, [None, 0.0, 0.3, 1.0][int(rng.integers(4))], None if rng.random() < 0.7 else float(rng.uniform(0, 20)))
    assert broken(plan, task) == []
    assert plan.entries or plan.notes
    assert Plan.from_json(plan.to_json()).hash == plan.hash


RULES = Policy(holdout_share=0.0, caps={"group_post": ((date(1900, 1, 1), {"week": 2}),)})
MONDAY = date(2026, 7, 6)


def entry(
    day: int = 0, at: time = time(19), slot: str = "evening", content_class: str = "culture", groups=("G000",), **more
) -> Entry:
    on_day = MONDAY + timedelta(day)
    return Entry(f"{on_day}-{slot}-{at}", on_day, datetime.combine(on_day, at), slot, content_class, groups, **more)


def faults(
    *entries: Entry, rules: Policy = RULES, sent=(), late: float = 60.0, taken=(), capacity: Capacity | None = None
) -> list[str]:
    plan = Plan("x", "", date(2026, 7, 1), "week", MONDAY, MONDAY + timedelta(6), "Asia/Shanghai", entries, ("H",))
    groups = pd.DataFrame({"group_id": [f"G{i:03d}" for i in range(4)], "operator": ["OP"] * 4})
    sent = pd.DataFrame(list(sent), columns=["group_id", "on_day", "n"])
    task = Task(
        "x", "", plan.as_of, "week", plan.first, plan.last, "Asia/Shanghai", rules, groups, sent, pd.DataFrame(), slots(), late=late,
        taken=frozenset(taken), capacity=capacity or Capacity(),
    )  # fmt: skip
    return check(plan, task)


def test_a_plan_within_all_rules_has_no_fault():
    both = (entry(), entry(6, groups=("G000", "G001")))
    assert faults(*both) == []
    assert faults(entry(), sent=[("G000", MONDAY - timedelta(1), 9), ("G001", MONDAY, 9)]) == []  # another week, another group


MANY = ("G000", "G001", "G002")


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("posts in the week of", lambda: faults(entry(0), entry(1), entry(2))),
        ("posts in the week of", lambda: faults(entry(0), sent=[("G000", MONDAY + timedelta(5), 2)])),
        ("posts in the week of", lambda: faults(entry(0), rules=replace(RULES, caps={"group_post": ((date.min, {"week": 0}),)}))),
        ("posts in the month of", lambda: faults(
            entry(0), sent=[("G000", date(2026, 7, 1), 31)], rules=replace(RULES, caps={"group_post": ((date.min, {"month": "days"}),)}))),
        ("posts in the day of", lambda: faults(
            entry(), entry(at=time(12), slot="noon"), rules=replace(RULES, caps={"group_post": ((date.min, {"day": 1}),)}))),
        ("quiet hours", lambda: faults(entry(at=time(20)))),  # out by 21:00, when the hours end
        ("quiet hours", lambda: faults(entry(at=time(8, 59), slot="morning_check_in", content_class="rules"))),
        ("quiet hours", lambda: faults(entry(at=time(9), slot="morning_check_in", content_class="rules"), late=1e6)),
        ("quiet hours", lambda: faults(entry(), late=math.nan)),
        ("outside its slot", lambda: faults(entry(at=time(14), slot="noon"))),
        ("outside its slot", lambda: faults(entry(slot="night"))),
        ("is not planned in", lambda: faults(entry(content_class="rules"))),
        ("outside the days", lambda: faults(entry(7))),
        ("outside the days", lambda: faults(replace(entry(), on_day=MONDAY + timedelta(1)))),
        ("not a local minute", lambda: faults(replace(entry(), at=datetime(2026, 7, 6, 19, 0, 30)))),
        ("one key", lambda: faults(entry(), replace(entry(1), post_key=entry().post_key))),
        ("unsorted or named twice", lambda: faults(entry(groups=("G001", "G000")))),
        ("unsorted or named twice", lambda: faults(entry(groups=()))),
        ("is not to be planned", lambda: faults(entry(groups=("H",)))),
        ("is not to be planned", lambda: faults(entry(groups=("G009",)))),
        ("is not to be planned", lambda: faults(entry(), rules=replace(RULES, holdout_share=1.0))),
        ("in evening", lambda: faults(entry(), entry(at=time(19, 30)))),
        ("in evening", lambda: faults(entry(), taken=[("G000", MONDAY, "evening")])),
        ("posts on", lambda: faults(entry(), entry(at=time(12), slot="noon"), capacity=Capacity(per_group_day=1))),
        ("posts on", lambda: faults(entry(), taken=[("G000", MONDAY, "noon")], capacity=Capacity(per_group_day=1))),
        ("confirms 3 on 2026-07-06 in evening", lambda: faults(entry(groups=MANY), capacity=Capacity(per_slot=2))),
        ("confirms 3 on 2026-07-06 in evening", lambda: faults(
            entry(groups=MANY[:2]), taken=[("G003", MONDAY, "evening")], capacity=Capacity(per_slot=2))),
        ("confirms 3 on 2026-07-06", lambda: faults(entry(groups=MANY), capacity=Capacity(per_day=2))),
        ("runs 3 groups", lambda: faults(entry(groups=MANY), capacity=Capacity(groups=2))),
        ("product posts", lambda: faults(entry(content_class="product"))),
        ("product posts", lambda: faults(
            entry(0, content_class="product"), entry(1), capacity=Capacity(product_share=0.3))),
        ("no chance", lambda: faults(entry(chance=0.0))),
        ("no chance", lambda: faults(entry(chance=math.nan))),
        ("was not drawn", lambda: faults(entry(chance=0.4))),
    ],
)  # fmt: skip
def test_each_broken_rule_is_found(said, made):
    found = made()
    assert any(said in fault for fault in found), found
