"""The simulator against closed forms worked out here, against a per-member loop written here, and its limits to the unit."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sqkit.campaigns import cells, simulate
from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.model import Calibration, Constraints, Plan, Population, Range, Step
from sqkit.campaigns.points_stages import detection_sd

OFF = Constraints.off()
STILL = {"shock_brand_sd": 0.0, "shock_store_sd": 0.0, "shock_group_sd": 0.0, "contact_fen": 0.0, "order_value_cv": 0.0}


def people(
    groups: int = 5,
    each: int = 1000,
    segments=("all",),
    orders: float = 0.1,
    capacity: int = 0,
    stores: int = 1,
    day=date(2026, 6, 30),
):
    rows = [
        (f"S{g * stores // groups:04d}", f"G{g:05d}", s, each, orders, capacity, each * len(segments) if capacity else 0)
        for g in range(groups)
        for s in segments
    ]
    names = ["store_id", "group_id", "segment", "n_members", "orders_week", "capacity", "present"]
    return Population(pd.DataFrame(rows, columns=names), day)


def known(mechanic: str, **values: float) -> Calibration:
    """Everything fixed: shocks off, the given numbers, the record's middle value for the rest."""
    given = {k: Range.fixed(p.default.value) for k, p in general().items()}
    given |= {p.id: Range.fixed(p.default.value) for p in mechanics()[mechanic].parameters.values()}
    own = mechanics()[mechanic].parameters
    for name, value in {**STILL, **values}.items():
        given[f"{mechanic}.{name}" if name in own else name] = Range.fixed(value)
    return Calibration(given)


def run(population, calibration, *steps, draws=4000, seed=1, limits=OFF, **plan):
    return simulate.simulate(
        population, calibration, Plan("t", steps, limits, **plan), draws=draws, rng=np.random.default_rng(seed)
    )


def agrees(values, mean, variance=None, sigmas=4.5):
    """Assert that a mean, and a variance, lie within so many of their own standard errors."""
    n, spread = len(values), np.var(values, ddof=1)
    assert abs(np.mean(values) - mean) <= sigmas * np.sqrt(max(spread, 1e-9) / n), (np.mean(values), mean)
    if variance is not None:
        fourth = np.mean((values - np.mean(values)) ** 4)
        assert abs(spread - variance) <= sigmas * np.sqrt(max(fourth - spread**2, 1e-9) / n), (spread, variance)


def test_a_coupon_is_binomial_with_everything_off():
    told = known("coupon", response_share=0.2, redeemed_share=0.3, extra_share=0.5, value_fen=700, pull_forward_share=0.0)
    made = run(people(), told, Step("coupon")).draws
    q = 0.2 * 0.3 * 0.5
    agrees(made["activated"], 5000 * q, 5000 * q * (1 - q))
    agrees(made["orders"], 5000 * q, 5000 * q * (1 - q))
    agrees(made["cost_fen"], 5000 * 0.06 * 700, 5000 * 0.06 * 0.94 * 700**2)
    assert (made["cost_fen"] % 700 == 0).all() and (made["lost"] == 0).all() and (made["pulled_forward"] == 0).all()


def test_shared_shocks_add_their_variance():
    told = known("coupon", response_share=0.1, redeemed_share=0.5, extra_share=1.0, pull_forward_share=0.0, shock_group_sd=0.2)
    made = run(people(8, 2000), told, Step("coupon"), draws=8000).draws["activated"]
    p, v = 0.05, np.expm1(0.04)
    each = 2000 * p - 2000 * p**2 * (1 + v) + (2000 * p) ** 2 * v  # law of total variance, a factor of mean 1 and variance v
    agrees(made, 8 * 2000 * p, 8 * each)
    one = known("coupon", response_share=0.1, redeemed_share=0.5, extra_share=1.0, pull_forward_share=0.0, shock_brand_sd=0.2)
    shared = run(people(8, 2000), one, Step("coupon"), draws=8000).draws["activated"]
    agrees(shared, 8 * 2000 * p, 16000 * p - 16000 * p**2 * (1 + v) + (16000 * p) ** 2 * v)


def test_two_weeks_count_a_member_once():
    told = known("coupon", response_share=0.4, redeemed_share=0.5, extra_share=0.6, pull_forward_share=0.0)
    made = run(people(), told, Step("coupon", weeks=2)).draws
    first = (1 - 0.8**2) * 0.6  # the first act is an extra one
    agrees(made["activated"], 5000 * first, 5000 * first * (1 - first))
    agrees(made["orders"], 5000 * 2 * 0.2 * 0.6, 5000 * 2 * 0.12 * 0.88)


def test_several_posts_a_week_reach_as_independent_tries():
    told = known("coupon", response_share=0.3, redeemed_share=1.0, extra_share=1.0, pull_forward_share=0.0, posts_week=3)
    q = 1 - 0.7**3
    agrees(run(people(), told, Step("coupon")).draws["activated"], 5000 * q, 5000 * q * (1 - q))


