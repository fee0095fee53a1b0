from __future__ import annotations

from datetime import date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqkit.segments import occasions
import worlds

FIRST, LAST = date(2024, 1, 1), date(2028, 12, 31)


def member(name, joined="2024-05-05 09:00", born=None, store="S01"):
    return {"member_id": name, "joined_at": joined, "birth_month_day": born, "home_store_id": store}


def world(store, **tables):
    return worlds.admit(store, "occasions", tables, FIRST, LAST)


def greeted(source, as_of, store=""):
    reading = worlds.reading(source, as_of=as_of, store=store)
    return [
        (r.member_id, r.detail["kind"], r.detail["on"], r.detail.get("years")) for r in occasions.greetings(reading).itertuples()
    ]


@pytest.fixture(scope="module")
def birthdays(tmp_path_factory):
    members = [
        member("new_year", born="01-01"), member("eve", born="12-31"), member("today", born="12-28"), member("week", born="01-04"),
        member("late", born="01-05"), member("leap", born="02-29"), member("none"), member("broken", born="13-45"),
        member("thirty", born="02-30"), member("empty", born=""), member("there", born="03-01", store="S02"),
        member("joined", joined="2024-02-29 08:00"), member("fresh", joined="2026-02-25 08:00"),
    ]  # fmt: skip
    stores = [{"store_id": s, "name": s} for s in ("S01", "S02")]
    return world(tmp_path_factory.mktemp("store"), members=members, stores=stores)


def test_birthdays_of_the_next_seven_days_over_the_year_end(birthdays):
    assert greeted(birthdays, date(2026, 12, 28)) == [
        ("eve", "birthday", date(2026, 12, 31), None),
        ("new_year", "birthday", date(2027, 1, 1), None),
        ("week", "birthday", date(2027, 1, 4), None),
    ]  # today's is over by the end of the day, and 5 January is the eighth day


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        # 2026 is no leap year: both the birthday and the anniversary of 29 February fall on the 28th
        (
            date(2026, 2, 27),
            [
                ("joined", "anniversary", date(2026, 2, 28), 2),
                ("leap", "birthday", date(2026, 2, 28), None),
                ("there", "birthday", date(2026, 3, 1), None),
            ],
        ),
        (
            date(2028, 2, 24),
            [
                ("fresh", "anniversary", date(2028, 2, 25), 2),
                ("joined", "anniversary", date(2028, 2, 29), 4),
                ("leap", "birthday", date(2028, 2, 29), None),
                ("there", "birthday", date(2028, 3, 1), None),
            ],
        ),
    ],
)
def test_the_29th_of_february(birthdays, as_of, expected):
    assert greeted(birthdays, as_of) == expected


def test_joining_is_no_anniversary_in_its_first_year_and_a_store_greets_its_own(birthdays):
    assert ("fresh", "anniversary") not in {g[:2] for g in greeted(birthdays, date(2026, 2, 24))}
    assert [g[0] for g in greeted(birthdays, date(2026, 2, 24), store="S02")] == ["there"]


def test_a_default_birthday_and_an_import_are_no_occasion(tmp_path):
    many = [member(f"d{i}", born="07-01", joined="2024-03-03 00:00") for i in range(150)]
    some = [member(f"s{i}", born=f"{1 + i % 12:02}-{1 + i % 28:02}", joined="2025-03-04 10:00") for i in range(84)]
    source = world(tmp_path, members=[*many, *some], stores=[{"store_id": "S01", "name": "S01"}])
    assert {g[0][0] for g in greeted(source, date(2026, 6, 30))} <= {"s"}
    assert {(g[0][0], g[1]) for g in greeted(source, date(2026, 3, 2))} >= {("s", "anniversary")}
    assert not [g for g in greeted(source, date(2026, 3, 2)) if g[0][0] == "d"]


DAY = datetime(2026, 7, 1)


def entry(member_id, when, points, kind="earn", expires=None):
    return {"member_id": member_id, "posted_at": when, "points": points, "kind": kind, "expires_at": expires}


