"""Every impossible plan is refused by name, with what is allowed, all problems at once, before anything runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from sqkit.campaigns import simulate
from sqkit.campaigns.checks import problems
from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.mechanics_view import bound_notes
from sqkit.campaigns.model import Calibration, Constraints, Plan, Population, Range, Step
from sqkit.campaigns.turns import MOST, picked
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
        (replace(SOUND, weeks=-1), ["weeks is -1", "from 1 to 156"]),
        (replace(SOUND, weeks=157), ["weeks is 157", "from 1 to 156"]),
        (replace(SOUND, weeks=2.5), ["weeks is 2.5", "whole numbers"]),
        (replace(SOUND, weeks=float("nan")), ["weeks is nan", "whole numbers"]),
        (replace(SOUND, weeks="2"), ["weeks is '2'", "whole numbers"]),
        (replace(SOUND, treated_share="all"), ["treated_share is 'all'", "at most 1"]),
        (replace(SOUND, treated_share=None), ["treated_share is None"]),
        (step(weeks=2.5), ["weeks 2.5", "whole numbers"]),
        (step(weeks=float("nan")), ["weeks nan", "whole numbers"]),
        (step(weeks="2"), ["weeks '2'", "whole numbers"]),
        (step(first_week=0.5), ["from week 0.5", "whole numbers"]),
        (step(weeks=1000000), ["weeks 1000000", "until week 156"]),
        (step(first_week=155, weeks=2), ["from week 155", "until week 156"]),
        (step(settings={"value_fen": "1000"}), ["value_fen is '1000', no number", "Allowed: 0 to"]),
        (step(settings={"value_fen": None}), ["value_fen is None, no number", "Allowed: 0 to"]),
        (step(settings={"value_fen": True}), ["value_fen is True, no number"]),
        (step(settings={"value_fen": float("inf")}), ["value_fen is inf", "Allowed: 0 to"]),
        (step(settings={"redeemed_share": Range(0.5, 0.1, 0.9)}), ["redeemed_share is a range of scale 'real'", "0 to 1", "scale 'share'"]),
        (step(settings={"value_fen": Range(10, 0, 20)}), ["value_fen is a range of scale 'real'", "scale 'positive'"]),
        (replace(SOUND, constraints=Constraints(budget_fen="1000")), ["budget_fen is '1000'", "numbers from 0"]),
        (replace(SOUND, constraints=Constraints(posts_week=None)), ["posts_week is None", "numbers from 0"]),
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
    assert len(found) == 3 and "response_share is 1.5" in found[0] and "'redeemd_share'" in found[1]
    assert "'seen_elsewhere'" in found[2] and "order_value_fen" in found[2]
    assert "unknown mechanic 'cupon'" in told(calibration=Calibration({"cupon.redeemed_share": Range.fixed(0.1)}))[0]
    assert told(calibration=Calibration({"referral_week": Range.fixed(0.01)})) == []  # known of the brand; no mechanic reads it


def test_populations_that_cannot_be_are_refused():
    cells = CROWD.cells
    none = Population(cells[cells["segment"] == "gone"], CROWD.as_of)
    assert any("holds no members" in f for f in told(population=none))
    negative = Population(cells.assign(n_members=[-3, 5]), CROWD.as_of)
    assert told(population=negative) == ["population n_members is -3 in group 'G'. Allowed: whole numbers from 0 to 999,999,999"]
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


def test_ranges_whose_draws_stay_within_are_allowed():
    for fine in (Range.fixed(0.5), Range(0.5, 0.1, 0.9, "share"), np.float32(0.25), np.int64(1)):
        assert told(step(settings={"redeemed_share": fine})) == []
    assert told(step(settings={"value_fen": Range(10, 5, 20, "positive")})) == []
    assert told(replace(step(first_week=154, weeks=2), weeks=156)) == []  # the longest


@pytest.mark.parametrize("draws", [1.5, 0, "10", None, True, float("nan")])
def test_draws_are_whole(draws):
    assert told(draws=draws) == [f"draws is {draws!r}. Allowed: whole numbers from 1"]


@pytest.mark.parametrize("given", [0.05, "0.05", None])
def test_a_calibration_holds_ranges(given):
    found = told(calibration=Calibration({"response_share": given, "coupon.value_fen": given}))
    assert len(found) == 2 and found[0].startswith(f"calibration response_share is {given!r}, no Range. Allowed: Range(")
    wide = told(calibration=Calibration({"response_share": Range(0.05, 0.01, 0.9)}))
    assert len(wide) == 1 and "scale 'real'" in wide[0] and "scale 'share'" in wide[0]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("orders_week", [0.1, np.inf], "orders_week is inf in group 'G'. Allowed: from 0 to 50"),
        ("orders_week", [50.5, 0.1], "orders_week is 50.5 in group 'G'. Allowed: from 0 to 50"),
        ("orders_week", ["a", "b"], "orders_week holds no numbers. Allowed: from 0 to 50"),
        ("n_members", [np.inf, 1], "n_members is inf in group 'G'. Allowed: whole numbers from 0 to 999,999,999"),
        ("n_members", [2.5, 1], "n_members is 2.5 in group 'G'. Allowed: whole numbers from 0 to 999,999,999"),
        ("n_members", [np.nan, 1], "n_members is nan in group 'G'. Allowed: whole numbers from 0 to 999,999,999"),
        ("n_members", [10**9, 1], "n_members is 1000000000 in group 'G'. Allowed: whole numbers from 0 to 999,999,999"),
        ("n_members", ["5", "5"], "n_members holds no numbers. Allowed: whole numbers from 0 to 999,999,999"),
        ("present", [np.nan, 1], "present is nan in group 'G'. Allowed: from 0"),
    ],
)
def test_populations_beyond_their_bounds_are_refused(column, values, said):
    assert told(population=Population(CROWD.cells.assign(**{column: values}), CROWD.as_of)) == [f"population {said}"]


def test_so_many_members_can_be_drawn_and_no_more():
    def crowd(*n):
        return Population(CROWD.cells.assign(n_members=list(n)), CROWD.as_of)

    assert told(population=crowd(999_999_998, 1)) == []
    assert told(population=crowd(999_999_999, 1)) == ["the population holds 1,000,000,000 members. Allowed: at most 999,999,999"]
    rng = np.random.default_rng(1)
    assert picked(rng, np.array([MOST]), np.array([0]), np.array([7])).tolist() == [7]
    for good, bad in ((MOST + 1, 0), (0, MOST + 1)):
        with pytest.raises(InputError, match="999,999,999"):
            picked(rng, np.array([good]), np.array([bad]), np.array([7]))


def test_faults_of_type_are_collected_before_anything_runs():
    plan = Plan("bad", (Step("coupon", weeks="2", settings={"value_fen": None}),), Constraints(budget_fen="x"), weeks=2.5)
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    with pytest.raises(ContractError) as caught:
        simulate.simulate(CROWD, Calibration({"response_share": 0.05}), plan, draws=1.5, rng=rng)
    assert len(caught.value.problems) == 6 and rng.bit_generator.state == before


def run(population, plan, draws=400, **known):
    fixed = {name: Range.fixed(p.default.value) for name, p in general().items()}
    fixed |= {name: Range.fixed(0.0) for name in ("shock_brand_sd", "shock_store_sd", "shock_group_sd")}
    return simulate.simulate(
        population,
        Calibration(fixed | {k: Range.fixed(v) for k, v in known.items()}),
        plan,
        draws=draws,
        rng=np.random.default_rng(3),
    )


def test_no_posts_allowed_is_a_campaign_without_posts():
    for mechanic, record in mechanics().items():
        weeks = max(record.least_weeks, 1)
        plan = Plan("p", (Step(mechanic, weeks=weeks),), Constraints(posts_week=0.0))
        made = run(CROWD, plan, draws=50)
        assert np.isfinite(made.draws.drop(columns="roi").to_numpy(float)).all(), mechanic
    made = run(CROWD, replace(step(weeks=2), constraints=Constraints(posts_week=0.0)))
    assert (made.draws[["activated", "orders", "cost_fen"]] == 0).all(axis=None)  # nobody hears of the coupon


def test_no_more_take_part_than_there_are():
    busy = Population(CROWD.cells.assign(orders_week=[5.0, 0.1]), CROWD.as_of)
    theirs = {"order_multiple": mechanics()["themed_promotion"].parameters["order_multiple"].most, "posts_week": 50}
    plan = Plan("p", (Step("themed_promotion", weeks=4, settings=theirs),), Constraints.off())
    made = run(busy, plan, confirmed_share=1.0)
    assert made.draws["activated"].max() == 50 and made.draws["activated"].mean() > 49  # 50 members, some 12,000 orders a week


def test_no_more_leave_than_there_are():
    plan = Plan(
        "p", (Step("coupon", weeks=12, settings={"posts_week": 50}),), Constraints(has_confirmation=False, has_message_cap=False)
    )
    made = run(CROWD, plan, quit_week=0.05, pressure_effect=2.0, posts_week=4.0)
    # 54 posts against 4: 0.05 exp(2 log2(13.5)) is beyond 1, so all 50 leave in the first week, and nobody after.
    assert (made.draws["lost"] == 50).all()
    weekly = 0.005 * np.exp(0.5 * np.log2(54 / 4)) - 0.005
    some = run(CROWD, plan, draws=20_000, quit_week=0.005, pressure_effect=0.5, posts_week=4.0).draws["lost"]
    stay = (1 - weekly) ** 12
    assert some.max() <= 50 and some.mean() == pytest.approx(50 * (1 - stay), abs=4 * np.sqrt(50 * stay * (1 - stay) / 20_000))
    assert some.var() == pytest.approx(50 * stay * (1 - stay), rel=0.05)  # each member leaves or not: binomial


def test_points_burnt_beyond_the_budget_are_said():
    crowd = Population(CROWD.cells.assign(n_members=[5000, 0]), CROWD.as_of)
    tight = replace(step(mechanic="points_threshold", weeks=5), constraints=Constraints(budget_fen=200_000))
    made = run(crowd, tight, **{"points_threshold.redeem_week": 0.2})
    over = int((made.draws["cost_fen"] > 200_000).sum())
    assert over > 0 and made.bound["mechanics_bound_points"] == over and "mechanics_bound_points" in made.warnings
    assert any("points that members burn" in note.plain for note in bound_notes(made, "en"))
    free = run(crowd, replace(tight, constraints=Constraints()))
    assert "mechanics_bound_points" not in free.bound