def test_confirmation_loses_whole_posts_of_a_group():
    told = known(
        "coupon",
        response_share=0.5,
        redeemed_share=1.0,
        extra_share=1.0,
        pull_forward_share=0.0,
        confirmed_share=0.7,
        late_share=0.0,
    )
    made = run(people(4, 500), told, Step("coupon"), limits=replace(OFF, has_confirmation=True)).draws["activated"]
    each = 0.7 * (500 * 0.25 + 250**2) - (0.7 * 250) ** 2
    agrees(made, 4 * 0.7 * 250, 4 * each)
    late = known(
        "coupon",
        response_share=0.5,
        redeemed_share=1.0,
        extra_share=1.0,
        pull_forward_share=0.0,
        confirmed_share=1.0,
        late_share=0.4,
        late_worth=0.5,
    )
    lagged = run(people(4, 500), late, Step("coupon"), limits=replace(OFF, has_confirmation=True)).draws["activated"]
    agrees(lagged, 2000 * (1 - 0.5**0.8))


def test_the_budget_is_spent_to_the_last_reward_that_it_buys():
    told = known("coupon", response_share=0.4, redeemed_share=0.5, extra_share=0.3, value_fen=700, pull_forward_share=0.0)
    made = run(people(), told, Step("coupon"), limits=replace(OFF, budget_fen=350_400))
    assert (made.draws["cost_fen"] == 500 * 700).all()  # 500 coupons at 7 yuan; 400 fen stay
    assert made.bound == {"mechanics_bound_budget": 4000}
    agrees(made.draws["orders"], 500 * 0.3, 500 * 0.3 * 0.7)
    some = run(people(), told, Step("coupon"), limits=replace(OFF, budget_fen=1000 * 700)).draws
    assert (some["cost_fen"] <= 700_000).all() and 0.3 < (some["cost_fen"] == 700_000).mean() < 0.7


def test_contacts_stop_when_the_budget_is_spent():
    told = known(
        "coupon", response_share=0.2, redeemed_share=0.5, extra_share=1.0, value_fen=0, pull_forward_share=0.0, contact_fen=10.0
    )
    made = run(people(), told, Step("coupon"), limits=replace(OFF, budget_fen=25_000)).draws
    assert np.allclose(made["cost_fen"], 25_000)
    agrees(made["activated"], 5000 * (1 - 0.8**0.5) * 0.5)


def test_stock_is_never_exceeded_and_is_shared_at_random():
    told = known(
        "flash_sale",
        response_share=0.2,
        order_share=0.5,
        order_extra_share=1.0,
        order_multiple=1.0,
        covered_share=0.5,
        pull_forward_share=0.0,
        posts_week=1,
    )
    free = run(people(), told, Step("flash_sale")).draws["orders"]
    agrees(free, 500, 5000 * 0.1 * 0.9)
    made = run(people(), told, Step("flash_sale", settings={"stock_units": 200})).draws
    agrees(made["orders"], 200 * 500 / 750)  # usual orders at the sale's price: 5000 x .1 x .5
    plan = run(people(), told, Step("flash_sale", weeks=3), limits=replace(OFF, stock_units=150)).draws
    assert (plan["orders"] <= 150).all()
    spent = 0.2 * general()["order_value_fen"].default.value
    assert np.allclose(made["cost_fen"], 200 * spent)


def half_outside(groups: int, each: int, **more) -> Population:
    """So many groups, and as many members of each one's store in no group."""
    made = people(groups, each, **more)
    lone = (
        made.cells.assign(group_id="")
        .groupby(["store_id", "group_id", "segment"], as_index=False)
        .agg({"n_members": "sum", "orders_week": "mean", "capacity": "first", "present": "first"})
    )
    return Population(pd.concat([made.cells, lone], ignore_index=True), made.as_of)


def test_nobody_outside_groups_acts_on_a_post():
    crowd = half_outside(6, 120, stores=2)
    assert crowd.cells["n_members"].sum() == 1440 and (crowd.cells["group_id"] == "").sum() == 2
    # Everybody in a group of 120 wants in: teams of 7 take 119 of them, in each of six groups.
    told = known("group_buy", response_share=1.0, join_share=1.0, extra_share=1.0, team_size=7, pull_forward_share=0.0)
    assert (run(crowd, told, Step("group_buy"), draws=50).draws["orders"] == 6 * 119).all()
    told = known("group_buy", response_share=1.0, join_share=1.0, extra_share=1.0, team_size=121, pull_forward_share=0.0)
    assert (run(crowd, told, Step("group_buy"), draws=50).draws["orders"] == 0).all()  # 360 outside fill no team either
    wide = known(
        "coupon", response_share=1.0, redeemed_share=1.0, extra_share=1.0, pull_forward_share=0.0, value_fen=1, contact_fen=0
    )
    made = run(crowd, wide, Step("coupon"), draws=50).draws
    assert (made["activated"] == 720).all() and (made["cost_fen"] == 720).all()
    half = run(crowd, wide, Step("coupon"), draws=50, treated_share=0.5).draws
    assert (half["activated"] == 360).all()  # three of six groups
    many = run(half_outside(400, 5, stores=40), wide, Step("coupon"), draws=50).draws  # groups pooled by store
    assert (many["activated"] == 2000).all()
    lone = Population(crowd.cells[crowd.cells["group_id"] == ""].reset_index(drop=True), crowd.as_of)
    nothing = run(lone, wide, Step("coupon"), draws=50).draws
    assert (nothing[["activated", "orders", "cost_fen", "lost"]] == 0).all().all()
    for name in ("red_packet", "check_in", "referral", "newcomer_conversion", "reactivation", "flash_sale", "points_threshold"):
        step = Step(name, weeks=max(1, mechanics()[name].least_weeks))
        free = {"covered_share": 0.0} if name == "flash_sale" else {}
        found = run(lone, known(name, **free), step, draws=50).draws
        assert (found[["activated", "orders", "gained", "cost_fen"]] == 0).all().all(), name


