"""The words of a calendar, from a plan made by hand."""

from __future__ import annotations

import math
from datetime import date, datetime

import pytest

from sqkit.timing import schedule_view as view
from sqkit.timing.schedule_model import Entry, Note, Plan


def plan(**changes) -> Plan:
    monday = date(2026, 7, 6)
    entries = (
        Entry(
            "a",
            monday,
            datetime(2026, 7, 6, 9, 5),
            "morning_check_in",
            "knowledge",
            ("G1",),
            True,
            0.25,
            (("OP1", 1),),
            90,
            4.0,
            3.0,
            5.0,
            "drawn",
        ),
        Entry(
            "b",
            monday,
            datetime(2026, 7, 6, 19, 25),
            "evening",
            "interaction",
            ("G2", "G3"),
            False,
            1.0,
            (("OP1", 1), ("OP2", 1)),
            200,
            9.0,
            8.0,
            11.0,
            "best",
        ),
        Entry(
            "c",
            date(2026, 7, 7),
            datetime(2026, 7, 7, 19, 25),
            "evening",
            "product",
            ("G1", "G2"),
            False,
            1.0,
            (("OP1", 2),),
            190,
            9.0,
            8.0,
            11.0,
            "best",
        ),
    )
    made = {
        "entries": entries,
        "kept_away": ("G9",),
        "rules": {
            "caps": [["day", 1, "2026-07-06", "2026-07-06"]],
            "contact_from": "09:00",
            "contact_until": "21:00",
            "late_minutes": 80.0,
        },
        "figures": {
            "difference": (7.0, 2.0, 12.0),
            "leaving": (-3.0, -5.0, -1.0),
            "posts_week": (2.0, 3.0, math.nan),
            "detectable": (1.1, 1.2, math.nan),
        },
        "notes": (
            Note("hour_matters"),
            Note("exploration", {"n": 1, "of": 5, "share": 0.2, "asked": 0.2}),
            Note("gap", {"days": 5}),
        ),
    }
    return Plan("demo", "", date(2026, 6, 30), "week", monday, date(2026, 7, 12), "Asia/Shanghai", **made | changes)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_headline_picture_and_tables_count_sends(lang):
    made = plan()
    assert "5" in view.headline(made, lang).plain and "3" in view.headline(made, lang).plain  # 5 sends to 3 groups
    picture = view.picture(made, lang)
    assert len(picture) == 7 * 2 and list(picture.text[picture.text != ""].str.split("\n").str[1]) == ["1", "2", "2"]
    assert picture.shade.max() == 1 and picture.shade.min() == 0.5
    assert [row["groups"].plain for row in view.entry_rows(made, lang)] == ["1", "2", "2"]
    assert [(r["operator"].plain, r["posts"].plain, r["most"].plain) for r in view.load_rows(made, lang)] == [
        ("OP1", "4", "2"),
        ("OP2", "1", "1"),
    ]
    days = (
        ["7/6 \u5468\u4e00", "7/6 \u5468\u4e00", "7/7 \u5468\u4e8c"] if lang == "zh" else ["Mon 6 Jul", "Mon 6 Jul", "Tue 7 Jul"]
    )
    rows = view.entry_rows(made, lang)
    assert [row["day"].plain for row in rows] == days and 'class="day" datetime="2026-07-06"' in rows[0]["day"].html
    assert view.untold(made, lang) is None


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(2.0, 12.0, "more"), (-12.0, -2.0, "fewer"), (-1.0, 9.0, "not distinguishable"), (math.nan, math.nan, "No data")],
)
def test_the_title_has_every_form(low, high, word):
    value = (low + high) / 2
    text = view.title(plan(figures={"same_number": (value, low, high), "plan": (50 + value, 0, 0)}), "en").plain
    assert word in text and "nan" not in text


@pytest.mark.parametrize("why", view.EMPTY)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_without_entries_the_reason_is_said(why, lang):
    made = plan(entries=(), figures={}, notes=(Note(why), Note("no_response")))
    asked, reason, need = view.untold(made, lang)
    assert asked.plain and need.plain and reason.plain == view.headline(made, lang).plain
    assert view.picture(made, lang).empty and view.entry_rows(made, lang) == [] and view.notes(made, lang) == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_note_of_the_planner_has_words(lang):
    facts = {"per_week": 5.0, "usual": 7.0, "gain": 0.1, "low": 0.0, "high": 0.2, "weeks": 26}
    known = {
        "no_response": {},
        "no_delays": {"minutes": 120.0},
        "no_holiday_calendar": {"years": [2027]},
        "gap": {"days": 5},
        "hour_matters": {},
        "operators_over": {"operators": ["OP1"], "n": 150},
        "hour_usual": {},
        "pace_fewer": facts,
        "pace_more": facts,
        "pace_usual": facts,
        "pace_unknown": facts,
        "recovery": {"groups": ["G1"], "n": 1, "part": 0.5, "weeks": 4, "ratio": 1.5},
        "product_share": {"share": 0.5},
        "capacity": {"groups": 150, "per_slot": 75, "per_day": 150},
        "exploration": {"n": 1, "of": 5, "share": 0.2, "asked": 0.2},
        "slots_full": {"n": 3},
        "pace_asked": {"per_week": 5.0, "usual": 7.0},
        "described": {"scatter": 0.1, "weeks": 8},
    }
    made = plan(notes=tuple(Note(key, value) for key, value in known.items()))
    told = [*view.rules(made, lang), *view.notes(made, lang)]
    assert len(told) == len(known) + 3 + 3 and not any("{" in text.plain for text in told)
