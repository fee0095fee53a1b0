"""Days as numbers: calendar swings, clock times, and helpers to draw on them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from sqkit import calendar
from sqkit.synth.world import World

__all__ = ["clock", "expand", "lognormal", "pick", "ramp", "season"]

_RHYTHM_HOURS = np.array([8.2, 12.6, 20.4])  # morning, noon, evening people
_RHYTHM_SHARE = 0.72
_PULL_DAYS = 14


def season(world: World) -> np.ndarray:
    """Return the factor on purchase rates of each day, mean about 1, shape (n_days,)."""
    days = calendar.days(world.first_day, world.last_day)
    p = world.calendar
    n = world.n_days
    factor = np.asarray(p.weekday)[days.weekday.to_numpy() - 1] / np.mean(p.weekday)
    to_festival = days.days_to_spring_festival.to_numpy()
    factor = factor * np.where((to_festival <= 3) & (to_festival >= -6), p.spring_festival_trough, 1.0)
    factor *= np.where((to_festival > 6) & (to_festival <= 24), p.new_year_goods, 1.0)
    window = days.shopping_festival.isin(["double_11", "mid_year_618"]).to_numpy()
    factor *= np.where(window, p.festival_window, 1.0)
    for peak in _peaks(world):
        factor[max(peak - 2, 0) : max(peak + 1, 0)] *= p.festival_peak / p.festival_window
        factor[max(peak + 1, 0) : max(peak + 1 + _PULL_DAYS, 0)] *= p.pull_forward
    is_member_day = days.on_day.dt.day.to_numpy() == 28
    waiting = np.arange(n) >= n - p.member_day_other_days if p.member_day_other_days else np.zeros(n, bool)
    usual = min(p.member_day_effect, 1.35)
    factor *= np.where(is_member_day, np.where(waiting, p.member_day_effect, usual), np.where(waiting, p.member_day_other, 1.0))
    day_of_year = days.on_day.dt.day_of_year.to_numpy()
    factor *= 1 + p.season_amplitude * np.cos(2 * np.pi * (day_of_year - 320) / 365.25)
    factor = (factor / factor.mean()) ** p.strength
    if p.final_peak_days:
        factor[-p.final_peak_days :] *= np.linspace(1.0, p.final_peak, p.final_peak_days) ** 0.5 * p.final_peak**0.5
    return factor


def promotion_days(world: World) -> np.ndarray:
    """Return which days belong to a promotion with its own discounts, shape (n_days,) of bool."""
    flags = np.zeros(world.n_days, bool)
    for peak in _peaks(world):
        flags[max(peak - 2, 0) : max(peak + 1, 0)] = True
    member_days = [(world.first_day + timedelta(int(d))).day == 28 for d in range(world.n_days)]
    return (flags | np.array(member_days)) & (world.calendar.strength > 0)


def _peaks(world: World) -> list[int]:
    found = []
    for year in range(world.first_day.year, world.last_day.year + 1):
        peaks = calendar.shopping_festival_peaks(year)
        found += [day_index(world, peaks[name]) for name in ("mid_year_618", "double_11")]
    return [i for i in found if -_PULL_DAYS <= i < world.n_days + 2]


def day_index(world: World, day: date) -> int:
    """Return days since the world's first day."""
    return (day - world.first_day).days


def clock(rng: np.random.Generator, rhythm: np.ndarray) -> np.ndarray:
    """Return a time of day as a fraction in [0, 1) for people of the given rhythm (0, 1, 2)."""
    n = len(rhythm)
    own = rng.normal(_RHYTHM_HOURS[rhythm], 1.7)
    any_time = rng.uniform(7.5, 23.5, n)
    hours = np.where(rng.random(n) < _RHYTHM_SHARE, own, any_time)
    return np.clip(hours, 0.05, 23.95) / 24


def lognormal(rng: np.random.Generator, sd: float, shape: int | tuple[int, ...]) -> np.ndarray:
    """Return log-normal factors with mean 1 and the given standard deviation of the logarithm."""
    if sd == 0:
        return np.ones(shape)
    return np.exp(rng.normal(-sd * sd / 2, sd, shape))


def icc_sd(icc: float, share: float) -> float:
    """Return the log-sd of a mean-1 factor on probability `share` that gives intra-class correlation `icc`."""
    return float(np.sqrt(np.log1p(icc * (1 - share) / share)))


def ramp(n: int, start: int, length: int, first: float = 0.4) -> np.ndarray:
    """Return 0 before `start`, then a line from `first` to 1 over `length` days, then 1."""
    day = np.arange(n) - start
    up = np.ones(n) if length == 0 else np.clip(first + (1 - first) * day / length, first, 1.0)
    return np.where(day < 0, 0.0, up)


def pick(rng: np.random.Generator, cumulative: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Draw one index in [start, end) per row, with weights given by their running sum (0 first)."""
    low, high = cumulative[start], cumulative[end]
    drawn = np.searchsorted(cumulative, low + rng.random(len(low)) * (high - low), side="right") - 1
    return np.clip(drawn, start, end - 1)


def expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row index of each unit and its number within the row, for counts per row."""
    row = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return row, np.arange(len(row)) - first[row]
