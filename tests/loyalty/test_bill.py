"""Gifts at a rise are billed once per rise, other benefits per head and year, on a world counted on paper."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit.loyalty import bill, loyalty_page, rules, rules_view
from sqkit.reading import read

FIRST, LAST = date(2023, 1, 1), date(2024, 12, 31)
RISEN, SWITCHED = range(190, 200), range(150, 200)  # rose on 1 June 2024; stand above 5,000 yuan in 2024


def _at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)


def _world(store_home, name: str, *, first: date = FIRST, **extra) -> None:
    """Of 200 members M150 to M199 spend 6,000 yuan and more in 2024, the others 1,000, all of them 1,000 in 2023."""
    orders, spells, gifts = [], [], []
    for i in range(200):
        for year, fen in ((2023, 100_000), (2024, 600_000 + (i - 150) * 20_000 if i in SWITCHED else 100_000)):
            day = _at(date(year, 3, 1))
            orders.append({"order_id": f"O{i}-{year}", "member_id": f"M{i:03d}", "store_id": None, "ordered_at": day, "paid_at": day, "status": "paid",
                           "gross_fen": fen, "discount_fen": 0, "paid_fen": fen})  # fmt: skip
        rose = datetime(2024, 6, 1) if i in RISEN else None
        spells.append({"member_id": f"M{i:03d}", "grade": "ordinary", "from_at": datetime(2023, 1, 1), "to_at": rose})
        if rose:
            spells.append({"member_id": f"M{i:03d}", "grade": "gold", "from_at": rose, "to_at": None})
            gifts.append((f"M{i:03d}", "welcome_parcel", rose + timedelta(days=i % 3), 2500))
        if i < 100:
            gifts.append((f"M{i:03d}", "birthday_gift", datetime(2024, 8, 1), 800))
    rows = [
        {"benefit_id": f"B{i}", "member_id": m, "kind": k, "granted_at": at, "cost_fen": c}
        for i, (m, k, at, c) in enumerate(gifts)
    ]
    people = [{"member_id": f"M{i:03d}", "joined_at": datetime(2023, 1, 1)} for i in range(200)]
    if first > FIRST:
        orders = [o for o in orders if o["ordered_at"].date() >= first]
    worlds.admit(
        store_home, name, {"members": people, "orders": orders, "grades": spells, "benefits": rows, **extra}, first, LAST
    )


def test_kinds_are_told_apart_by_when_they_are_granted(store_home, in_store):
    _world(store_home, "bill")
    made = bill.bill(read("bill"))
    assert dict(zip(made.kinds["kind"], made.kinds["is_rise"], strict=True)) == {"birthday_gift": False, "welcome_parcel": True}
    assert dict(zip(made.kinds["kind"], made.kinds["n_rise"], strict=True)) == {"birthday_gift": 0, "welcome_parcel": 10}
    # two present grades: the one above stands for platinum, the other is ordinary
    rise = made.rise.set_index("grade")
    assert rise.loc["platinum", ["n", "k", "each_fen"]].tolist() == [10, 10, 2500] and rise.loc["gold", "n"] == 0
    assert made.unknown == ("gold",)
    head = made.head.set_index("grade")
    assert head.loc["ordinary", ["n", "each_fen"]].tolist() == [100, 800] and head.loc["platinum", "n"] == 0


def test_upgrades_are_billed_once_and_birthdays_each_year(store_home, in_store):
    _world(store_home, "bill")
    reading = read("bill")
    made = rules.change(reading, rules.Rules(platinum_fen=500_000, gold_fen=300_000))
    line = made.lines.set_index("line")
    # M190 to M199 hold the upper grade already: 40 rise at the switch. In a usual year the 50 that crossed 5,000 yuan rise; 10 did now
    heads = made.heads.set_index("grade").loc["platinum"]
    assert heads[["at_once", "rises_now", "rises_then"]].tolist() == [40, 10, 50] and made.knows_rises
    assert line.loc["rise_cost", ["now", "then"]].tolist() == [10 * 2500, 90 * 2500]
    assert line.loc["total_cost", "more"] - line.loc["later_cost", "more"] == pytest.approx(40 * 2500)
    # 100 birthday gifts of 8 yuan over the year (366 days of a leap year, less the first); all members stay heads
    assert line.loc["head_cost", "now"] == pytest.approx(100 * 800, rel=0.04)
    assert line.loc["rise_cost", "low"] < 90 * 2500  # ten gifts in ten rises do not prove that every rise has one
    kept = rules.change(reading, rules.Rules(keeps_grades=True)).lines.set_index("line")
    assert kept.loc[["rise_cost", "head_cost", "total_cost", "later_cost"], "more"].tolist() == [0, 0, 0, 0]
    title = rules_view.change_title(reading, made, "en").plain
    assert "upgrade gifts +¥2k" in title and "birthday gifts" in title
    assert rules_view.payback(reading, made) is None  # products carry no cost here: no margin
    assert rules_view.payback_title(reading, made, "en").plain.startswith("Without product costs")


def test_a_budget_stands_for_gifts_and_heads(store_home, in_store):
    _world(store_home, "bill")
    asked = rules.Rules(platinum_fen=500_000, gold_fen=300_000, benefit_fen=(10_000.0, 0.0, 0.0))
    line = rules.change(read("bill"), asked).lines.set_index("line")
    assert line.loc["rise_cost", "then"] == 0 and line.loc["head_cost", "then"] == pytest.approx(50 * 10_000)


def test_with_less_than_two_years_rises_are_taken_as_now(store_home, in_store):
    _world(store_home, "bill-short", first=date(2024, 1, 1))
    made = rules.change(read("bill-short"), rules.Rules(platinum_fen=500_000, gold_fen=300_000))
    heads = made.heads.set_index("grade").loc["platinum"]
    assert not made.knows_rises and heads["rises_then"] == heads["rises_now"] == pytest.approx(10, rel=0.01)
    assert made.lines.set_index("line").loc["rise_cost", "more"] == pytest.approx(40 * 2500)


def test_few_gifts_draw_wide_and_thin_grades_borrow(store_home, in_store):
    _world(store_home, "bill")
    made, rng = bill.bill(read("bill")), np.random.default_rng(3)
    rise, head = bill.drawn(made, rng, 20_000)
    # ten of ten, Jeffreys: beta(10.5, 0.5) has mean 21/22
    assert rise[0, 0] == 2500 and rise[1:, 0].mean() == pytest.approx(2500 * 21 / 22, rel=0.01)
    # 100 gifts: relative standard error near a tenth
    assert head[1:, 2].std() / head[0, 2] == pytest.approx(0.1, rel=0.1)
    assert not made.head["is_own"].iloc[1] and head[0, 1] == pytest.approx(100 / made.head["years"].sum() * 800)


def test_without_benefits_there_is_no_bill(store_home, in_store):
    people = [{"member_id": f"M{i:03d}", "joined_at": datetime(2023, 1, 1)} for i in range(5)]
    worlds.admit(store_home, "bill-none", {"members": people, "orders": []}, FIRST, LAST)
    assert bill.bill(read("bill-none")) is None
    assert not any(part.any() for part in bill.drawn(None, np.random.default_rng(0), 10))


def test_the_top_of_the_page_stays_short(store_home, in_store):
    _world(store_home, "bill")
    design = loyalty_page.design(read("bill"), rules.Rules(platinum_fen=500_000, gold_fen=300_000))
    for lang, limit in (("zh", 60), ("en", 160)):
        told = [s.plain for s in loyalty_page.three_sentences(design, lang)]
        assert len(told) == 3 and max(map(len, told)) <= limit