def test_a_promotion_in_the_shop_meets_members_outside_groups():
    crowd = half_outside(6, 1000, stores=2)
    told = known(
        "themed_promotion", order_multiple=1.5, covered_share=0.0, pull_forward_share=0.0, dependence_share=0.0, posts_week=1,
        discount_share=0.0, contact_fen=10.0,
    )  # fmt: skip
    made = run(crowd, told, Step("themed_promotion")).draws
    agrees(made["orders"], 12_000 * 0.1 * 0.5)
    assert np.allclose(made["cost_fen"], 6000 * 10)  # posts go to groups only


def test_unknown_usual_orders_are_named():
    crowd = people(2, 100, ("a", "b"))
    crowd.cells.loc[crowd.cells["segment"] == "b", "orders_week"] = np.nan
    told = run(crowd, known("coupon"), Step("coupon"), draws=20)
    assert told.warnings == ("mechanics_orders_unknown",) and not told.bound
    assert run(people(2, 100), known("coupon"), Step("coupon"), draws=20).warnings == ()


def test_orders_that_a_sale_is_credited_with_are_not_all_its_own():
    values = dict(
        response_share=0.2, order_share=0.5, order_multiple=1.0, pull_forward_share=0.0, posts_week=1, order_value_fen=5000
    )
    told = known("flash_sale", **values, order_extra_share=0.3, covered_share=0.0, discount_share=0.1)
    made = run(people(), told, Step("flash_sale")).draws
    agrees(made["orders"], 500 * 0.3, 5000 * 0.03 * 0.97)
    agrees(made["cost_fen"], 500 * 500)  # all of the 500 get the discount
    # Of the 500 usual orders 450 come at the sale's price, the 350 of responders among them.
    more = known("flash_sale", **values, order_extra_share=0.3, covered_share=0.9, discount_share=0.1)
    agrees(run(people(), more, Step("flash_sale")).draws["cost_fen"], (150 + 450) * 500)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_group_buy_counts_full_teams_only(size):
    told = known("group_buy", response_share=0.1, join_share=0.5, extra_share=1.0, team_size=size, pull_forward_share=0.0)
    made = run(people(6, 120), told, Step("group_buy")).draws["orders"]
    wanting = np.arange(121)
    pmf, filled = stats.binom.pmf(wanting, 120, 0.05), wanting - wanting % size
    mean = pmf @ filled
    agrees(made, 6 * mean, 6 * (pmf @ filled**2 - mean**2))


def test_red_packets_have_so_many_shares():
    told = known(
        "red_packet",
        response_share=0.05,
        open_multiple=2.0,
        packets_week=2,
        share_number=10,
        pool_fen=250,
        opener_order_share=0.5,
        speed_effect=0.0,
        pull_forward_share=0.0,
    )
    made = run(people(6, 120), told, Step("red_packet")).draws
    # Two packets of ten shares: each of 120 members tries each of them with .05 x 2, whatever became of the other.
    wanting = np.arange(121)
    pmf, opened = stats.binom.pmf(wanting, 120, 0.1), np.minimum(wanting, 10)
    mean = pmf @ opened
    agrees(made["cost_fen"] / 25, 12 * mean, 12 * (pmf @ opened**2 - mean**2))
    agrees(made["orders"], 720 * (1 - 0.9**2) * 0.5, 720 * 0.095 * 0.905)  # who tries either converts once
    # Shares for all: 3 packets x .45 x 720 members are 972 openings, not at most one a member.
    wide = known(
        "red_packet",
        response_share=0.225,
        open_multiple=2.0,
        packets_week=3,
        share_number=500,
        pool_fen=500,
        pull_forward_share=0.0,
    )
    agrees(run(people(6, 120), wide, Step("red_packet")).draws["cost_fen"], 972)
    lively = known(
        "red_packet",
        response_share=0.2,
        open_multiple=2.0,
        packets_week=1,
        share_number=1,
        opener_order_share=0.2,
        speed_effect=0.6,
        pull_forward_share=0.0,
    )
    agrees(run(people(6, 120), lively, Step("red_packet")).draws["orders"], 720 * 0.4 * 0.2 * np.exp(0.3))


def test_check_in_is_a_chain():
    told = known(
        "check_in", start_share=0.2, keep_share=0.7, order_week_share=0.1, weeks_needed=3, reward_fen=500, pull_forward_share=0.0
    )
    made = run(people(), told, Step("check_in", weeks=4)).draws
    stays = 0.2 * 0.7 ** np.arange(4)
    agrees(made["orders"], 5000 * 0.1 * stays.sum())
    agrees(made["activated"], 5000 * sum(0.2 * 0.1 * (0.7 * 0.9) ** t for t in range(4)))
    done = 0.2 * 0.7**2
    agrees(made["cost_fen"], 5000 * done * 500, 5000 * done * (1 - done) * 500**2)


