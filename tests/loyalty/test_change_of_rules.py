"""A change of rules: the replay gives the past back, arithmetic that must hold, members whose fate is known, refusals."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import worlds

from sqkit.errors import InputError
from sqkit.loyalty import loyalty_page, points, rules
from sqkit.reading import read


@pytest.fixture(scope="module")
def lines(small_brand, store_home):
    """What a change of rules says of the small brand: line to its row."""

    with worlds.store_at(store_home):
        reading = read("demo")

    def told(**changed) -> dict[str, dict[str, float]]:
        with worlds.store_at(store_home):
            made = rules.change(reading, rules.Rules(**changed))
        return {row["line"]: row for row in made.lines.to_dict("records")}

    return told


def test_the_present_rules_give_the_last_year_back(small_brand, lines):
    told, since = lines(keeps_grades=True), small_brand.last_day - timedelta(days=365)
    with small_brand.connect() as con:
        kinds = con.execute(
            f"SELECT kind, abs(sum(points)) FROM points_ledger WHERE posted_at >= DATE '{since}' + 1 GROUP BY kind"
        ).fetchall()
        balance = con.execute("SELECT sum(points) FROM points_ledger").fetchone()[0]
    expected = dict(kinds)
    assert told["issued"]["now"] == told["issued"]["then"] == expected["earn"]
    assert told["redeemed"]["now"] == expected.get("redeem", 0) and told["expired"]["now"] == expected["expire"]
    assert told["outstanding"]["now"] == balance
    assert all(row["more"] == row["more_low"] == row["more_high"] == 0 for row in told.values())


def test_what_must_hold_whatever_the_data(lines):
    now = lines(keeps_grades=True)
    dearer = lines(keeps_grades=True, value_points=50.0, response=(0.0, 0.0))  # twice the value, nobody answers
    assert dearer["points_cost"]["then"] == pytest.approx(2 * now["points_cost"]["now"])
    assert dearer["liability"]["then"] == pytest.approx(2 * now["liability"]["now"])
    assert dearer["redeemed"]["more"] == 0
    answered = lines(keeps_grades=True, value_points=50.0, response=(0.0, 1.0))
    assert answered["redeemed"]["then"] > now["redeemed"]["now"]
    assert answered["points_cost"]["low"] < answered["points_cost"]["then"] < answered["points_cost"]["high"]
    double = lines(keeps_grades=True, points_per_yuan=2.0, response=(0.0, 0.0))
    assert double["issued"]["then"] == pytest.approx(2 * now["issued"]["now"], rel=0.01)  # present rate: whole points of a yuan
    shorter = lines(keeps_grades=True, validity="calendar_year")
    assert shorter["expired"]["then"] > now["expired"]["now"] and shorter["outstanding"]["then"] < now["outstanding"]["now"]
    free = lines(keeps_grades=True, benefit_fen=(0.0, 0.0, 0.0), discount=(0.0, 0.0, 0.0))
    assert free["rise_cost"]["then"] == free["head_cost"]["then"] == 0 and free["head_cost"]["more"] < 0
    assert free["total_cost"]["then"] == free["later_cost"]["then"] == free["points_cost"]["then"]


def test_one_member_on_paper(store_home, in_store):
    def entry(i: int, day: date, n: int, kind: str, end: date | None) -> dict:
        ends = None if end is None else datetime(end.year, end.month, end.day, 23, 59, 59)
        return {
            "entry_id": f"E{i}",
            "member_id": "M000",
            "posted_at": datetime(day.year, day.month, day.day, 12),
            "points": n,
            "kind": kind,
            "order_id": None,
            "expires_at": ends,
        }

    ledger = [
        entry(1, date(2023, 2, 1), 100, "earn", date(2024, 12, 31)),
        entry(2, date(2024, 3, 1), -80, "redeem", None),
        entry(3, date(2024, 5, 1), 50, "earn", date(2025, 12, 31)),
    ]
    orders = []
    for i in range(120):
        at = datetime(2024, 3, 1, 12)
        orders.append(
            {
                "order_id": f"O{i}",
                "member_id": f"M{i:03d}",
                "ordered_at": at,
                "paid_at": at,
                "status": "paid",
                "gross_fen": 100 * (i + 1),
                "discount_fen": 0,
                "paid_fen": 100 * (i + 1),
            }
        )
    people = [{"member_id": f"M{i:03d}", "joined_at": datetime(2023, 1, 1)} for i in range(120)]
    worlds.admit(
        store_home, "one", {"members": people, "orders": orders, "points_ledger": ledger}, date(2023, 1, 1), date(2024, 12, 31)
    )

    reading = read("one")

    def told(validity: str) -> list[float]:
        made = rules.change(reading, rules.Rules(validity=validity)).lines.set_index("line")["then"]
        return made[["issued", "redeemed", "expired", "outstanding"]].tolist()

    assert told("as_now") == [50, 80, 20, 50]
    assert told("calendar_next") == [50, 80, 20, 50]  # what the lots follow already
    # the 100 lapse on 31 December 2023, before the year; the redemption waits for the 50, takes them, and 30 of it are never met
    assert told("calendar_year") == [50, 50, 0, 0]
    # 365 days after 1 February 2023 is 1 February 2024: lapsed within the year, and the redemption waits for the 50
    assert told("days_365") == [50, 50, 100, 0]
    assert rules.validity_of(reading) == "calendar_next"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"points_per_yuan": 0.0}, "points_per_yuan"), ({"value_points": 0.0}, "value_points"), ({"validity": "forever"}, "validity"),
        ({"benefit_fen": (-1.0, None, None)}, "benefit_fen of platinum"), ({"discount": (0.0, 1.0, 0.0)}, "discount of gold"),
        ({"response": (1.0, 0.0)}, "response"), ({"response": (0.0, 9.0)}, "response"), ({"platinum_fen": 100, "gold_fen": 200}, "platinum_fen"),
    ],
)  # fmt: skip
def test_impossible_rules_are_refused_by_name(changed, named):
    with pytest.raises(InputError, match=named):
        rules.Rules(**changed)


def test_the_notebooks_parameters_are_refused_too():
    with pytest.raises(InputError, match="benefit_fen of gold"):
        loyalty_page.rules_asked(benefit_cny=(-1, -5, -1))
    with pytest.raises(InputError, match="reading of the formula"):
        loyalty_page.promotion_costs(points.Points("no_ledger"), "both")
    assert loyalty_page.rules_asked() == rules.Rules(response=(0, 1), discount=(0, 0, 0))
