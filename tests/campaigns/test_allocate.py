"""Budgets spread over offers, against every possible allocation of tiny cases."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from sqkit.campaigns.allocate import Limits, allocate, refused
from sqkit.errors import InputError


def options(*rows: tuple) -> pd.DataFrame:
    columns = ["segment", "mechanic", "n_members", "cost_fen", "profit_fen", "orders", "posts", "n_groups"]
    return pd.DataFrame([r + (0.0, 1.0, 0.0)[len(r) - 5 :] for r in rows], columns=columns)


def best_by_hand(offers: pd.DataFrame, limits: Limits, curve: tuple[float, ...]) -> float:
    """Try every schedule of whole segments: one offer or none per segment and week."""
    rows = offers.to_dict("records")
    choices = [[None, *(i for i, r in enumerate(rows) if r["segment"] == s)] for s in sorted(set(offers["segment"]))]
    best = 0.0
    for plan in itertools.product(itertools.product(*choices), repeat=limits.weeks):
        cost = orders = profit = posts = 0.0
        seen, fits = dict.fromkeys(range(len(rows)), 0), True
        for week, served in enumerate(plan):
            on = [i for i in served if i is not None]
            mechanics = {rows[i]["mechanic"]: rows[i] for i in on}.values()
            sent = sum(m["posts"] for m in mechanics)
            fits &= sent <= limits.posts_in(week) and sum(m["n_groups"] for m in mechanics) <= limits.group_weeks
            posts += sent
            for i in on:
                row, share = rows[i], curve[min(seen[i], len(curve) - 1)]
                seen[i] += 1
                cost += row["cost_fen"] * row["n_members"]
                orders += row["orders"] * row["n_members"]
                profit += row["n_members"] * ((row["profit_fen"] + row["cost_fen"]) * share - row["cost_fen"])
        if fits and cost <= limits.budget_fen + 1e-9 and orders <= limits.stock and posts <= limits.posts_total:
            best = max(best, profit)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_whole_schedules_is_found(seed):
    rng = np.random.default_rng(seed)
    rows = [
        (s, m, 10, float(rng.integers(1, 9)), float(rng.integers(-4, 12)), float(rng.integers(0, 3)), {"coupon": 1.0, "checkin": 2.0}[m], 40.0)
        for s in ("a", "b") for m in ("coupon", "checkin")
    ]  # fmt: skip
    offers = options(*rows)
    limits = Limits(1e9, weeks=3, posts=(3.0,), posts_total=5.0, group_weeks=80.0)
    found = allocate(offers, limits, curve=(1.0, 0.7, 0.5))
    # Without a budget or stock that cuts segments in parts, whole segments are optimal.
    assert found.expected_fen == pytest.approx(best_by_hand(offers, limits, (1.0, 0.7, 0.5)), abs=1e-3)
    assert found.rows.groupby(["segment", "week"]).size().max() <= 1 if len(found.rows) else True
    posts = found.rows.merge(offers, on=["segment", "mechanic"]).groupby(["week", "mechanic"])["posts"].max()
    assert posts.groupby("week").sum().max() <= 3.0 if len(posts) else True


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_a_segment_never_bring_less_than_whole_ones(seed):
    rng = np.random.default_rng(100 + seed)
    rows = [
        (s, m, 10, float(rng.integers(2, 9)), float(rng.integers(1, 12)), 1.0, 1.0, 0.0) for s in ("a", "b") for m in ("x", "y")
    ]
    limits = Limits(150.0, weeks=2, stock=30.0)
    found = allocate(options(*rows), limits, curve=(1.0, 0.6))
    assert found.expected_fen >= best_by_hand(options(*rows), limits, (1.0, 0.6)) - 1e-3
    assert found.cost_fen <= 150.0 + 1e-6


def test_the_shadow_price_and_ten_percent_more_by_hand():
    # 100 members at 2 fen, 3 fen of profit each; the budget serves 50: one fen more brings 1.5.
    found = allocate(options(("a", "coupon", 100, 2.0, 3.0)), Limits(100.0, weeks=1))
    assert (found.expected_fen, found.cost_fen) == pytest.approx((150.0, 100.0))
    assert found.shadow_price == pytest.approx(1.5)
    assert found.more_fen == pytest.approx(15.0)
    assert found.binding == ("budget",)
    assert found.rows["profit_fen"].sum() == pytest.approx(150.0)


def test_a_loose_budget_is_worth_nothing_more_and_a_loss_is_left_alone():
    found = allocate(options(("a", "coupon", 100, 2.0, 3.0), ("b", "coupon", 100, 2.0, -1.0)), Limits(1e6, weeks=1))
    assert found.shadow_price == pytest.approx(0.0) and found.more_fen == pytest.approx(0.0)
    assert set(found.rows["segment"]) == {"a"}


def test_more_budget_names_what_it_adds():
    rows = (("a", "coupon", 100, 1.0, 9.0), ("b", "flash", 100, 1.0, 5.0))
    found = allocate(options(*rows), Limits(100.0, weeks=1))
    assert list(found.rows["segment"]) == ["a"] and found.more_change == ("b|flash",)
    assert found.more_fen == pytest.approx(50.0, rel=1e-3)


def test_the_interval_comes_from_the_draws():
    draws = np.vstack([np.linspace(0.0, 6.0, 101), np.full(101, 99.0)])  # rows in the order of the options given
    offers = options(("b", "coupon", 100, 2.0, 3.0), ("a", "coupon", 100, 2.0, -500.0))
    found = allocate(offers, Limits(1e6, weeks=1), draws=draws)
    assert (found.low_fen, found.high_fen) == pytest.approx((30.0, 570.0))


def test_waning_response_spreads_the_weeks():
    # (3 + 2) * .3 - 2 < 0: a second week in a row of the same offer does not pay.
    found = allocate(options(("a", "coupon", 10, 2.0, 3.0)), Limits(1e6, weeks=3), curve=(1.0, 0.3))
    assert list(found.rows["week"]) == [0] and found.expected_fen == pytest.approx(30.0)


def test_what_cannot_be_is_named_all_at_once():
    offers = options(("a", "coupon", 0, -1.0, float("nan")), ("a", "coupon", 5, 1.0, 1.0))
    faults = " ".join(refused(offers, Limits(-5.0, weeks=0)))
    for piece in ("budget is -0.05", "weeks is 0", "cost of a member", "0 members", "not a number", "twice"):
        assert piece in faults
    with pytest.raises(InputError, match="rises from week to week"):
        allocate(options(("a", "coupon", 5, 1.0, 1.0)), Limits(10.0), curve=(0.5, 1.0))
    promised = options(("a", "coupon", 100, 2.0, 3.0)).assign(least_weeks=2)
    with pytest.raises(InputError, match="coupon for a.*raise a limit"):
        allocate(promised, Limits(100.0, weeks=4))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("cost_fen", float("inf"), "the cost of a member and week is inf; allowed: a number from 0"),
        ("cost_fen", float("nan"), "the cost of a member and week is nan"),
        ("orders", float("nan"), "orders is nan; allowed: a number from 0"),
        ("orders", -1.0, "orders is -1.0"),
        ("posts", float("inf"), "posts is inf"),
        ("n_members", float("inf"), "inf members"),
        ("n_members", float("nan"), "nan members"),
    ],
)
def test_numbers_that_are_none_are_refused_by_name(column, value, said):
    offers = options(("a", "coupon", 5, 1.0, 1.0)).assign(**{column: value})
    with pytest.raises(InputError) as caught:
        allocate(offers, Limits(10.0))
    assert f"coupon for a: {said}" in str(caught.value) and str(caught.value).count("\n") == 1


def test_no_offers_is_an_empty_answer():
    found = allocate(options(), Limits(100.0))
    assert found.rows.empty and found.expected_fen == 0.0