def test_referral_without_limits_is_a_branching_process():
    told = known(
        "referral",
        response_share=0.2,
        inviter_share=0.25,
        drive_multiple=2.0,  # half of those brought would have come anyway
        invited_mean=0.8,
        dispersion=0.5,
        generations=3,
        reward_fen=300,
        tier_count=9999,
        joiner_orders_week=0.0,
    )
    made = run(people(), told, Step("referral")).draws
    brought = 0.8 + 0.8**2 + 0.8**3
    agrees(made["gained"], 500 * brought / 2)
    agrees(made["cost_fen"], 500 * brought * 300)
    agrees(made["activated"], 500, 5000 * 0.1 * 0.9)


def test_full_groups_freeloaders_and_the_tier():
    told = known(
        "referral",
        response_share=0.5,
        inviter_share=0.5,
        drive_multiple=2.0,
        invited_mean=2.0,
        dispersion=1.0,
        generations=1,
        reward_fen=100,
        freeloader_share=0.25,
        reachable_share=1000.0,
        tier_count=3,
        tier_fen=10_000,
        joiner_orders_week=0.5,
    )
    full = run(people(5, 180, capacity=200), told, Step("referral"), limits=replace(OFF, has_capacity=True))
    agrees(full.draws["gained"], 50)  # a hundred places; half of those who take them would have come anyway
    assert full.draws["gained"].max() < 100 and full.bound == {"mechanics_bound_capacity": 4000}
    free = run(people(5, 180), told, Step("referral"), limits=replace(OFF, has_freeloaders=True, has_saturation=True), weeks=3)
    agrees(free.draws["gained"], 450 * 2 * (1 - 0.25 - 0.5))
    chance = (2 / 3) ** 3  # geometric: the chance of three or more with mean 2
    agrees(free.draws["cost_fen"], 900 * 100 + 450 * chance * 10_000, sigmas=5)
    agrees(free.draws["orders"], 900 * 0.25 + 2 * 225 * 0.5)  # a token order each, then two weeks of those who stay
    assert set(free.weeks.columns) == {"draw", "week", "orders", "cost_fen", "lost"} and len(free.weeks) == 3 * 4000


def test_newcomers_and_revived_members():
    told = known("newcomer_conversion", newcomer_share=0.2, first_order_share=0.3, extra_share=0.5, pull_forward_share=0.0)
    q = 0.2 * 0.3 * 0.5
    agrees(run(people(), told, Step("newcomer_conversion")).draws["activated"], 5000 * q, 5000 * q * (1 - q))
    back = known(
        "reactivation",
        response_share=0.1,
        silent_share=0.5,
        open_multiple=1.0,
        packets_week=1,
        revive_share=0.2,
        again_share=0.3,
        keep_share=0.9,
        speed_effect=0.0,
    )
    made = run(people(), back, Step("reactivation")).draws
    first = 5000 * 0.1 * 0.5 * 0.2
    agrees(made["activated"], first)
    # A week's revived order again from the next week on: 90% are awake then, 30% of these order; so for the four weeks that are counted.
    agrees(made["orders"], first * (1 + 0.27 + 0.243 + 0.2187 + 0.19683))
    # Two weeks of packets with nobody falling asleep: the first week's revived have five later weeks, the second week's four.
    awake = Calibration({**back.parameters, "reactivation.keep_share": Range.fixed(1.0)})
    twice = run(people(), awake, Step("reactivation", weeks=2)).draws
    second = (5000 - first) / 5000 * first
    agrees(twice["activated"], first + second)
    agrees(twice["orders"], 2 * first + 0.3 * (5 * first + 4 * second))


def test_a_promotion_borrows_and_makes_members_wait():
    told = known(
        "themed_promotion",
        order_multiple=1.5,
        covered_share=0.4,
        discount_share=0.1,
        pull_forward_share=0.3,
        dependence_share=0.02,
        order_value_fen=5000,
    )
    made = run(people(), told, Step("themed_promotion")).draws
    extra, waiting = 500 * 0.5, 500 * 0.02 * 6
    agrees(made["orders"], extra * 0.7 - waiting)
    agrees(made["pulled_forward"], extra * 0.3, extra * 0.3)
    agrees(made["cost_fen"], (extra + 500 * 0.4) * 500, (extra + 500 * 0.4) * 500**2)
    often = known("themed_promotion", order_multiple=1.0, covered_share=0.0, pull_forward_share=0.0, dependence_share=0.02)
    lost = run(people(), often, Step("themed_promotion", weeks=4), weeks=10).draws["orders"]
    agrees(lost, -500 * 0.02 * 24)  # 4 weeks, each lowering the 6 after it


def test_an_effect_below_one_costs_orders():
    worse = known("themed_promotion", order_multiple=0.8, covered_share=0.0, pull_forward_share=0.0, dependence_share=0.0)
    made = run(people(), worse, Step("themed_promotion")).draws
    agrees(made["orders"], -500 * 0.2, 500 * 0.2)
    assert (made["activated"] == 0).all()
    shares = dict(share_a=0.2, share_b=0.0, share_c=0.0, share_d=0.0)
    fewer = run(people(10, 50_000), points(**shares, lift_a=0.5), Step("points_threshold", weeks=4), draws=2000).draws
    assert np.mean(fewer["orders"]) == pytest.approx(-100_000 * 0.05 * 0.5 * 2.5, rel=0.03)  # half of the pilot's week, then two
    nothing = known("themed_promotion", order_multiple=1.0, covered_share=0.0, pull_forward_share=0.0, dependence_share=0.5)
    agrees(run(people(), nothing, Step("themed_promotion", weeks=4)).draws["orders"], -500 * (0.5 + 7 * 1.0 + 0.5), sigmas=5)