def test_points_that_expire_by_hand(tmp_path):
    rows = [
        entry("fifo", "2026-01-01", 500, expires="2026-07-10 23:59:59"),
        entry("fifo", "2026-02-01", 400, expires="2026-12-31 23:59:59"),
        entry("fifo", "2026-03-01", -300, "redeem"),
        entry("spent", "2026-01-01", 500, expires="2026-07-10 23:59:59"),
        entry("spent", "2026-03-01", -500, "redeem"),
        entry("gone", "2025-01-01", 500, expires="2025-12-31 23:59:59"),  # past, never booked as expired
        entry("gone", "2026-02-01", 200, expires="2026-07-30 23:59:59"),
        entry("gone", "2026-03-01", -50, "redeem"),
        entry("booked", "2025-01-01", 500, expires="2025-12-31 23:59:59"),
        entry("booked", "2026-01-02", 150, expires="2026-07-30 23:59:59"),
        entry("booked", "2026-01-03", -500, "expire"),  # booked late; it takes the old points only
        entry("debt", "2026-01-01", -100, "redeem"),
        entry("debt", "2026-02-01", 250, expires="2026-07-05 12:00:00"),
        entry("small", "2026-02-01", 99, expires="2026-07-05 12:00:00"),  # worth less than a yuan
        entry("far", "2026-02-01", 900, expires="2026-07-31 00:00:00"),  # the 31st day
        entry("over", "2026-02-01", 900, expires="2026-06-30 23:59:59"),
        entry("future", "2026-07-02", 900, expires="2026-07-05 12:00:00"),
        entry("never", "2026-02-01", 900),
    ]
    rows = [{"entry_id": f"E{i:02}"} | row for i, row in enumerate(rows)]
    names = sorted({r["member_id"] for r in rows})
    source = world(tmp_path, members=[member(n, joined="2024-09-09 09:00") for n in names], points_ledger=rows)
    reading = worlds.reading(source, as_of=date(2026, 6, 30))
    found = occasions.points_expiring(reading).set_index("member_id")
    assert found["n_points"].to_dict() == {"fifo": 200, "gone": 150, "booked": 150, "debt": 150, "small": 99}
    assert found.loc["fifo", "first_on"] == date(2026, 7, 10)
    made = occasions.reminders(reading).set_index("member_id")
    assert made["value_cny"].to_dict() == {"fifo": 2.0, "gone": 1.5, "booked": 1.5, "debt": 1.5}
    assert (made["value_low"] == made["value_high"]).all() and made.loc["fifo", "detail"]["n"] == 200


@st.composite
def ledgers(draw):
    """Entries in the order of booking, at days 0 to 40."""
    days = sorted(draw(st.lists(st.integers(0, 40), min_size=1, max_size=12)))
    rows = []
    for at in days:
        kind = draw(st.sampled_from(["earn", "redeem", "expire"]))
        points = draw(st.integers(1, 6))
        lasts = draw(st.one_of(st.none(), st.integers(1, 30)))
        when = DAY + timedelta(days=at)
        expires = None if lasts is None else when + timedelta(days=lasts, hours=12)
        rows.append(("m", when, points if kind == "earn" else -points, kind == "expire", expires if kind == "earn" else None))
    return rows


def token_by_token(rows):
    """The same rule told with single points: each is spent, lapsed or held."""
    held, lapsed, debt = [], 0, 0
    for number, (_, when, points, is_expiry, expires) in enumerate(rows):
        lapsed += sum(e < when for e, _ in held)
        held = [(e, n) for e, n in held if e >= when]
        for _ in range(abs(points)):
            if points > 0 and debt:
                debt -= 1
            elif points > 0:
                held.append((expires or datetime.max, number))
            elif is_expiry and lapsed:
                lapsed -= 1
            elif held:
                held.remove(min(held))
            else:
                debt += not is_expiry
    left = {}
    for expires, _ in held:
        left[expires] = left.get(expires, 0) + 1
    return left


@given(ledgers())
@settings(max_examples=300, deadline=None)
def test_points_left_are_those_left_point_by_point(rows):
    left = {}
    for expires, n in occasions._lots(rows):
        left[expires] = left.get(expires, 0) + n
    assert left == token_by_token(rows)


