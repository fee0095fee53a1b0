"""Grades, benefits, audit and incentives on small worlds written by hand, where every number can be counted on paper."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import worlds

from sqkit.errors import InputError
from sqkit.loyalty import audit, benefits, grades, incentives
from sqkit.reading import read

FIRST, LAST = date(2023, 1, 1), date(2024, 12, 31)


def order(i: int, who: str | None, day: date, fen: int) -> dict:
    at = datetime(day.year, day.month, day.day, 12)
    return {"order_id": f"O{i}", "member_id": who, "store_id": None, "ordered_at": at, "paid_at": at, "status": "paid", "gross_fen": fen,
            "discount_fen": 0, "paid_fen": fen}  # fmt: skip


def people(n: int) -> list[dict]:
    return [{"member_id": f"M{i:03d}", "joined_at": datetime(2023, 1, 1)} for i in range(n)]


def spell(who: str, grade: str, start: date, end: date | None) -> dict:
    at = [None if d is None else datetime(d.year, d.month, d.day) for d in (start, end)]
    return {"member_id": who, "grade": grade, "from_at": at[0], "to_at": at[1]}


def shop(store_home, name: str, **extra):
    """Member M000 spent 100 yuan in the last year, M001 200, ... M199 20,000, each in two orders; and the same a year before."""
    orders = []
    for i in range(200):
        for j, day in enumerate((date(2024, 3, 1), date(2024, 11, 20), date(2023, 3, 1), date(2023, 11, 20))):
            orders.append(order(4 * i + j, f"M{i:03d}", day, (i + 1) * 5000))
    return worlds.admit(store_home, name, {"members": people(200), "orders": orders, **extra}, FIRST, LAST)


def test_thresholds_are_the_quantiles_that_paper_gives(store_home, in_store):
    shop(store_home, "paper")
    made = grades.scheme(read("paper"))
    assert made.reason == "" and made.n_buyers == 200 and made.days == 365
    # the top 5% of 100, 200, ... 20,000 yuan begin at 19,005; the top 20% at 16,020
    assert made.thresholds["exact_fen"].tolist() == pytest.approx([1_900_500, 1_602_000])
    assert made.fen == (1_900_000, 1_600_000)  # 19,000 and 16,000 yuan
    assert made.grades["n"].tolist() == [11, 30, 159]  # 190 to 200; 160 to 189; the rest
    assert made.grades["spend_fen"].tolist() == [10_000 * sum(range(a, b)) for a, b in ((190, 201), (160, 190), (1, 160))]
    assert made.grades["sales_share"].sum() == pytest.approx(1)
    for line in made.thresholds.itertuples():
        assert line.low_fen < line.exact_fen < line.high_fen
    # half one's spend is an order: 127 to 189 (hundred yuan) are at most half of it below 190; 107 to 159 below 160
    assert made.thresholds["n_near"].tolist() == [len(range(127, 190)), len(range(107, 160))]


def test_chosen_thresholds_stand_and_impossible_ones_are_refused(store_home, in_store):
    shop(store_home, "paper")
    made = grades.scheme(read("paper"), 1_500_000, 1_000_000)
    assert made.fen == (1_500_000, 1_000_000) and made.grades["n"].tolist() == [51, 50, 99]
    for wrong in ((1_000_000, 1_500_000), (-1, 0), (5, 5)):
        with pytest.raises(InputError, match="_fen"):
            grades.scheme(read("paper"), *wrong)


def test_refunds_tills_equal_spend_and_few_members(store_home, in_store):
    refund = [{"refund_id": "R1", "order_id": "O796", "refunded_at": datetime(2024, 12, 1), "amount_fen": 10**9}]
    till = [order(10_000 + i, "M200", date(2024, 5, 1) + timedelta(days=i % 200), 100_000) for i in range(400)]
    orders = [order(2 * i + j, f"M{i:03d}", date(2024, 3, 1 + j), (i + 1) * 5000) for i in range(200) for j in range(2)]
    refund[0]["order_id"] = "O398"  # the larger than full refund of one of M199's two orders
    worlds.admit(store_home, "odd-shop", {"members": people(201), "orders": orders + till, "refunds": refund}, FIRST, LAST)
    made = grades.scheme(read("odd-shop"))
    assert made.n_accounts == 1 and made.n_buyers == 200  # half of all orders on one id: a till
    assert made.spend_fen == 10_000 * sum(range(1, 201)) - 200 * 5000
    equal = [order(i, f"M{i:03d}", date(2024, 3, 1), 5000) for i in range(150)]
    worlds.admit(store_home, "equal", {"members": people(150), "orders": equal}, FIRST, LAST)
    assert grades.scheme(read("equal")).reason == "no_spread"
    worlds.admit(store_home, "lone", {"members": people(3), "orders": equal[:1]}, FIRST, LAST)
    assert grades.scheme(read("lone")).reason == "few_members"
    worlds.admit(store_home, "none", {"members": people(3), "orders": []}, FIRST, LAST)
    assert grades.scheme(read("none")).reason == "no_orders"


def test_moves_and_steadiness(store_home, in_store):
    spells = [spell(f"M{i:03d}", "gold" if i in (0, 199) else "ordinary", date(2023, 1, 1), None) for i in range(200)]
    shop(store_home, "graded", grades=spells)
    made = grades.scheme(read("graded"))
    told = {(r.now, r.then): r.n for r in made.moves.itertuples()}
    assert told == {
        ("gold", "platinum"): 1,
        ("gold", "ordinary"): 1,
        ("ordinary", "platinum"): 10,
        ("ordinary", "gold"): 30,
        ("ordinary", "ordinary"): 158,
    }
    steady = grades.steadiness(read("graded"), *made.fen)
    kept = steady[steady["before"] == steady["after"]]
    # a year's spend 91 days ago holds the same two orders of the year before that: nobody moves
    assert kept["share"].tolist() == [1, 1, 1] and kept["n_all"].tolist() == [11, 30, 159]
    assert grades.steadiness(read("graded", as_of="2024-02-01"), *made.fen).empty


def test_benefits_are_costed_by_the_grade_when_granted(store_home, in_store):
    half = date(2024, 7, 1)
    spells = [spell("M000", "gold", date(2023, 1, 1), half), spell("M000", "platinum", half, None)]
    spells += [spell(f"M{i:03d}", "ordinary", date(2023, 1, 1), None) for i in range(1, 200)]
    given = [("B1", "M000", "birthday_gift", date(2024, 2, 1), 800), ("B2", "M000", "upgrade_gift", half, 6000), ("B3", "M001", "spa_day", date(2024, 2, 1), 500),
             ("B4", "M002", "birthday_gift", date(2023, 2, 1), 800)]  # fmt: skip
    rows = [
        {"benefit_id": b, "member_id": m, "kind": k, "granted_at": datetime(d.year, d.month, d.day, 10), "cost_fen": c}
        for b, m, k, d, c in given
    ]
    costs = [
        {"on_day": date(2024, 5, 1), "store_id": "S1", "kind": "staff", "amount_fen": 70},
        {"on_day": date(2022, 5, 1), "store_id": "S1", "kind": "staff", "amount_fen": 9},
    ]
    lines = [
        {"order_id": f"O{4 * i}", "line_no": 1, "product_id": "P1", "quantity": 1, "paid_fen": (i + 1) * 5000} for i in range(200)
    ]
    goods = [{"product_id": "P1", "cost_fen": 3000, "price_fen": 5000, "category": "x"}]
    shop(store_home, "gifts", grades=spells, benefits=rows, costs=costs, order_items=lines, products=goods)
    reading = read("gifts")
    made = benefits.benefits(reading)
    by = made.by_grade.set_index("grade")
    assert made.cost_fen == 7300 and by["cost_fen"].to_dict() == {"gold": 800, "platinum": 6000, "ordinary": 500}
    # the last 365 days begin on 1 January 2024 (a leap year's 2nd): 182 days in gold, 184 in platinum, less the first day
    assert by.loc["platinum", "member_years"] == pytest.approx(184 / 365) and by.loc["gold", "member_years"] == pytest.approx(
        181 / 365
    )
    assert by.loc["gold", "net_fen"] == 5000 and by.loc["platinum", "net_fen"] == 5000
    assert dict(made.other.itertuples(index=False, name=None)) == {"staff": 70}
    rate = benefits.cost_rate(reading).value
    assert rate == pytest.approx(3000 * 200 / (5000 * sum(range(1, 201))))
    assert by.loc["platinum", "break_even"] == pytest.approx(6000 / (184 / 365) / (5000 * (1 - rate)))
    placed = incentives.matrix(reading).set_index("incentive")
    assert placed.loc["gift", ["n", "cost_fen"]].tolist() == [2, 6800] and placed.loc["spa_day", "place"] == ""
    assert placed.loc["status", "each_fen"] == 0 and not placed.loc["status", "is_used"]
    assert placed.loc["card", "each_fen"] != placed.loc["card", "each_fen"]  # not used: unknown, not 0


def test_a_discount_that_eats_the_margin_never_pays():
    assert benefits.discount(0.3, 1000.0, 0.3)[1] == float("inf")
    for wrong in ((0.95, 1.0, 0.3), (0.1, 1.0, 0.0)):
        with pytest.raises(InputError, match="allowed"):
            benefits.discount(*wrong)


def test_the_audit_sees_signs_and_asks_where_it_cannot(store_home, in_store):
    spells = [spell(f"M{i:03d}", "gold" if i >= 120 else "ordinary", date(2023, 1, 1), None) for i in range(200)]
    back = [
        {
            "referral_id": f"R{i}",
            "referrer_member_id": f"M{i:03d}",
            "invited_member_id": f"M{i - 100:03d}",
            "referred_at": datetime(2024, 6, 1),
            "reward_fen": 100,
        }
        for i in [*range(100, 120), *range(130, 200)]
    ]
    shop(store_home, "signs", grades=spells, referrals=back)
    made = audit.audit(read("signs")).set_index("test")
    assert (
        made.loc["face", "verdict"] == "yes"
        and made.loc["face", "graded"] == pytest.approx(70 / 80)
        and made.loc["face", "other"] == pytest.approx(20 / 120)
    )
    # an order of M120 to M199 is 605 to 1,000 yuan, mean 802.5; of M000 to M119 302.5
    assert made.loc["basket", "verdict"] == "circular" and made.loc["basket", "value"] == pytest.approx(802.5 / 302.5)
    assert made.loc["stick", "verdict"] == "cannot_tell" or made.loc["stick", "verdict"] == "few"  # everybody came again
    assert made.loc["again", "verdict"] == made.loc["tie", "verdict"] == "ask" and "points_ledger" in made.loc["again", "lacks"]
    assert made.loc["join", "verdict"] == "ask"  # every sale is a member's: joining has nothing to compare with
    few = [spell(f"M{i:03d}", "gold" if i >= 190 else "ordinary", date(2023, 1, 1), None) for i in range(200)]
    shop(store_home, "signs-few", grades=few, referrals=back)
    assert audit.audit(read("signs-few")).set_index("test").loc["basket", "verdict"] == "few"