def test_orders_pulled_from_beyond_the_horizon_are_named():
    told = known("themed_promotion", order_multiple=1.5, pull_forward_share=0.5, dependence_share=0.0)
    short = run(people(), told, Step("themed_promotion"), weeks=1)
    assert short.bound["mechanics_bound_horizon"] > 3900 and (short.draws["pulled_forward"] == 0).all()
    assert "mechanics_bound_horizon" not in run(people(), told, Step("themed_promotion")).bound


def test_pressure_makes_members_quit_and_their_orders_go():
    told = known(
        "coupon",
        response_share=0.0,
        posts_week=2,
        quit_week=0.01,
        pressure_effect=0.5,
        confirmed_share=1.0,
        kept_after_leaving=0.3,
    )
    told = Calibration({**told.parameters, "posts_week": Range.fixed(2.0)})
    made = run(people(), told, Step("coupon"), limits=replace(OFF, has_fatigue=True)).draws
    more = 0.01 * np.expm1(0.5)  # twice the posts
    agrees(made["lost"], 5000 * more, 5000 * more * (1 - more))
    agrees(made["orders"], -5000 * more * 0.1 * 0.7 * 4)  # four weeks after, 30% of the orders come all the same
    tired = known(
        "coupon",
        response_share=0.1,
        redeemed_share=1.0,
        extra_share=1.0,
        posts_week=1,
        fatigue_effect=0.4,
        quit_week=0.0,
        pull_forward_share=0.0,
    )
    tired = Calibration({**tired.parameters, "posts_week": Range.fixed(1.0)})
    agrees(run(people(), tired, Step("coupon"), limits=replace(OFF, has_fatigue=True)).draws["activated"], 500 * np.exp(-0.4))


def test_a_guide_who_leaves_takes_orders_along():
    told = known("guide_turnover", leave_share=0.3, dip_share=0.4, recovery_weeks=2.0, quit_share=0.05, kept_after_leaving=0.25)
    made = run(people(20, 500), told, Step("guide_turnover"), weeks=3).draws
    fall = 0.3 * 0.4 * sum(np.exp(-t / 2) for t in range(3))
    agrees(made["lost"], 10_000 * 0.3 * 0.05)
    gone = 150 * 0.1 * 2 * 0.75  # who left misses two weeks, and places a quarter of the orders elsewhere in the shop
    left = 0.3 * 0.05 * 0.4 * (np.exp(-0.5) + np.exp(-1)) * 1000  # their orders cannot fall a second time
    agrees(made["orders"], -1000 * fall - gone + left)
    offer = known("coupon", response_share=0.2, redeemed_share=1.0, extra_share=1.0, pull_forward_share=0.0).parameters
    offer = Calibration({**told.parameters, **offer, "guide_turnover.quit_share": Range.fixed(0.0)})
    both = run(people(20, 500, orders=0.0), offer, Step("coupon"), Step("guide_turnover"), draws=2000).draws["activated"]
    agrees(both, 10_000 * 0.2 * (1 - 0.3 * 0.4))


def test_a_roll_out_ramps():
    told = known(
        "store_roll_out",
        stores_now=6,
        stores_planned=26,
        open_weeks=4,
        joins_week=10.0,
        ramp_weeks=2.0,
        store_fen=1000,
        joiner_orders_week=0.0,
    )
    made = run(people(), told, Step("store_roll_out", weeks=4), weeks=6).draws
    opened = [5, 5, 5, 5]
    mature = sum(n * (1 - np.exp(-(t - k + 1) / 2)) for t in range(6) for k, n in enumerate(opened) if k <= t)
    agrees(made["gained"], 10 * mature, 10 * mature)
    assert (made["cost_fen"] == 20_000).all()


def points(**more):
    base = dict(
        redeem_week=0.05,
        band_points=800,
        critical_scale=100,
        pilot_share=0.5,
        detect_weeks=1,
        downpour_weeks=2,
        again_share=0.0,
        order_with_share=1.0,
        pull_forward_share=0.0,
        product_cost_share=0.5,
        critical_points=1000,
        again_fen=0.0,
    )
    return known("points_threshold", **base, **more)


def test_points_in_three_phases_equal_the_closed_form():
    shares, lifts = (
        dict(share_a=0.1, share_b=0.05, share_c=0.1, share_d=0.05),
        dict(lift_a=3.0, lift_b=2.0, lift_c=2.0, lift_d=1.0),
    )
    made = run(people(10, 50_000), points(**shares, **lifts), Step("points_threshold", weeks=4), draws=6000).draws
    near = 500_000 * 0.3 * 0.5
    sd = float(detection_sd(np.array(100.0), np.array(800.0), np.array(0.05), np.array(near)))
    match = 1 - sd * np.sqrt(2 / np.pi) / 800
    chances = {0.1 * match: 0.1, 0.05 * match: 0.15}  # weekly chance of a surplus redemption: share of the members
    mean = sum(
        share * (1 - (1 - p / 2) * (1 - p) ** 2) for p, share in chances.items()
    )  # the pilot reaches half of them in its week
    agrees(made["activated"], 500_000 * mean, sigmas=5)
    assert match > 0.98
    widen = points(**shares, **lifts)
    widen = Calibration(
        {**widen.parameters, "points_threshold.again_share": Range.fixed(0.2), "points_threshold.keep_share": Range.fixed(0.5)}
    )
    more = run(people(10, 50_000), widen, Step("points_threshold", weeks=4), draws=2000).draws
    agrees(more["orders"] / more["activated"], 1 + 0.2 * sum(0.5**t for t in range(1, 6)))


