"""Every impossible plan is refused by name, with what is allowed, all problems at once, before anything runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from sqkit.campaigns import simulate
from sqkit.campaigns.checks import problems
from sqkit.campaigns.mechanics import mechanics
from sqkit.campaigns.model import Calibration, Constraints, Plan, Population, Range, Step
from sqkit.errors import ContractError, InputError

NAMES = ["store_id", "group_id", "segment", "n_members", "orders_week", "capacity", "present"]
CROWD = Population(
    pd.DataFrame([("S", "G", "old", 50, 0.1, 200, 60), ("S", "G", "gone", 0, 0.1, 200, 60)], columns=NAMES), date(2026, 6, 30)
)
SOUND = Plan("p", (Step("coupon"),))


def told(plan=SOUND, calibration=None, population=CROWD, draws=10):
    return problems(population, calibration or Calibration(), plan, mechanics(), draws)


def step(**more):
    return replace(SOUND, steps=(Step(**{"mechanic": "coupon", **more}),))


def test_a_sound_plan_has_no_problems():
    assert told() == []
    assert told(replace(SOUND, treated_share=0.01, weeks=1)) == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (step(settings={"redeemed_share": 1.2}), ["redeemed_share is 1.2", "Allowed: 0 to 1"]),
        (step(settings={"redeemed_share": Range(0.9, 0.5, 1.4)}), ["redeemed_share is 0.5 to 1.4", "Allowed: 0 to 1"]),
        (step(settings={"value_fen": -5}), ["value_fen is -5", "Allowed: 0 to"]),
        (step(settings={"value_fen": float("nan")}), ["value_fen is nan", "Allowed: 0 to"]),
        (step(settings={"contact_fen": -1}), ["contact_fen is -1", "Allowed: 0 to"]),
        (step(settings={"valu_fen": 5}), ["'valu_fen'", "Did you mean 'value_fen'", "extra_share", "order_value_fen"]),
        (step(settings={"shock_brand_sd": 0}), ["'shock_brand_sd'", "Allowed"]),
        (step(mechanic="cupon"), ["'cupon'", "Did you mean 'coupon'", "store_roll_out", "check_in"]),
        (step(segments=("new",)), ["'new'", "Allowed: old", "holds nobody"]),
        (step(segments=("gone",)), ["'gone'", "Allowed: old", "holds nobody"]),
        (step(weeks=0), ["weeks 0", "at least 1 week"]),
        (step(first_week=-1), ["from week -1", "from week 0"]),
        (step(mechanic="points_threshold", weeks=2), ["weeks is 2", "from 4"]),
        (replace(SOUND, treated_share=0.0), ["treated_share is 0.0", "above 0, at most 1"]),
        (replace(SOUND, treated_share=1.01), ["treated_share is 1.01"]),
        (replace(SOUND, weeks=-1), ["weeks is -1", "from 1"]),
        (replace(SOUND, steps=()), ["no step", "at least one"]),
        (replace(SOUND, constraints=Constraints(budget_fen=-1)), ["budget_fen is -1", "from 0"]),
        (replace(SOUND, constraints=Constraints(stock_units=float("nan"))), ["stock_units is nan"]),
        (replace(SOUND, constraints=Constraints(budget_fen=999)), ["a budget of 999 fen buys no value_fen of 1000 fen", "from 1000"]),
        (replace(step(mechanic="flash_sale", settings={"order_value_fen": 5000.0}), constraints=Constraints(budget_fen=900)), ["of 1000 fen"]),
        (replace(step(mechanic="points_threshold", weeks=5), constraints=Constraints(budget_fen=150)), ["of 200 fen", "from 200"]),
        (replace(SOUND, steps=(Step("coupon", weeks=2), Step("coupon", ("old",), first_week=1))), ["steps 1 and 2", "overlap"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_what_is_allowed(plan, said):
    found = told(plan)
    assert len(found) == 1, found
    assert all(part in found[0] for part in said), found


@pytest.mark.parametrize(
    "steps",
    [
        (Step("coupon", weeks=2), Step("coupon", first_week=2)),
        (Step("coupon"), Step("flash_sale")),
        (Step("coupon", ("old",)), Step("coupon", ("new",))),
    ],
)
def test_steps_apart_do_not_overlap(steps):
    assert not [f for f in told(replace(SOUND, steps=steps)) if "overlap" in f]


def test_a_reward_set_lower_is_bought_by_a_small_budget():
    small = replace(step(settings={"value_fen": 500}), constraints=Constraints(budget_fen=999))
    assert told(small) == []
    assert told(replace(step(settings={"value_fen": 0}), constraints=Constraints(budget_fen=0))) == []


def test_calibrations_out_of_range_and_misspelt_are_refused():
    found = told(
        calibration=Calibration(
            {"response_share": Range.fixed(1.5), "coupon.redeemd_share": Range.fixed(0.1), "seen_elsewhere": Range.fixed(9)}
        )
    )
    assert len(found) == 2 and "response_share is 1.5" in found[0] and "'redeemd_share'" in found[1]


def test_populations_that_cannot_be_are_refused():
    cells = CROWD.cells
    none = Population(cells[cells["segment"] == "gone"], CROWD.as_of)
    assert any("holds no members" in f for f in told(population=none))
    negative = Population(cells.assign(n_members=[-3, 5]), CROWD.as_of)
    assert told(population=negative) == ["population n_members is -3 in group 'G'. Allowed: from 0"]
    lacking = Population(cells.drop(columns="capacity"), CROWD.as_of)
    assert "lacks capacity" in told(population=lacking)[0] and "orders_week" in told(population=lacking)[0]


def test_all_problems_are_raised_at_once_before_anything_runs():
    plan = Plan("bad", (Step("coupon", settings={"redeemed_share": 2}), Step("no_such")), treated_share=0)
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    with pytest.raises(ContractError) as caught:
        simulate.simulate(CROWD, Calibration(), plan, draws=0, rng=rng)
    assert len(caught.value.problems) == 4 and "bad" in str(caught.value) and isinstance(caught.value, InputError)
    assert rng.bit_generator.state == before
