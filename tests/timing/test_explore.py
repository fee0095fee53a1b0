"""What is drawn tells the truth: chances are as written down, estimates from drawn posts are unbiased, and the promised ratio is found."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from sqkit.policy import Policy
from sqkit.timing.explore import chances, detectable, share_needed
from sqkit.timing.model import Curve, Response
from sqkit.timing.schedule import make
from sqkit.timing.schedule_task import Capacity, Task
from sqkit.timing.slots import Slot

CLASSES = ("knowledge", "interaction", "culture")
SLOTS = tuple(Slot(name, "", "", first, first + 2, CLASSES) for name, first in (("a", 9), ("b", 12), ("c", 15), ("d", 18)))
RULES = Policy(holdout_share=0.0, caps={"group_post": ((date(1900, 1, 1), {"month": "days"}),)})
DISPERSION = 2.0


def task(seed: int, groups: int = 40, *, tilt: float = 0.0, horizon: str = "month") -> Task:
    """A brand whose evening is thought to be better by `tilt`, with error."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "group_id": [f"G{i:03d}" for i in range(groups)], "operator": "OP", "n_members": 100, "weight": 100,
            "rate": np.exp(rng.normal(np.log(0.08), 0.3, groups)), "per_week": 6.0, "is_recovering": False,
            "kind": rng.choice(["a", "b"], groups),
        }
    )  # fmt: skip
    level = np.where(np.arange(24) >= 18, tilt, 0.0)
    hour = Curve(
        "hour", pd.DataFrame({"level": range(24), "ratio": np.exp(level - level.mean())}), np.eye(24) * 0.1**2, 0.01, tilt > 0
    )
    first, last = (date(2026, 7, 1), date(2026, 7, 31)) if horizon == "month" else (date(2026, 7, 6), date(2026, 7, 12))
    return Task(
        "x", "", date(2026, 6, 30), horizon, first, last, "Asia/Shanghai", RULES, frame,
        pd.DataFrame(columns=["group_id", "on_day", "n"]), pd.DataFrame(columns=["weekday", "scheduled_hour", "hour", "content_class", "n"]),
        SLOTS, {}, 0.0, (0.0,), 3, Response({"hour": hour}, 0.08, DISPERSION, 900, 90, groups), capacity=Capacity(900, 900, 900), seed=seed,
    )  # fmt: skip


def rows(plan) -> pd.DataFrame:
    return pd.DataFrame(
        [(e.on_day, e.slot, e.content_class, e.chance, g) for e in plan.entries if e.is_exploration for g in e.group_ids],
        columns=["on_day", "slot", "content_class", "chance", "group_id"],
    )


def test_places_come_as_often_as_their_chances_say():
    drawn = pd.concat([rows(make(task(seed, tilt=0.3, horizon="week"), 0.25)) for seed in range(40)])
    blocks = drawn.drop_duplicates(["on_day", "slot", "content_class", "chance"])
    assert len(blocks) > 150
    n = len(drawn)
    said = drawn.groupby(["slot", "content_class"]).chance.mean()
    assert said.sum() == pytest.approx(1.0, abs=0.02)  # all places could be drawn
    came = drawn.groupby(["slot", "content_class"]).size() / n
    assert float((came - said).abs().max()) < 4 * math.sqrt(0.25 / (n / 6))
    assert came.groupby("slot").sum()["d"] == pytest.approx(0.5, abs=0.05)  # the ceiling: most is known of the evening


def test_drawn_are_blocks_of_one_kind_and_the_share_asked_for():
    plan = make(task(3), 0.2)
    of_kind = dict(zip(task(3).groups.group_id, task(3).groups.kind, strict=True))
    drawn = rows(plan)
    every = sum(len(e.group_ids) for e in plan.entries)
    assert len(drawn) / every == pytest.approx(0.2, abs=0.02)
    per_block = drawn.assign(kind=drawn.group_id.map(of_kind)).groupby(["on_day", "slot", "content_class", "kind"]).size()
    assert per_block.min() >= 3 and per_block.median() >= 5
    n_groups = Counter(drawn.group_id)
    assert len(n_groups) == 40 and max(n_groups.values()) < 4 * min(n_groups.values()) + 6  # no group bears it alone


def test_what_is_drawn_is_unbiased_and_shows_the_ratio_that_was_promised():
    rng, errors, found = np.random.default_rng(11), [], []
    of_day = np.exp(rng.normal(0, 0.15, 32))  # days differ, and a habit that leans on good days would be fooled
    for seed in range(14):
        asked = task(seed, tilt=0.3)
        plan = make(asked)
        promised = plan.figures["detectable"][0]
        assert 1.05 < promised <= 1.2
        drawn = rows(plan)
        size = dict(zip(asked.groups.group_id, asked.groups.weight * asked.groups.rate, strict=True))
        expected = drawn.group_id.map(size).to_numpy(float)
        own = (drawn.slot == drawn.slot.value_counts().idxmax()).to_numpy()
        truth = expected * of_day[[d.day for d in drawn.on_day]] * np.where(own, promised, 1.0)
        for _ in range(40):
            y = rng.negative_binomial(truth / (DISPERSION - 1), 1 / DISPERSION)  # variance: dispersion times mean
            ratio = math.log(y[own].sum() / expected[own].sum() / (y[~own].sum() / expected[~own].sum()))
            error = math.sqrt(DISPERSION * (1 / y[own].sum() + 1 / y[~own].sum()))
            errors.append(ratio - math.log(promised))
            found.append(ratio / error > 1.96)
    by_plan = np.array(errors).reshape(14, 40).mean(1)
    assert abs(by_plan.mean()) < 3 * by_plan.std(ddof=1) / math.sqrt(14)
    assert abs(by_plan.mean()) < 0.02
    assert 0.7 <= np.mean(found) <= 0.9


def test_the_share_is_the_least_that_shows_the_ratio_aimed_at():
    needed = share_needed(20_000, [0.5, 0.3, 0.2], 2.0)
    assert 0.05 < needed < 0.25
    assert detectable(20_000 * needed, [0.5, 0.3, 0.2], 2.0) == pytest.approx(1.15)
    assert share_needed(1e7, [0.5, 0.5], 2.0) == 0.05 and share_needed(100, [0.5, 0.5], 2.0) == 0.25
    assert share_needed(100, [1.0], 2.0) == 0.0  # one slot: nothing to compare
    assert share_needed(math.nan, [0.5, 0.5], 2.0) == pytest.approx(0.15)


def test_chances_keep_a_floor_and_a_ceiling():
    rng = np.random.default_rng(1)
    for n in range(2, 9):
        made = chances(rng.normal(0, 1, (500, n)) + np.linspace(0, 9, n))
        assert made.sum() == pytest.approx(1.0) and made.max() <= 0.5 + 1e-12 and made.min() >= 0.5 / n * 0.5


def test_a_brand_of_one_group_still_draws():
    plan = make(replace(task(5, groups=1), seed=5), 0.25)
    assert 3 <= sum(e.is_exploration for e in plan.entries) <= 10
