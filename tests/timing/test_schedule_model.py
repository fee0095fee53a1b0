"""A plan as JSON: what goes out comes back, and what was changed by hand is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime

import pytest

from sqkit.errors import InputError
from sqkit.timing.schedule_model import Entry, Note, Plan

ENTRY = Entry(
    "2026-07-03-evening-1", date(2026, 7, 3), datetime(2026, 7, 3, 19, 5), "evening", "product", ("G001", "G002"), True, 0.25,
    (("OP01", 2),), 180, 9.5, 7.0, 12.25, "drawn",
)  # fmt: skip
PLAN = Plan(
    "demo", "", date(2026, 6, 30), "week", date(2026, 7, 6), date(2026, 7, 12), "Asia/Shanghai", (ENTRY,), ("G003",),
    (("G004", "dissolved"),), {"caps": [["month", 31]], "contact_from": "09:00"}, {"plan": (9.5, 7.0, 12.25)}, 7,
    (Note("cap", {"n": 31}),),
)  # fmt: skip


def test_a_plan_comes_back_as_it_went_out():
    assert Plan.from_json(PLAN.to_json()) == PLAN
    assert Plan.from_json(PLAN.to_json()).hash == PLAN.hash


def test_what_cannot_be_told_is_null_and_comes_back_as_nan():
    plan = replace(PLAN, entries=(replace(ENTRY, responders=float("nan")),))
    assert json.loads(plan.to_json())["entries"][0]["responders"] is None
    assert Plan.from_json(plan.to_json()).entries[0].responders != Plan.from_json(plan.to_json()).entries[0].responders
    assert Plan.from_json(plan.to_json()).hash == plan.hash


def test_the_hash_follows_the_content():
    assert replace(PLAN, seed=8).hash != PLAN.hash
    assert replace(PLAN, entries=(replace(ENTRY, group_ids=("G001",)),)).hash != PLAN.hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p | {"seed": 8}, "changed by hand"),
        (lambda p: p | {"version": 2}, "version is 2"),
        (lambda p: p | {"colour": "red"}, "unknown key 'colour'"),
        (lambda p: {k: v for k, v in p.items() if k != "rules"}, "lacks 'rules'"),
        (lambda p: p | {"seed": "8"}, "plan.seed is '8'"),
        (lambda p: p | {"first": "2026-13-01"}, "plan.first"),
        (lambda p: p | {"entries": [p["entries"][0] | {"is_exploration": 1}]}, "plan.entries[0].is_exploration"),
        (lambda p: p | {"entries": ["x"]}, "plan.entries[0]"),
        (lambda p: p | {"figures": {"plan": [1.0]}}, "plan.figures"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_place(change, said):
    with pytest.raises(InputError, match=said.replace("[", r"\[").replace("]", r"\]")):
        Plan.from_json(json.dumps(change(json.loads(PLAN.to_json()))))


def test_text_that_is_no_json_is_refused():
    for text in ("", "[]", "{", "null"):
        with pytest.raises(InputError, match="plan:"):
            Plan.from_json(text)
