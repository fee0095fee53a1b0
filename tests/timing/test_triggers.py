"""What the data say of the six triggers, and what none can say."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import worlds

from sqkit.timing import triggers_view
from sqkit.timing.triggers import TRIGGERS, records, triggers

START = datetime(2026, 1, 5)


def coupons(rule, n=3000):
    """Coupons of 200 members in 20 groups; `rule(i)` gives validity in days, kind and whether it was used."""
    made = []
    for i in range(n):
        days, kind, used = rule(i)
        issued = START + timedelta(days=i % 60)
        made.append({
            "coupon_id": f"C{i}", "member_id": f"M{i % 200}", "kind": kind, "face_fen": 500, "issued_at": issued,
            "expires_at": issued + timedelta(days=days), "used_order_id": f"O{i}" if used else None,
        })  # fmt: skip
    return made


@pytest.fixture
def read(tmp_path):
    def build(rows, as_of=date(2026, 6, 30)):
        tables = {
            "coupons": rows,
            "orders": [
                {"order_id": r["used_order_id"], "member_id": r["member_id"], "ordered_at": r["issued_at"], "status": "paid", "gross_fen": 100, "paid_fen": 100}
                for r in rows if r["used_order_id"]
            ],
            "members": [{"member_id": f"M{m}", "joined_at": START} for m in range(200)],
            "groups": [{"group_id": f"G{g}", "created_at": START} for g in range(20)],
            "memberships": [{"group_id": f"G{m % 20}", "member_id": f"M{m}", "joined_at": START} for m in range(200)],
        }  # fmt: skip
        return worlds.reading(worlds.admit(tmp_path, "coupons", tables, START.date(), as_of), as_of=as_of)

    return build


def of(reading, name):
    return next(t for t in triggers(reading) if t.record.id == name)


def test_all_six_are_there_and_say_what_they_need():
    assert {r.trigger for r in records()} == set(TRIGGERS)
    assert all((r.needs == ()) == (r.analysis == "") for r in records())


def test_short_validity_is_compared_within_kind(read):
    """Cash coupons are used more and are mostly long: the crude ratio is 1.07, within kinds it is 2."""

    def rule(i):
        is_cash = i % 4 < 2
        is_short = (i // 4) % 4 == 0 if is_cash else (i // 4) % 4 != 0
        chance = (40 if is_cash else 10) * (2 if is_short else 1)
        return (7 if is_short else 8), "cash" if is_cash else "other", (i * 37) % 100 < chance

    found = of(read(coupons(rule, 6000)), "time_coupon")
    assert found.state == "found" and found.n == 6000
    assert found.value == pytest.approx(2.0, abs=0.15) and found.low < 2 < found.high


def test_coupons_still_valid_are_no_failures(read):
    """All coupons are used just before they expire; on 6 March many long ones are still open."""
    as_of = date(2026, 3, 6)

    def rule(i):
        days = 5 if i % 2 else 30
        is_expired = START + timedelta(days=i % 60 + days) < datetime(2026, 3, 6)
        return days, "cash", is_expired and (i // 2) % 3 == 0

    found = of(read(coupons(rule), as_of), "time_coupon")
    assert found.state == "none" and found.value == pytest.approx(1.0, abs=0.15)


def test_one_validity_cannot_be_compared(read):
    reading = read(coupons(lambda i: (15, "cash", i % 5 == 0)))
    found = of(reading, "time_coupon")
    assert (found.state, found.reason) == ("untold", "one_validity")
    by_kind = of(read(coupons(lambda i: (5, "cash", i % 5 == 0) if i % 2 else (15, "other", i % 5 == 0))), "time_coupon")
    assert (by_kind.state, by_kind.reason) == ("untold", "one_validity")
    early = of(read(coupons(lambda i: (400 + i % 2, "cash", i == 0))), "time_coupon")
    assert (early.state, early.reason) == ("untold", "none_expired")


def test_what_cannot_be_measured_says_why(read):
    reading = read(coupons(lambda i: (15, "cash", i % 5 == 0)))
    states = {t.record.id: t.state for t in triggers(reading)}
    assert states["position"] == states["trajectory"] == "no_record" and states["social"] == "experiment"
    assert states["time_hour"] == states["scene"] == states["weather"] == "missing"
    for lang in ("zh", "en"):
        shown = triggers_view.rows(triggers(reading), reading, lang)
        assert len(shown) == len(records()) and all(cell.plain for row in shown for cell in row.values())
        assert triggers_view.headline(triggers(reading), lang).plain
    answers = {r["trigger"].plain: r["answer"].plain for r in triggers_view.rows(triggers(reading), reading, "en")}
    assert "random trial" in answers["social: company and crowds"]
    assert "weather" in answers["weather: wet or dry"].lower()


def test_the_page_gives_the_number_where_there_is_one(read):
    reading = read(coupons(lambda i: ((5 if i % 2 else 30), "cash", i % 4 == 1 or i % 8 == 0)))
    one = of(reading, "time_coupon")
    text = triggers_view.answer(one, reading, "en").plain
    assert one.value == pytest.approx(0.5 / 0.25, rel=1e-6) and "2.00×" in text and "n = 3,000" in text
    assert "can test 1" in triggers_view.headline(triggers(reading), "en").plain