def test_coupons_that_expire_by_hand(tmp_path):
    def coupon(i, name, expires, face=500, used=None, issued="2026-06-01"):
        return {
            "coupon_id": f"C{i}",
            "member_id": name,
            "face_fen": face,
            "issued_at": issued,
            "expires_at": expires,
            "used_order_id": used,
        }

    coupons = [
        coupon(1, "two", "2026-07-02 23:59"), coupon(2, "two", "2026-07-14 23:59", face=300), coupon(3, "two", "2026-07-15 00:00"),
        coupon(4, "used", "2026-07-02 23:59", used="before"), coupon(5, "then", "2026-07-02 23:59", used="after"),
        coupon(6, "over", "2026-06-30 23:59"), coupon(7, "future", "2026-07-05", issued="2026-07-02"), coupon(8, None, "2026-07-02"),
        coupon(9, "faceless", "2026-07-02", face=None), coupon(10, "forever", None), coupon(11, "tiny", "2026-07-02", face=99),
    ]  # fmt: skip
    orders = [
        {"order_id": i, "member_id": m, "ordered_at": at, "status": "paid", "gross_fen": 100, "paid_fen": 100}
        for i, m, at in (("before", "used", "2026-06-20 10:00"), ("after", "then", "2026-07-01 10:00"))
    ]
    names = ("two", "used", "then", "over", "future", "faceless", "forever", "tiny")
    source = world(tmp_path, members=[member(n, joined="2024-09-09 09:00") for n in names], coupons=coupons, orders=orders)
    made = occasions.reminders(worlds.reading(source, as_of=date(2026, 6, 30))).set_index("member_id")
    assert made["value_cny"].drop("faceless").to_dict() == {"two": 8.0, "then": 5.0} and pd.isna(
        made.loc["faceless", "value_cny"]
    )
    assert made.loc["two", "detail"] == {"kind": "coupons", "n": 2, "on": date(2026, 7, 2), "amount_cny": 8.0}


def test_a_source_without_anything_gives_no_occasion(tmp_path):
    order = {"order_id": "O1", "ordered_at": "2026-06-01 10:00", "status": "paid", "gross_fen": 100, "paid_fen": 100}
    made = occasions.candidates(worlds.reading(world(tmp_path, orders=[order]), as_of=date(2026, 6, 30)))
    assert made.empty and list(made.columns) == ["member_id", "reason", "value_cny", "value_low", "value_high", "detail"]


def test_an_expected_order_is_worth_what_orders_of_the_tier_were(tmp_path):
    """Sixty members with a monthly order, one of them with much more: tiered before, averaged after, refunds taken off."""
    members, orders, refunds = [], [], []
    for i in range(60):
        name = f"M{i:02}"
        members.append(member(name, joined="2025-01-05 09:00", born="07-03", store=None))
        for month in range(1, 19):
            when = date(2025 + (month - 1) // 12, (month - 1) % 12 + 1, 10)
            paid = 100_000 if i == 0 else 12_000 if when >= date(2026, 4, 2) else 30_000
            orders.append(
                {
                    "order_id": f"{name}-{month}",
                    "member_id": name,
                    "ordered_at": f"{when} 10:00",
                    "status": "paid",
                    "gross_fen": paid,
                    "paid_fen": paid,
                }
            )
        if i % 2:
            refunds.append(
                {"refund_id": f"R{i}", "order_id": f"{name}-18", "refunded_at": "2026-06-20 10:00", "amount_fen": 3_000}
            )
    source = world(tmp_path, members=members, orders=orders, refunds=refunds)
    values = occasions.order_values(worlds.reading(source, as_of=date(2026, 6, 30))).set_index("tier")
    assert list(values.index) == ["ordinary"]  # one member is no tier
    # 59 members with three orders in the last 90 days (April to June) of 120; 30 of them had 30 refunded
    assert values.loc["ordinary", "value_cny"] == pytest.approx((59 * 360 - 30 * 30) / 177)
    assert values.loc["ordinary", "value_low"] < 114.9 < values.loc["ordinary", "value_high"]
    assert values.loc["ordinary", "n_orders"] == 59 * 3
    greeted = occasions.greetings(worlds.reading(source, as_of=date(2026, 6, 30)))
    assert len(greeted) == 0  # sixty birthdays on one day are a form's default