def test_the_detection_error_is_that_of_a_fit():
    """The standard error against maximum likelihood on drawn pilots."""
    from scipy.optimize import minimize_scalar

    rng = np.random.default_rng(3)
    n, a, s, width, c = 20_000, 0.1, 80.0, 1600.0, 1500.0
    found = []
    for _ in range(80):
        x = rng.uniform(c - width / 2, c + width / 2, n)
        hit = rng.random(n) < a / (1 + np.exp(-(x - c) / s))

        def loss(centre, x=x, hit=hit):
            p = a / (1 + np.exp(-(x - centre) / s))
            return -np.log(np.where(hit, p, 1 - p)).sum()

        found.append(minimize_scalar(loss, bounds=(c - 300, c + 300), method="bounded").x)
    told = float(detection_sd(np.array(s), np.array(width), np.array(a), np.array(n)))
    assert np.std(found) == pytest.approx(told, rel=0.3)


def test_cells_that_know_their_points_group_use_it():
    population = people(4, 3000, ("A_x", "B_x", "none"))
    population.cells["letter"] = population.cells["segment"].map({"A_x": "A", "B_x": "B", "none": ""})
    population.cells["redeem_week"] = population.cells["segment"].map({"A_x": 0.1, "B_x": 0.05, "none": 0.5})
    told = points(lift_a=2.0, lift_b=3.0)
    # The rate that was chosen is the mean of A and B, 7.5%: cells are as they are.
    step = Step("points_threshold", weeks=4, settings={"critical_scale": 1, "redeem_week": 0.075})
    made = run(population, told, step).draws
    a, b = 0.1 * 1.0, 0.05 * 2.0
    mean = 12_000 * (1 - (1 - a / 2) * (1 - a) ** 2) + 12_000 * (1 - (1 - b / 2) * (1 - b) ** 2)
    assert np.mean(made["activated"]) == pytest.approx(mean, rel=0.015)
    # Chosen half as high: so are the cells'.
    low = run(population, told, Step("points_threshold", weeks=4, settings={"critical_scale": 1, "redeem_week": 0.0375})).draws
    a, b = a / 2, b / 2
    mean = 12_000 * (1 - (1 - a / 2) * (1 - a) ** 2) + 12_000 * (1 - (1 - b / 2) * (1 - b) ** 2)
    assert np.mean(low["activated"]) == pytest.approx(mean, rel=0.02)
    # A rate known within a factor of 2 either way leaves the count of redeemers as uncertain, around the cells' own rates.
    believed = {**told.parameters, "points_threshold.redeem_week": Range(0.002, 0.001, 0.004, "share", "data", 50)}
    population.cells["redeem_week"] /= 10
    wide = run(population, Calibration(believed), Step("points_threshold", weeks=4, settings={"critical_scale": 1})).draws
    low, mid, high = np.quantile(wide["activated"], [0.05, 0.5, 0.95])
    assert mid == pytest.approx(12_000 * 2.5 * (0.01 + 0.01), rel=0.05)
    assert low / mid == pytest.approx(0.5, rel=0.12) and high / mid == pytest.approx(2.0, rel=0.12)


def test_the_relative_width_does_not_vanish_as_members_grow():
    step = Step("coupon", weeks=2)
    width, fixed = {}, {}
    for each in (200, 200_000):
        free = run(people(50, each, stores=5), Calibration(), step, limits=Constraints(), draws=2000).range("orders")
        width[each] = (free.high - free.low) / free.value
        still = run(people(50, each, stores=5), known("coupon"), step, draws=2000).range("orders")
        fixed[each] = (still.high - still.low) / still.value
    assert width[200_000] > 0.75 * width[200] > 0.75
    assert fixed[200_000] < 0.06 * fixed[200]  # without shocks and doubt it falls with the square root of members, here 32-fold


