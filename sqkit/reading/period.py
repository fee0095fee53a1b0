"""Spans of days that a metric is computed over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sqkit.errors import InputError, unknown

__all__ = ["GRAINS", "Grain", "Period"]

Grain = Literal["month", "quarter", "year", "all"]
GRAINS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Period:
    """A span of days, both ends included.

    Examples
    --------
    >>> june = Period.latest(date(2026, 7, 14), "month")
    >>> str(june), str(june.before()), str(june.year_before())
    ('2026-06-01/2026-06-30', '2026-05-01/2026-05-31', '2025-06-01/2025-06-30')
    """

    first: date
    last: date
    grain: str = "all"

    def __str__(self) -> str:
        return f"{self.first.isoformat()}/{self.last.isoformat()}"

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @classmethod
    def latest(cls, as_of: date, grain: str, first_day: date | None = None) -> Period:
        """Return the last complete month, quarter or year that ends on or before `as_of`; ``all`` is everything up to it.

        Where the data begin too late for one complete period, the result is everything there is.
        """
        if grain not in (*GRAINS, "all"):
            raise InputError(unknown("period", grain, [*GRAINS, "all"]))
        start = first_day or as_of
        if grain == "all":
            return cls(start, as_of)
        months = GRAINS[grain]
        after = as_of + timedelta(days=1)
        index = after.year * 12 + after.month - 1
        end = index - index % months
        made = cls(_month(end - months), _month(end) - timedelta(days=1), grain)
        return made if first_day is None or made.first >= first_day else cls(start, as_of)

    @classmethod
    def month_of(cls, day: date) -> Period:
        """Return the calendar month that holds `day`."""
        index = day.year * 12 + day.month - 1
        return cls(_month(index), _month(index + 1) - timedelta(days=1), "month")

    def before(self, steps: int = 1) -> Period:
        """Return the period `steps` earlier; one of equal length in days where the grain is ``all``."""
        if self.grain == "all":
            return Period(self.first - timedelta(days=self.days * steps), self.last - timedelta(days=self.days * steps))
        start = self.first.year * 12 + self.first.month - 1 - GRAINS[self.grain] * steps
        return Period(_month(start), _month(start + GRAINS[self.grain]) - timedelta(days=1), self.grain)

    def year_before(self) -> Period:
        """Return the same period one year earlier."""
        return self.before(12 // GRAINS[self.grain]) if self.grain != "all" else self.moved(-365)

    def moved(self, days: int) -> Period:
        """Return the span moved by `days`."""
        return Period(self.first + timedelta(days=days), self.last + timedelta(days=days), self.grain)


def _month(index: int) -> date:
    return date(index // 12, index % 12 + 1, 1)
