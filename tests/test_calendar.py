"""The calendar against dates published by the State Council, observatories and platforms."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from sqkit import calendar
from sqkit.errors import InputError

# First day of the first lunar month, as printed in every Chinese wall calendar of the year.
SPRING_FESTIVALS = [
    "2020-01-25",
    "2021-02-12",
    "2022-02-01",
    "2023-01-22",
    "2024-02-10",
    "2025-01-29",
    "2026-02-17",
    "2027-02-06",
]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return calendar.days(date(2023, 1, 1), date(2027, 12, 31)).set_index("on_day")


@pytest.mark.parametrize("text", SPRING_FESTIVALS)
def test_spring_festival_dates(text):
    expected = date.fromisoformat(text)
    assert calendar.spring_festival(expected.year) == expected


@pytest.mark.parametrize("text", ["2024-02-04", "2024-02-18", "2023-06-25", "2024-10-12", "2025-01-26", "2025-02-08"])
def test_make_up_days_are_worked_weekends(table, text):
    row = table.loc[text]
    assert row.is_make_up_day and row.is_workday and row.weekday >= 6 and row.holiday == ""


def test_spring_festival_holiday_2024_is_eight_days(table):
    holiday = table[(table.holiday == "spring_festival") & (table.index.year == 2024)]
    assert [str(d.date()) for d in (holiday.index[0], holiday.index[-1])] == ["2024-02-10", "2024-02-17"]
    assert len(holiday) == 8 and not holiday.is_workday.any()


def test_lunar_festivals_by_published_dates(table):
    lunar = table[["lunar_month", "lunar_day"]]
    assert lunar.loc["2024-06-10"].tolist() == [5, 5]  # Dragon Boat 2024
    assert lunar.loc["2024-09-17"].tolist() == [8, 15]  # Mid-Autumn 2024
    assert lunar.loc["2025-10-06"].tolist() == [8, 15]  # Mid-Autumn 2025
    assert lunar.loc["2023-08-22"].tolist() == [7, 7]  # Qixi 2023, the year with a leap second month


def test_solar_terms(table):
    assert table.loc["2024-04-04"].solar_term == "pure_brightness"
    assert table.loc["2025-12-21"].solar_term == "winter_solstice"
    assert (table[table.index.year == 2024].solar_term != "").sum() == 24


def test_days_to_spring_festival_is_signed_and_nearest(table):
    to = table.days_to_spring_festival
    assert (to.loc["2024-02-09"], to.loc["2024-02-10"], to.loc["2024-02-11"]) == (1, 0, -1)
    assert to.abs().max() <= 193  # half of the longest lunar year (385 days) and a day


def test_shopping_festivals(table):
    assert table.loc["2025-11-11"].shopping_festival == "double_11"
    assert table.loc["2025-06-18"].shopping_festival == "mid_year_618"
    assert table.loc["2025-01-10"].shopping_festival == "new_year_goods"
    assert table.loc["2025-08-01"].shopping_festival == ""


def test_years_without_notice_are_marked_and_keep_festivals(table):
    later = table[table.index.year == 2027]
    assert later.is_estimated.all() and not table[table.index.year <= 2026].is_estimated.any()
    assert not later.is_make_up_day.any()
    assert later.loc["2027-02-06"].holiday == "spring_festival" and later.loc["2027-06-09"].holiday == "dragon_boat"
    assert later.loc["2027-03-01"].is_workday and not later.loc["2027-03-06"].is_workday


def test_every_day_once_and_dtypes():
    frame = calendar.days(date(2023, 12, 30), date(2024, 3, 1))
    assert len(frame) == 63 and frame.on_day.diff().dropna().eq(pd.Timedelta(days=1)).all()
    assert {c: str(t) for c, t in frame.dtypes.items()} == calendar.COLUMNS
    assert frame.weekday.iloc[0] == 6  # 30 December 2023 was a Saturday


def test_bad_ranges_and_kinds_say_what_is_allowed():
    with pytest.raises(InputError, match="2024-01-02 lies after last day 2024-01-01"):
        calendar.days(date(2024, 1, 2), date(2024, 1, 1))
    with pytest.raises(InputError, match="1901 to 2099"):
        calendar.spring_festival(1800)
    with pytest.raises(InputError, match="solar_terms"):
        calendar.names("feasts")


def test_names_are_bilingual_for_every_id_in_use(table):
    for kind, column in (("holidays", "holiday"), ("solar_terms", "solar_term"), ("shopping_festivals", "shopping_festival")):
        known = calendar.names(kind)
        assert set(table[column]) - {""} <= set(known)
        assert all(record["zh"] and record["en"] for record in known.values())
