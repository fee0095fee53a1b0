"""Calendars of small and odd brands: what cannot be planned is said, and no hour is preferred where none is better."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import worlds
from books import present

from sqkit.errors import ContractError, InputError
from sqkit.policy import policy
from sqkit.reading import read
from sqkit.timing.plan_read import faults
from sqkit.timing.schedule import check, schedule
from sqkit.timing.schedule_task import Capacity, horizon_days, task
from sqkit.timing.schedule_view import rules as rule_sentences
from sqkit.timing.slots import CLASSES, appointments, entry_name, read_appointments, slots


@pytest.fixture(scope="module")
def reading(small_brand, store_home):
    with worlds.store_at(store_home):
        yield read(small_brand.id)


def ids(plan) -> list[str]:
    return [note.id for note in plan.notes]


def sends(plan) -> int:
    return sum(len(e.group_ids) for e in plan.entries)


def caps(*regimes):
    return replace(policy(), caps=policy().caps | {"group_post": regimes})


@pytest.mark.parametrize("seed", ["a", "b"])
def test_groups_that_policy_holds_out_get_no_post(reading, seed):
    rules = replace(policy(), holdout_share=0.4, holdout_seed=seed)
    plan = schedule(reading, rules=rules)

    def out(g: str) -> bool:
        return int.from_bytes(hmac.new(seed.encode(), f"group:{g}".encode(), hashlib.sha256).digest()[:8], "big") < 0.4 * 2**64

    assert plan.kept_away and all(out(g) for g in plan.kept_away)
    assert plan.entries and not any(out(g) for g in plan.group_ids)


def test_never_more_posts_than_usual_unless_a_person_asks(reading):
    plan, asked = schedule(reading), task(reading)
    usual = dict(zip(asked.groups.group_id, asked.groups.per_week, strict=True))
    given = Counter(g for e in plan.entries for g in e.group_ids)
    assert all(n <= usual[g] + 1 for g, n in given.items())  # a week takes whole posts
    assert sum(given.values()) <= sum(usual.values()) * 1.05
    more = schedule(reading, posts_week=9, rules=caps((date(1900, 1, 1), {"day": 2})))
    assert sends(more) > 1.1 * sends(plan) and "pace_asked" in ids(more)
    for wrong in ({"posts_week": -1}, {"posts_week": 99}, {"share": 1.5}, {"horizon": "year"}):
        with pytest.raises(InputError, match="Allowed"):
            schedule(reading, **wrong)


def test_what_is_accepted_is_not_planned_again(reading):
    plan = schedule(reading)
    again = schedule(reading, already=plan.entries)
    assert sends(again) < 0.15 * sends(plan)
    assert check(again, task(reading, already=plan.entries)) == []


def test_rules_that_leave_no_room_are_said(reading):
    assert ids(schedule(reading, rules=caps((date(1900, 1, 1), {"week": 0}))))[0] == "no_room"
    assert ids(schedule(reading, rules=replace(policy(), holdout_share=1.0)))[0] == "all_held_out"
    assert ids(schedule(reading, capacity=Capacity(per_slot=0)))[0] == "no_capacity"
    few = schedule(reading, capacity=Capacity(groups=1))
    assert "operators_over" in ids(few) and Counter(why for _, why in few.left_out)["operator_full"] > 5


def test_a_cap_that_changes_within_the_month_binds_from_its_day(reading):
    rules = caps((date(1900, 1, 1), {"day": 1}), (date(2026, 7, 16), {"day": 0}))
    plan = schedule(reading, horizon="month", rules=rules)
    assert plan.entries and max(e.on_day for e in plan.entries) == date(2026, 7, 15)


def test_reasons_why_a_group_has_no_post(reading):
    short = schedule(reading, capacity=Capacity(150, 1, 1))
    assert {why for _, why in short.left_out} <= {"operator_full", "closed", "dissolved", "empty"} and short.left_out
    assert "slots_full" not in ids(schedule(reading))


def test_the_next_week_and_month_over_the_year():
    assert horizon_days(date(2026, 12, 31), "week") == (date(2027, 1, 4), date(2027, 1, 10))
    assert horizon_days(date(2026, 12, 27), "week") == (date(2026, 12, 28), date(2027, 1, 3))
    assert horizon_days(date(2026, 12, 1), "month") == (date(2027, 1, 1), date(2027, 1, 31))


def test_a_year_without_an_official_calendar_is_said(tmp_path):
    source = worlds.admit(tmp_path, "late", {
        "groups": [{"group_id": f"G{i}", "created_at": "2026-01-01", "kind": "a"} for i in range(3)],
        "posts": [{"post_id": f"P{d}", "content_class": "knowledge"} for d in range(20)],
        "deliveries": [
            {"post_id": f"P{d}", "group_id": f"G{i}", "sent_at": f"2026-12-{d + 1:02d} 12:00:00", "status": "sent", "n_members": 50,
             "n_responders": 3} for d in range(20) for i in range(3)
        ],
    }, date(2026, 1, 1), date(2026, 12, 31))  # fmt: skip
    with worlds.store_at(tmp_path):
        plan = schedule(read(source.id), horizon="month")
    assert plan.first == date(2027, 1, 1) and plan.entries
    assert {"no_holiday_calendar", "no_delays"} <= set(ids(plan))


def test_where_no_hour_is_better_posts_keep_to_the_usual_hours(tmp_path):
    source = worlds.brand(tmp_path, "flat", scenario="flat_timing", seed=5, members=1500, stores=4, groups=24)
    with worlds.store_at(tmp_path):
        plan = schedule(read(source.id), horizon="month")
    assert "hour_usual" in ids(plan) and not any(e.reason == "best" for e in plan.entries)
    placed = Counter()
    for e in plan.entries:
        if not e.is_exploration:
            placed[e.slot] += len(e.group_ids)
    assert len(placed) >= 5 and max(placed.values()) < 0.4 * placed.total()


def test_appointments_stand_at_their_time_and_hold_at_most_half_of_a_week(reading):
    plan, free = schedule(reading), schedule(reading, keep_appointments=False)
    assert not any(e.reason == "appointment" for e in free.entries) and "appointments" not in free.figures
    kept = [e for e in plan.entries if e.reason == "appointment"]
    assert {(e.on_day.isoweekday(), f"{e.at:%H:%M}", e.content_class) for e in kept} == {
        (3, "19:30", "product"), (1, "09:00", "interaction"), (2, "18:00", "product"), (5, "10:00", "product"),
    }  # fmt: skip
    fixed = Counter(g for e in kept for g in e.group_ids)
    usual = task(reading).groups.set_index("group_id").per_week
    assert len(fixed) > 20 and all(fixed[g] <= math.ceil(usual[g]) / 2 for g in fixed)
    value, low, high = plan.figures["appointments"]
    assert 0 < low < value < high and plan.figures["plan"][0] < free.figures["plan"][0]
    assert {entry_name(e, "en") for e in kept} == {a.en for a in appointments()}


def test_appointments_that_cannot_be_are_refused_with_all_faults(tmp_path):
    (tmp_path / "slots.toml").write_text(
        '[appointments.a]\nzh = "x"\nen = "x"\nweekday = 9\nslot = "evening"\nat = "18:59"\ncontent_class = "rules"\n'
        '[appointments.b]\nweekday = 1\nslot = "night"\nat = "20:00"\ncontent_class = "product"\n'
    )
    with pytest.raises(ContractError) as told:
        read_appointments(tmp_path / "slots.toml", slots())
    assert all(
        part in str(told.value)
        for part in ("a.at is '18:59'", "a.weekday is 9", "a.content_class is 'rules'", "b.slot is 'night'")
    )


@pytest.mark.parametrize(("source", "why"), [("facebook-cosmetics", "undated"), ("complete-journey", "no_groups")])
def test_real_sources_without_days_or_groups_give_no_calendar(source, why, store_home, in_store):
    present(store_home, source)
    plan = schedule(read(source))
    assert not plan.entries and ids(plan)[0] == why


def test_what_is_gained_is_split_into_number_hours_and_classes(reading):
    figures = schedule(reading).figures
    parts = [figures[f"part_{k}"][0] for k in ("pace", "time", "class")]
    total, _, _ = figures["difference"]
    scatter = 0.02 * figures["plan"][0]  # the plan's total scatters, its parts do not
    assert sum(parts) == pytest.approx(total, abs=scatter) and all(abs(p) > 0 for p in parts)
    shares = [figures[f"class_{c}"] for c in CLASSES]
    assert sum(s[0] for s in shares) == pytest.approx(1, abs=1e-4) and sum(s[1] for s in shares) == pytest.approx(1, abs=1e-4)
    assert all(planned > 0 for planned, usual, _ in shares if usual > 0.05)


def test_posts_of_a_group_on_a_day_keep_their_distance(reading):
    plan = schedule(reading, posts_week=12, rules=caps((date(1900, 1, 1), {"day": 2})))
    at = {}
    for e in plan.entries:
        for g in e.group_ids:
            at.setdefault((g, e.on_day), []).append(e.at)
    twice = [sorted(times) for times in at.values() if len(times) == 2]
    assert len(twice) > 20 and min((b - a).seconds for a, b in twice) >= 90 * 60


def test_a_group_whose_id_no_file_can_hold_is_left_out_and_counted(tmp_path):
    rows = [
        {"post_id": f"P{d}", "group_id": g, "sent_at": f"2026-06-{d + 1:02d} 19:00:00", "status": "sent", "n_members": 50, "n_responders": 3}
        for d in range(28) for g in ("G1", "G\t2")
    ]  # fmt: skip
    tables = {
        "groups": [{"group_id": g, "operator_id": "OP1", "created_at": "2026-01-01 09:00:00"} for g in ("G1", "G\t2")],
        "posts": [{"post_id": f"P{d}", "content_class": "knowledge", "scheduled_at": f"2026-06-{d + 1:02d} 19:00:00"} for d in range(28)],
        "deliveries": rows,
    }  # fmt: skip
    source = worlds.admit(tmp_path, "odd", tables, date(2026, 1, 1), date(2026, 6, 30))
    with worlds.store_at(tmp_path):
        plan = schedule(read(source.id))
    assert plan.group_ids == ("G1",) and ("G\t2", "no_name") in plan.left_out and not faults(plan)
    assert any("control characters" in t.plain for t in rule_sentences(plan, "en"))


def test_the_usual_rhythm_is_forecast_at_the_level_of_the_last_weeks(tmp_path):
    """Response fell to two fifths eight weeks ago: the rhythm as usual brings what it brings now, not what it brought over the whole past."""
    rng, first, last = np.random.default_rng(8), date(2025, 12, 1), date(2026, 6, 28)
    days = [first + timedelta(i) for i in range((last - first).days + 1)]
    tables = {
        "groups": [{"group_id": f"G{g}", "operator_id": "OP1", "created_at": "2025-11-01 09:00:00"} for g in range(10)],
        "posts": [{"post_id": f"P{i}", "content_class": "knowledge", "scheduled_at": f"{d} {9 + i % 8}:00:00"} for i, d in enumerate(days)],
        "deliveries": [
            {"post_id": f"P{i}", "group_id": f"G{g}", "sent_at": f"{d} {9 + i % 8}:05:00", "status": "sent", "n_members": 100,
             "n_responders": int(rng.binomial(100, 0.04 if (last - d).days < 56 else 0.10))}
            for i, d in enumerate(days) for g in range(10)
        ],
    }  # fmt: skip
    now = sum(r["n_responders"] for r in tables["deliveries"] if date.fromisoformat(r["sent_at"][:10]) > last - timedelta(56)) / 8
    source = worlds.admit(tmp_path, "fallen", tables, first, last)
    with worlds.store_at(tmp_path):
        made = task(read(source.id))
        plan = schedule(read(source.id))
    share = len(made.groups) / 10  # the others are held out
    assert plan.figures["habit"][0] == pytest.approx(now * share, rel=0.06)
