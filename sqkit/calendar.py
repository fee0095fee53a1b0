"""Chinese working days, holidays, lunar dates, solar terms and shopping festivals, one row a day.

Official holidays and make-up days come from ``chinesecalendar``, lunar dates and solar terms from
``cnlunar``, names and shopping festivals from ``calendar_records.toml``. Years without an official
notice are filled with weekends and the festivals' own days, and marked as estimated.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import pandas as pd

from sqkit.config import PACKAGE
from sqkit.errors import InputError

__all__ = ["COLUMNS", "days", "is_chinese", "names", "shopping_festival_peaks", "spring_festival"]

COLUMNS = {
    "on_day": "datetime64[us]",
    "weekday": "int64",
    "is_workday": "bool",
    "is_make_up_day": "bool",
    "holiday": "object",
    "lunar_month": "int64",
    "lunar_day": "int64",
    "solar_term": "object",
    "shopping_festival": "object",
    "days_to_spring_festival": "int64",
    "is_estimated": "bool",
}
_FIRST_YEAR, _LAST_YEAR = 1901, 2099
_SATURDAY = 6


def days(first: date, last: date) -> pd.DataFrame:
    """Return the calendar from `first` to `last`, both included.

    Returns
    -------
    DataFrame
        Grain: one row a day, in order. ``on_day``; ``weekday`` 1 (Monday) to 7; ``is_workday``;
        ``is_make_up_day`` (a weekend day worked in exchange); ``holiday``, ``solar_term`` and
        ``shopping_festival`` as ids of ``calendar_records.toml`` or ``""``; ``lunar_month``,
        ``lunar_day`` (a leap month carries the number of the month before it);
        ``days_to_spring_festival`` signed days to the nearest Spring Festival, negative after it;
        ``is_estimated`` where no official notice covers the year.

    Raises
    ------
    InputError
        If the range is reversed or leaves the years 1901 to 2099.

    Examples
    --------
    >>> days(date(2024, 2, 9), date(2024, 2, 10))[["holiday", "lunar_day", "days_to_spring_festival"]].values.tolist()
    [['', 30, 1], ['spring_festival', 1, 0]]
    """
    if first > last:
        raise InputError(f"calendar: first day {first} lies after last day {last}. Swap them.")
    for year in (first.year, last.year):
        _check_year(year)
    rows = [row for year in range(first.year, last.year + 1) for row in _year(year) if first <= row[0] <= last]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(COLUMNS)


@cache
def spring_festival(year: int) -> date:
    """Return the first day of the first lunar month in `year` (1901 to 2099).

    Examples
    --------
    >>> spring_festival(2024)
    datetime.date(2024, 2, 10)
    """
    _check_year(year)
    day = date(year, 1, 20)  # it never falls before 21 January or after 21 February
    while _lunar(day)[:2] != (1, 1):
        day += timedelta(1)
    return day


def shopping_festival_peaks(year: int) -> dict[str, date]:
    """Return the peak day of each shopping festival that has one in `year`, by id.

    Examples
    --------
    >>> shopping_festival_peaks(2025)["double_11"]
    datetime.date(2025, 11, 11)
    """
    peaks = {}
    for record in _records()["shopping_festivals"]:
        if "peak" in record:
            peaks[record["id"]] = _month_day(year, record["peak"])
    return peaks


def names(kind: str) -> dict[str, dict[str, str]]:
    """Return id to ``{"zh", "en"}`` for ``"holidays"``, ``"solar_terms"`` or ``"shopping_festivals"``.

    Raises
    ------
    InputError
        If `kind` is none of them.
    """
    records = _records()
    if kind not in records:
        raise InputError(f"calendar: unknown kind of names {kind!r}. Allowed: {', '.join(records)}")
    found = records[kind]
    pairs = found.items() if isinstance(found, dict) else ((r["id"], r) for r in found)
    return {key: {"zh": record["zh"], "en": record["en"]} for key, record in pairs}


def is_chinese(time_zone: str) -> bool:
    """Say whether a source of this time zone lives by the Chinese calendar."""
    return time_zone in ("Asia/Shanghai", "Asia/Chongqing", "Asia/Harbin", "Asia/Urumqi", "PRC")


def _check_year(year: int) -> None:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise InputError(f"calendar: year {year} is outside the lunar tables. Allowed: {_FIRST_YEAR} to {_LAST_YEAR}")


@cache
def _records() -> dict[str, Any]:
    return tomllib.loads((PACKAGE / "calendar_records.toml").read_text(encoding="utf-8"))


def _month_day(year: int, text: str) -> date:
    month, day = text.split("-")
    return date(year, int(month), int(day))


def _lunar(day: date) -> tuple[int, int, bool]:
    import cnlunar

    found = object.__new__(cnlunar.Lunar)  # its __init__ works out the whole almanac, sixty times the cost of the date
    found.date, found.isLunarLeapMonth = datetime(day.year, day.month, day.day), False
    _, month, lunar_day = found.get_lunarDateNum()
    return month, lunar_day, found.isLunarLeapMonth


@cache
def _year(year: int) -> tuple[tuple[Any, ...], ...]:
    """Return the rows of one year."""
    terms = _solar_terms(year)
    festivals = _shopping(year)
    first_days = [spring_festival(y) for y in (year - 1, year, year + 1) if _FIRST_YEAR <= y <= _LAST_YEAR]
    rows = []
    day = date(year, 1, 1)
    while day.year == year:
        month, lunar_day, is_leap = _lunar(day)
        term = terms.get(day, "")
        weekday = day.isoweekday()
        official = _official(day)
        if official is None:
            holiday = _estimated_holiday(day, month, lunar_day, is_leap, term)
            is_workday = weekday < _SATURDAY and not holiday
        else:
            is_workday, holiday = official
        to_festival = min(((first - day).days for first in first_days), key=abs)
        is_make_up = is_workday and weekday >= _SATURDAY
        festival = festivals.get(day, "")
        rows.append(
            (day, weekday, is_workday, is_make_up, holiday, month, lunar_day, term, festival, to_festival, official is None)
        )
        day += timedelta(1)
    return tuple(rows)


def _solar_terms(year: int) -> dict[date, str]:
    import cnlunar

    found = cnlunar.Lunar(datetime(year, 7, 1), godType="8char").thisYearSolarTermsDic
    ids = {record["zh"]: key for key, record in _records()["solar_terms"].items()}
    return {date(year, month, day): ids[zh] for zh, (month, day) in found.items()}


def _shopping(year: int) -> dict[date, str]:
    windows = {}
    for record in _records()["shopping_festivals"]:
        if "days_before_spring_festival" in record:
            before = record["days_before_spring_festival"]
            first, last = (spring_festival(year) - timedelta(n) for n in before)
        else:
            first, last = _month_day(year, record["first"]), _month_day(year, record["last"])
        for n in range((last - first).days + 1):
            windows[first + timedelta(n)] = record["id"]
    return windows


def _official(day: date) -> tuple[bool, str] | None:
    """Return (is a working day, holiday id) from the State Council's notices, None where there is none yet."""
    import chinese_calendar

    try:
        is_off, name = chinese_calendar.get_holiday_detail(day)
    except NotImplementedError:
        return None
    if not is_off or name is None:
        return not is_off, ""
    ids = {record["official"]: key for key, record in _records()["holidays"].items()}
    return False, ids[name]


def _estimated_holiday(day: date, month: int, lunar_day: int, is_leap: bool, term: str) -> str:
    for key, record in _records()["holidays"].items():
        if "on" in record and 0 <= (day - _month_day(day.year, record["on"])).days < record.get("days", 1):
            return key
        if "lunar" in record and not is_leap:
            of_month, of_day, length = record["lunar"]
            if month == of_month and of_day <= lunar_day < of_day + length:
                return key
        if record.get("solar_term") == term and term:
            return key
    return ""
