"""The same span a year earlier, moved with the Spring Festival where the festival would fall on other days of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sqkit import calendar
from sqkit.reading.period import Period

__all__ = ["Aligned", "aligned_year_before"]

AROUND_DAYS = 30  # before and after the first day of the Spring Festival
LONG_DAYS = 180  # a longer span holds the whole festival in both years


@dataclass(frozen=True)
class Aligned:
    """A span a year earlier.

    Attributes
    ----------
    period : Period
        As many days as the span it is compared with.
    method : str
        ``calendar`` (the same dates) or ``spring_festival`` (the same days before and after the festival).
    moved_days : int
        Days by which the festival moved from that year to this, 0 for ``calendar``.
    """

    period: Period
    method: Literal["calendar", "spring_festival"]
    moved_days: int = 0


def aligned_year_before(period: Period) -> Aligned:
    """Return the same span one year earlier, with an equal number of days.

    A span of up to half a year that touches, or whose counterpart touches, the 30 days around a Spring Festival is moved by as many
    days as the festival moved; others keep their dates (29 February becomes 1 March). Weekdays are not aligned.

    Examples
    --------
    >>> found = aligned_year_before(Period(date(2026, 2, 1), date(2026, 2, 28), "month"))
    >>> str(found.period), found.method, found.moved_days
    ('2025-01-13/2025-02-09', 'spring_festival', 19)
    >>> str(aligned_year_before(Period(date(2026, 6, 1), date(2026, 6, 30), "month")).period)
    '2025-06-01/2025-06-30'
    """
    plain = _span(_year_earlier(period.first), period.days)
    near = [y for y in (period.first.year, period.last.year) if _touches(period, y) or _touches(plain, y - 1)]
    if not near or period.days > LONG_DAYS:
        return Aligned(plain, "calendar")
    this, last = calendar.spring_festival(near[0]), calendar.spring_festival(near[0] - 1)
    return Aligned(_span(last + (period.first - this), period.days), "spring_festival", (this - _same_day(last, near[0])).days)


def _year_earlier(day: date) -> date:
    return _same_day(day, day.year - 1)


def _same_day(day: date, year: int) -> date:
    return date(year, 3, 1) if (day.month, day.day) == (2, 29) else day.replace(year=year)


def _span(first: date, days: int) -> Period:
    return Period(first, first + timedelta(days=days - 1))


def _touches(period: Period, year: int) -> bool:
    festival = calendar.spring_festival(year)
    return period.first <= festival + timedelta(days=AROUND_DAYS) and period.last >= festival - timedelta(days=AROUND_DAYS)
