"""What page 40 answers first: the hour that rules can reach, a table of answers, who does what, and what cannot be told."""

from __future__ import annotations

import math
from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit import publish
from sqkit.reading import read
from sqkit.timing import timing_page as page
from sqkit.timing.accepted import accepted
from sqkit.timing.explored import explored
from sqkit.timing.kept import kept
from sqkit.timing.model import Curve, Response
from sqkit.timing.schedule import schedule
from sqkit.timing.schedule_model import Entry, Plan


def found(ratios: dict[int, float]) -> Response:
    hours, ratio = list(ratios), np.array(list(ratios.values()))
    table = pd.DataFrame({
        "level": hours, "ratio": ratio, "low": ratio * 0.95, "high": ratio * 1.05, "is_compared": True, "is_named": True,
    })  # fmt: skip
    checks = {"winsorised": 0.001, "rank": 0.001}
    return Response(
        {"hour": Curve("hour", table, np.eye(len(hours)), 0.001, True, "", checks, 1.1, 800.0)}, 0.05, 1.4, 2000, 200, 9
    )


def plan(until: str = "21:00", late: float = 80.0) -> Plan:
    monday = date(2026, 7, 6)
    entry = Entry("a", monday, datetime(2026, 7, 6, 12), "noon", "culture", ("G1",), operators=(("OP", 1),))
    rules = {"contact_from": "09:00", "contact_until": until, "late_minutes": late}
    figures = {"detectable": (1.2, math.nan, math.nan), "plan": (9.0, 8.0, 10.0), "same_number": (1.0, 0.5, 1.5)}
    return Plan(
        "x", "", date(2026, 6, 30), "week", monday, date(2026, 7, 12), "Asia/Shanghai", (entry,), rules=rules, figures=figures
    )


@pytest.mark.parametrize(
    ("ratios", "until", "late", "hour", "price"),
    [
        (
            {8: 1.3, 12: 0.8, 19: 1.2, 21: 1.5},
            "21:00",
            80.0,
            "19:00–20:00",
            "20.0%",
        ),  # 21:00 less 80 minutes: 19:39 at the latest
        ({8: 1.3, 12: 1.0, 19: 1.2}, "21:00", 130.0, "12:00–13:00", "23.1%"),  # 18:49 at the latest; 8 lies before contact hours
        ({12: 0.8, 19: 1.2, 20: 1.1}, "21:00", 80.0, None, None),  # the best of all can be reached
        ({7: 1.2, 23: 1.1}, "21:00", 80.0, None, None),  # none can
    ],
)
def test_the_best_hour_within_the_rules_is_said_where_it_is_not_the_best_of_all(ratios, until, late, hour, price):
    told = page._usable(found(ratios), plan(until, late), "en")
    assert (told is None) == (hour is None)
    assert told is None or (hour in told.plain and price in told.plain)


def plans(reading):
    found = kept(reading, accepted(reading.source.id, reading.as_of))
    return found, explored(reading, found)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_answers_and_decisions_of_a_brand_and_of_one_without_posts(small_brand, store_home, tmp_path, lang):
    with worlds.store_at(store_home):
        reading = read(small_brand.id)
        made = schedule(reading)
        answers, does = (f(reading, made, lang) for f in (page.answers, page.decisions))
        open_ = page.untold(reading, made, *plans(reading), lang)
        assert len(answers) >= 4 and len(does) >= 3 and len(open_) >= 1
        assert {"schedule_responders", "timing_hour"} <= set(page.metric_ids(reading, made))
        for row in (*answers, *does, *open_):
            assert all(text.plain and not publish.scan(text.html) for text in row.values())
    rows = [{"order_id": f"O{i}", "member_id": f"M{i % 9}", "ordered_at": f"2026-05-{i % 28 + 1:02d} 12:00:00", "status": "paid",
             "gross_fen": 100, "paid_fen": 100} for i in range(60)]  # fmt: skip
    source = worlds.admit(tmp_path, "orders", {"orders": rows}, date(2026, 1, 1), date(2026, 6, 30))
    with worlds.store_at(tmp_path):
        reading = read(source.id)
        made = schedule(reading)
        assert page.answers(reading, made, lang) == [] and page.decisions(reading, made, lang) == []
        assert len(page.untold(reading, made, *plans(reading), lang)) >= 4
        assert not {"schedule_responders", "delay_minutes"} & set(page.metric_ids(reading, made))