def test_pooled_units_keep_the_variance_of_the_groups():
    rng = np.random.default_rng(5)
    sizes = rng.integers(20, 500, 400)
    population = people(400, 1, stores=40)
    population.cells["n_members"] = sizes
    told = known(
        "coupon",
        response_share=0.1,
        redeemed_share=0.5,
        extra_share=1.0,
        pull_forward_share=0.0,
        shock_group_sd=0.5,
        shock_store_sd=0.2,
    )
    pooled = run(population, told, Step("coupon"), draws=8000).draws["activated"]
    draws = 8000
    store = np.exp(0.2 * rng.standard_normal((draws, 40)) - 0.02)[:, np.arange(400) * 40 // 400]
    level = store * np.exp(0.5 * rng.standard_normal((draws, 400)) - 0.125)
    alone = rng.binomial(sizes, np.minimum(0.05 * level, 1)).sum(1)  # every group by itself
    assert stats.ks_2samp(pooled, alone).pvalue > 0.01
    assert np.var(pooled) == pytest.approx(np.var(alone), rel=0.08)
    made = cells.layout(population, Plan("p", (Step("coupon"),)), rng, keeps_groups=False)
    assert made.is_pooled and made.units == 40 and made.groups.sum() == 400 and made.n.sum() == sizes.sum()
    assert not cells.layout(population, Plan("p", (Step("coupon"),)), rng, keeps_groups=True).is_pooled


def per_member(
    n_groups,
    each,
    draws,
    rng,
    *,
    response,
    redeemed,
    extra,
    group_sd,
    confirmed,
    usual,
    fatigue,
    quit_week,
    pressure,
    orders,
    weeks,
    after,
):
    """One member at a time, week by week: who is there, whose group got the post, who redeems, who quits; nothing shared with the engine."""
    out = []
    for _ in range(draws):
        level = [float(np.exp(group_sd * rng.standard_normal() - group_sd**2 / 2)) for _ in range(n_groups)]
        activated = extra_orders = missing = lost = 0
        factor = (usual + confirmed) / usual
        hazard = quit_week * (np.exp(pressure * np.log2(factor)) - 1)
        there = np.ones((n_groups, each), bool)
        was_there = [np.ones((n_groups, each), bool)]
        acted = np.zeros((n_groups, each), bool)
        for _week in range(weeks):
            for g in range(n_groups):
                if rng.random() < confirmed:
                    chance = level[g] * response * np.exp(-fatigue * np.log2(factor)) * redeemed
                    hit = (rng.random(each) < chance) & there[g]
                    caused = rng.random(each) < extra
                    activated += int((hit & caused & ~acted[g]).sum())
                    extra_orders += int((hit & caused).sum())
                    acted[g] |= hit
            quits = (rng.random(there.shape) < hazard) & there
            lost += int(quits.sum())
            there &= ~quits
            was_there.append(there.copy())
        level = np.array(level)[:, None]
        for week in range(1, weeks + after):
            gone = ~was_there[min(week, weeks)]
            missing += int(rng.poisson((gone * orders * level).sum()))
        out.append((activated, extra_orders - missing, lost))
    return np.array(out).T


def test_the_distribution_is_that_of_a_per_member_simulation():
    numbers = dict(
        response=0.3,
        redeemed=0.4,
        extra=0.6,
        group_sd=0.3,
        confirmed=0.8,
        usual=2.0,
        fatigue=0.3,
        quit_week=0.02,
        pressure=1.0,
        orders=0.1,
    )
    alone = per_member(6, 300, 700, np.random.default_rng(2), **numbers, weeks=3, after=4)
    told = known(
        "coupon",
        response_share=0.3,
        redeemed_share=0.4,
        extra_share=0.6,
        pull_forward_share=0.0,
        shock_group_sd=0.3,
        confirmed_share=0.8,
        late_share=0.0,
        fatigue_effect=0.3,
        quit_week=0.02,
        pressure_effect=1.0,
        kept_after_leaving=0.0,
    )
    told = Calibration({**told.parameters, "posts_week": Range.fixed(2.0)})
    made = run(
        people(6, 300), told, Step("coupon", weeks=3), limits=replace(OFF, has_fatigue=True, has_confirmation=True), draws=2000
    ).draws
    for ours, theirs in zip(("activated", "orders", "lost"), alone, strict=True):
        assert stats.ks_2samp(made[ours], theirs).pvalue > 0.01, ours


def test_one_seed_gives_one_forecast_and_plans_share_their_unknowns():
    first, second = (run(people(), Calibration(), Step("coupon"), limits=Constraints(), draws=300) for _ in range(2))
    pd.testing.assert_frame_equal(first.draws, second.draws)
    other = run(
        people(), Calibration(), Step("coupon", settings={"value_fen": 300}), Step("flash_sale"), limits=Constraints(), draws=300
    )
    same = first.parameters.columns.drop("coupon.value_fen")
    pd.testing.assert_frame_equal(first.parameters[same], other.parameters[same])
    assert np.corrcoef(first.draws["activated"], other.draws["activated"])[0, 1] > 0.5
    assert (run(people(), Calibration(), Step("coupon"), draws=300, seed=2).draws["orders"] != first.draws["orders"]).any()


def test_profit_is_margin_less_cost_and_roi_is_blank_without_cost():
    made = run(people(), Calibration(), Step("coupon", weeks=2), limits=Constraints(), draws=500)
    assert np.allclose(made.draws["profit_fen"], made.draws["margin_fen"] - made.draws["cost_fen"])
    assert np.allclose(made.draws["roi"], made.draws["profit_fen"] / made.draws["cost_fen"])
    assert made.loss_share == (made.draws["profit_fen"] < 0).mean()
    sums = made.weeks.groupby("draw")[["orders", "cost_fen", "lost"]].sum()
    assert np.allclose(sums, made.draws[["orders", "cost_fen", "lost"]])
    assert run(people(), known("guide_turnover"), Step("guide_turnover"), draws=5).draws["roi"].isna().all()


def test_order_values_spread_as_gamma_sums():
    told = known(
        "coupon",
        response_share=1.0,
        redeemed_share=1.0,
        extra_share=1.0,
        pull_forward_share=0.0,
        order_value_cv=0.8,
        order_value_fen=5000,
        refund_share=0.1,
    )
    made = run(people(1, 400), told, Step("coupon")).draws
    agrees(made["revenue_fen"] / 4500, 400, 400 * 0.64)


def test_steps_meet_their_segments_and_half_the_groups():
    told = known("coupon", response_share=0.5, redeemed_share=1.0, extra_share=1.0, pull_forward_share=0.0)
    crowd = people(10, 100, ("old", "young"))
    assert run(crowd, told, Step("coupon", ("old",)), draws=2000).draws["activated"].mean() == pytest.approx(500, rel=0.02)
    half = run(crowd, told, Step("coupon"), treated_share=0.5, draws=2000).draws["activated"]
    agrees(half, 500, 1000 * 0.25)
    two = run(
        crowd,
        told,
        Step("coupon", ("old",)),
        Step("coupon", ("young",), first_week=1, settings={"redeemed_share": 0.5}),
        draws=2000,
    )
    agrees(two.draws["activated"], 500 + 250)
    assert {"coupon.redeemed_share", "coupon.redeemed_share@2"} <= set(two.parameters)


def test_the_message_cap_is_that_of_the_day():
    caps = simulate.message_caps
    assert caps(Constraints(), date(2025, 6, 30), 2) == pytest.approx((4 * 7 / 31, 4 * 7 / 31))
    assert caps(Constraints(), date(2025, 7, 20), 3) == pytest.approx((4 * 7 / 31, 4 * 7 / 31, 4 * 7 / 31), abs=0.1)
    assert caps(Constraints(), date(2026, 6, 30), 1) == pytest.approx((7,))
    assert caps(Constraints(posts_week=3), date(2026, 6, 30), 2) == (3, 3) and caps(OFF, date(2026, 6, 30), 1) == (np.inf,)
    told = known("coupon", response_share=0.2, redeemed_share=1.0, extra_share=1.0, posts_week=4, pull_forward_share=0.0)
    capped = run(people(), told, Step("coupon"), limits=replace(OFF, posts_week=2.0))
    q = 1 - 0.8**2
    agrees(capped.draws["activated"], 5000 * q, 5000 * q * (1 - q))
    assert capped.bound == {"mechanics_bound_cap": 4000, "mechanics_bound_displaced": 4000}


def test_a_sale_that_takes_the_place_of_a_usual_post_brings_nothing_more():
    told = known(
        "flash_sale", response_share=0.2, order_share=0.5, order_extra_share=0.4, order_multiple=1.0, covered_share=0.0,
        pull_forward_share=0.0, posts_week=1, fatigue_effect=0.0,
    )  # fmt: skip
    told = Calibration({**told.parameters, "posts_week": Range.fixed(2.0)})
    full = run(people(), told, Step("flash_sale"), limits=replace(OFF, posts_week=2.0))
    own = 5000 * 0.2 * 0.5 * 0.4
    agrees(full.draws["orders"], 0, own * (1 - 0.04) + own)  # binomial of the sale, Poisson of the post that did not go out
    assert full.bound["mechanics_bound_displaced"] == 4000 and "mechanics_bound_displaced" in full.warnings
    half = run(people(), told, Step("flash_sale"), limits=replace(OFF, posts_week=2.5))  # half a place is free
    agrees(half.draws["orders"], own / 2)
    free = run(people(), told, Step("flash_sale"), limits=replace(OFF, posts_week=3.0))
    agrees(free.draws["orders"], own)
    assert "mechanics_bound_displaced" not in free.bound
    # A better sale keeps its surplus.
    twice = run(people(), told, Step("flash_sale", settings={"order_multiple": 1.9}), limits=replace(OFF, posts_week=2.0))
    agrees(twice.draws["orders"], own * 0.9)


@pytest.mark.parametrize("name", sorted(mechanics()))
def test_every_mechanic_gives_a_whole_forecast(name):
    step = Step(name, weeks=max(2, mechanics()[name].least_weeks))
    crowd = people(12, 40, ("a", "b"), capacity=200, stores=3)
    for limits in (Constraints(), Constraints(budget_fen=400_000.0, stock_units=20), OFF):
        made = run(crowd, Calibration(), step, limits=limits, draws=200)
        assert np.isfinite(made.draws.drop(columns="roi")).all().all()
        assert (made.draws["cost_fen"] <= limits.budget_fen * (1 + 1e-9)).all() or name == "points_threshold"
        assert (made.draws[["activated", "lost", "gained", "pulled_forward", "cost_fen"]] >= 0).all().all()
        assert (made.draws["activated"] <= 12 * 80).all()


def test_remembered_cells_change_nothing():
    population = people(4, 300, ("a", "b"), stores=2)
    told = known("coupon", response_share=0.1, redeemed_share=0.5)
    memory: dict = {}
    for segments in (("a",), ("b",), (), ("a",)):  # twice the same: the second is taken from the memory
        for share in (1.0, 0.5, 1.0):
            plan = Plan("t", (Step("coupon", segments),), OFF, treated_share=share)
            alone, kept = (
                simulate.simulate(population, told, plan, draws=50, rng=np.random.default_rng(3), memory=m)
                for m in (None, memory)
            )
            pd.testing.assert_frame_equal(alone.draws, kept.draws, check_exact=True)
            pd.testing.assert_frame_equal(alone.weeks, kept.weeks, check_exact=True)
