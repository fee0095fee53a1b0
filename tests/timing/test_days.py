"""Days of the calendar: known dates, planted days, and a year in which nothing happens."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.timing.days import KINDS, _judged, days, kinds_of_days
from sqkit.timing.days_view import note, rows, title, unread, untold
from sqkit.timing.model import OTHER_LEVEL, OTHERS, RESPONSE_LEVEL

FIRST = date(2023, 1, 1)
N_DAYS = 3 * 365
CITIES = ("A", "B", "C", "D", "E", "F")


def kind_on(*on: date) -> list[str]:
    return [str(kinds_of_days(day, day)[0]) for day in on]


def test_days_by_published_dates():
    """State Council notices and festivals of 2024 and 2025."""
    assert kind_on(date(2024, 2, 10), date(2024, 2, 8), date(2025, 1, 28)) == ["spring_festival"] * 3
    assert kind_on(date(2024, 2, 4), date(2025, 1, 26)) == ["make_up", "spring_festival"]  # the latter lies within three days
    assert kind_on(date(2024, 10, 3), date(2024, 9, 30), date(2024, 10, 12)) == ["holiday", "holiday_eve", "make_up"]
    assert kind_on(date(2024, 11, 11), date(2024, 11, 9), date(2024, 11, 5)) == ["shopping_peak", "shopping_peak", "double_11"]
    assert kind_on(date(2024, 11, 20), date(2024, 6, 18), date(2024, 6, 4)) == ["after_peak", "shopping_peak", "mid_year_618"]
    assert kind_on(date(2024, 8, 10), date(2024, 8, 9), date(2024, 7, 22)) == ["lunar", "lunar_eve", "solar_term"]
    assert kind_on(date(2024, 7, 24)) == [""]
    assert set(kinds_of_days(date(2022, 1, 1), date(2025, 12, 31))) - {""} == set(KINDS)


def orders(tmp_path, effect: dict[str, float], wet: float = 1.0, per_day: float = 60.0, n_days: int = N_DAYS):
    """Orders by day, with shocks of 10% a day, a weekly cycle, and kinds of days that multiply them; weather in six cities."""
    rng = np.random.default_rng(4)
    on = [FIRST + timedelta(days=d) for d in range(n_days)]
    kinds = kinds_of_days(on[0], on[-1])
    factor = np.array([effect.get(k, 1.0) for k in kinds]) * np.exp(rng.normal(0, 0.1, n_days))
    factor *= np.array([1.2 if d.isoweekday() == 6 else 1.0 for d in on])
    is_wet = rng.random((n_days, len(CITIES))) < 0.35
    n = rng.poisson(per_day / len(CITIES) * factor[:, None] * np.where(is_wet, wet, 1.0))
    day, city = (np.repeat(index.ravel(), n.ravel()) for index in np.indices(n.shape))
    at = [datetime(2023, 1, 1, 12, 0, 1) + timedelta(days=int(d)) for d in day]
    made = pd.DataFrame({"order_id": [f"O{i}" for i in range(len(at))], "ordered_at": at, "paid_at": at, "status": "paid"})
    made = made.assign(
        paid_fen=100, gross_fen=100, store_id=[f"S{c}" for c in city], member_id=[f"M{i % 500}" for i in range(len(at))]
    )
    weather = [
        {"city": c, "on_day": on[d], "is_wet": bool(is_wet[d, k]), "high_c": float(20 + 5 * rng.normal())}
        for d in range(n_days)
        for k, c in enumerate(CITIES)
    ]
    tables = {
        "orders": made,
        "members": [{"member_id": f"M{k}", "joined_at": datetime(2023, 1, 1)} for k in range(500)],
        "stores": [{"store_id": f"S{k}", "name": c, "city": c} for k, c in enumerate(CITIES)],
        "weather": weather,
    }
    return worlds.reading(worlds.admit(tmp_path, "days", tables, on[0], on[-1]))


def test_planted_days_are_found_and_no_other(tmp_path):
    planted = {"spring_festival": 0.5, "shopping_peak": 1.7}
    found = days(orders(tmp_path, planted, wet=0.85), "orders")
    table = found.table.set_index("kind")
    assert set(found.named.kind) == {*planted, "wet"}
    for kind, truth in {**planted, "wet": 0.85}.items():
        assert table.low[kind] < truth < table.high[kind]
    assert found.named.kind.iloc[0] == "spring_festival"
    told = title(found, "en").plain
    assert told.startswith("Orders differ by the kind of day: three peak days of 618 and Double 11 above ordinary days")
    assert "below ordinary days: Spring Festival" in told and "rain or snow" in told
    marks = rows(found, "en").set_index("label").text.str[-1]
    assert (marks == "\u2191").sum() == 1 and (marks == "\u2193").sum() == 2
    assert len(rows(found, "zh")) == int((table.reason == "").sum()) and untold(found, "en") is None


def test_quiet_years_name_nothing(tmp_path):
    found = days(orders(tmp_path, {}), "orders")
    assert found.named.empty and found.dispersion > 1.2  # of the 10% shocks: 1 + 60 x .01
    assert "none moves orders" in title(found, "en").plain and "1,095" in note(found, "en").plain


def test_one_occasion_and_few_days_are_said_not_judged(tmp_path):
    found = days(orders(tmp_path, {"spring_festival": 0.3}, n_days=300), "orders")
    table = found.table.set_index("kind")
    assert table.reason["spring_festival"] == "one_occasion" and table.reason["double_12"] == "no_days"
    assert not table.is_named["spring_festival"] and np.isnan(table.low["spring_festival"])
    assert "Spring Festival" in unread(found, "en").plain and "to judge orders" in unread(found, "en").plain


def test_too_little_and_no_days(tmp_path):
    small = days(orders(tmp_path, {}, per_day=0.5, n_days=300), "orders")
    assert small.reason == "not_enough_data" and untold(small, "zh") is not None
    reading = orders(tmp_path, {}, per_day=2, n_days=300)
    none = days(reading, "response")
    assert none.reason == "missing" and "no posts" in untold(none, "en")[1].plain  # there are orders with a day


@pytest.mark.parametrize("viral", [False, True])
def test_response_counts_days_not_posts(tmp_path, viral):
    """Posts of ten groups a day; one viral solar term day makes no effect of solar terms."""
    rng = np.random.default_rng(8)
    on = [FIRST + timedelta(days=d) for d in range(500)]
    kinds = kinds_of_days(on[0], on[-1])
    hit = int(np.flatnonzero(kinds == "solar_term")[3])
    made = []
    for d, day in enumerate(on):
        rate = 3.0 * np.exp(rng.normal(0, 0.15)) * (25 if viral and d == hit else 1)
        at = datetime(day.year, day.month, day.day, 9 + d % 11, 5, 7)
        made += [
            {"post_id": f"P{d:03}", "group_id": f"G{g}", "scheduled_at": at, "sent_at": at, "status": "sent", "n_members": 200}
            | {"n_responders": int(min(rng.poisson(rate), 200))}
            for g in range(10)
        ]
    tables = {
        "deliveries": made,
        "posts": [{"post_id": f"P{d:03}", "content_class": "product"} for d in range(500)],
        "groups": [{"group_id": f"G{g}", "created_at": datetime(2023, 1, 1)} for g in range(10)],
    }
    reading = worlds.reading(worlds.admit(tmp_path, "viral", tables, on[0], on[-1]))
    found = days(reading, "response")
    assert found.n_days == 500 and found.named.empty
    ratio = found.table.set_index("kind").ratio["solar_term"]
    assert ratio > 1.5 if viral else ratio == pytest.approx(1, abs=0.15)


def test_one_family_of_a_page_names_only_what_the_whole_page_can_answer_for():
    """Student's t of 2.7 on about 59 degrees of freedom is p = .009: beyond chance alone, not among all that the page compares."""
    held = {"n_days": 40, "n_occasions": 5, "y": 900.0, "expected": 700.0, "se": 0.1, "reason": ""}
    for log, named in ((0.27, False), (0.5, True)):
        row = _judged(pd.DataFrame([{"kind": "holiday", "log": log, **held}]), 400).iloc[0]
        assert (row.low > 1, row.is_named) == (True, named)
    assert abs(RESPONSE_LEVEL + len(OTHERS) * OTHER_LEVEL - 0.04) < 1e-12
