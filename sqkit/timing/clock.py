"""Whether a source's stamps show local time: people sleep, so the quietest six hours must lie in the night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from sqkit.reading import Reading, remembered
from sqkit.timing.model import Fault

__all__ = ["Shift", "fault", "judge", "shift"]

# What members do of their own accord, and by how many hours the middle of their night may lie after 03:30 or before it. People who
# chat go to bed later than shops close: the midpoint of sleep lies between 2 and 7 o'clock for nearly all (Roenneberg 2007).
STREAMS = {"orders": ("ordered_at", "TRUE", 3.5), "messages": ("sent_at", "NOT coalesce(is_staff, FALSE)", 5.0)}
WINDOW = 6
NIGHT = 0.5  # first hour of the usual quiet window: 00:30 to 06:30
NEAR = 0.01  # windows within this share of all activity from the quietest are as quiet
LEAST, LEAST_DAYS = 500, 14
A_NIGHT = (
    0.15  # the quietest quarter of the day holds less than this share where there is a night at all; even activity holds .25
)
A_RUN = 3  # hours by which the start of an ordinary night's quiet window can move
FIT = 2.0  # hours the quiet window may lie off the usual one in the range that is told
SEASON_WEEKS = 8


@dataclass(frozen=True)
class Shift:
    """How far a source's clock seems to be off.

    Attributes
    ----------
    verdict : str
        ``fits``, ``shifted`` or ``cannot_tell``.
    reason : str
        Why it cannot be told: ``no_activity`` (nothing with an hour), ``few`` (below 500 events or 14 days), ``no_night`` (activity is
        even round the clock).
    stream : str
        Table it was read from, the one that looks shifted, else the one with the most events.
    n, n_days : int
        Events and days with any.
    peak, quiet_from : int
        Busiest hour, and first hour of the quietest six, as stamped.
    hours, low, high : float
        Hours that the stamps seem ahead of local time (negative: behind), and the range that fits.
    zone : str
        Clock that the stamps seem to show: ``UTC`` or ``UTC+9``; '' unless shifted.
    winter, summer : float
        Hours ahead that a UTC clock would give in January and in July; NaN unless `zone` is UTC.
    clock : str
        Zone of the raw stamps where they were converted on the way in; else ''.
    naive_peak : int
        Busiest hour as the raw stamps had it, -1 where nothing was converted.
    jump, jump_low, jump_high : float
        Hours by which activity lies later in summer than in winter, 95% over weeks; NaN without eight weeks of each.
    """

    verdict: str
    reason: str = ""
    stream: str = ""
    n: int = 0
    n_days: int = 0
    peak: int = -1
    quiet_from: int = -1
    hours: float = 0.0
    low: float = float("nan")
    high: float = float("nan")
    zone: str = ""
    winter: float = float("nan")
    summer: float = float("nan")
    clock: str = ""
    naive_peak: int = -1
    jump: float = float("nan")
    jump_low: float = float("nan")
    jump_high: float = float("nan")


@remembered
def shift(reading: Reading) -> Shift:
    """Say whether the hours of a source look like local ones, from orders and members' messages.

    Exact midnights do not count (they are dates), nor do posts of the brand, which are planned. Descriptive; smallest sample 500 events
    on 14 days per table. A habit shared by all (a market of the night) would look like a shift, so the page says what it rests on.
    """
    judged = [judge(name, days, counts, reading.source.time_zone) for name, days, counts in _activity(reading)]
    clock = reading.source.manifest.get("clock") or ""
    if not judged:
        return Shift("cannot_tell", "no_activity", clock=clock)
    rank = {"shifted": 2, "fits": 1, "cannot_tell": 0}
    first = max(judged, key=lambda s: (rank[s.verdict], s.n))
    if not clock or clock == reading.source.time_zone:
        return first
    counts = next((days, counts) for name, days, counts in _activity(reading) if name == first.stream)
    naive = _naive(*counts, reading.source.time_zone, clock)
    return Shift(**{**first.__dict__, "clock": clock, "naive_peak": int(naive.argmax()) if naive.sum() else -1})


def fault(found: Shift) -> Fault | None:
    """Return the fault that keeps hours from being recommended, None unless the stamps look shifted."""
    if found.verdict != "shifted":
        return None
    names = ("stream", "hours", "low", "high", "zone", "winter", "summer", "peak", "quiet_from")
    told = {key: getattr(found, key) for key in names}
    return Fault("shift", found.n, found.n, told, ("hour",))


def judge(stream: str, days: list[date], counts: np.ndarray, time_zone: str) -> Shift:
    """Judge one stream of activity.

    Parameters
    ----------
    stream : str
        A key of ``STREAMS``.
    days : list of date
    counts : ndarray
        Events, shape (n_days, 24).
    time_zone : str
        Zone that the stamps are said to show.
    """
    by_hour = counts.sum(0)
    n = int(by_hour.sum())
    known = {"stream": stream, "n": n, "n_days": len(days)}
    if n < LEAST or len(days) < LEAST_DAYS:
        return Shift("cannot_tell", "few" if n else "no_activity", **known)
    windows = np.stack([np.roll(counts, -first, 1)[:, :WINDOW].sum(1) for first in range(24)], 1)
    shares = windows.sum(0) / n
    quietest = int(shares.argmin())
    known |= {"peak": int(by_hour.argmax()), "quiet_from": quietest}
    if shares[quietest] > A_NIGHT:
        return Shift("cannot_tell", "no_night", **known)
    weeks = _by_week(days, windows - windows[:, [quietest]])
    error = np.sqrt((weeks**2).sum(0)) / n  # of the difference to the quietest, weeks drawn
    near = np.flatnonzero(shares - shares[quietest] <= np.maximum(NEAR, 2 * error))
    off = _wrap(near - NIGHT)
    known |= dict(zip(("jump", "jump_low", "jump_high"), _jump(days, counts), strict=True))
    tolerated = STREAMS[stream][2]
    first, last = _run(off, float(_wrap(quietest - NIGHT)))
    centre, low, high = (first + last) / 2, first - FIT, last + FIT
    spare = max(0.0, (last - first - A_RUN) / 2)  # a shop that is shut for half a day leaves open where the night lies in it
    if abs(centre) - spare <= tolerated:
        return Shift("fits", low=low, high=high, **known)
    zone = _zone(centre, low, high, days, time_zone)
    known |= (
        {"winter": -_offset(date(days[-1].year, 1, 15), time_zone), "summer": -_offset(date(days[-1].year, 7, 15), time_zone)}
        if zone == "UTC"
        else {}
    )
    return Shift("shifted", hours=centre, low=low, high=high, zone=zone, **known)


def _activity(reading: Reading) -> Iterator[tuple[str, list[date], np.ndarray]]:
    mine = {"orders": "store_id = $store", "messages": "group_id IN (SELECT group_id FROM groups WHERE store_id = $store)"}
    for name, (column, kept, _) in STREAMS.items():
        if not reading.source.has(f"{name}.{column}"):
            continue
        where = f"{kept} AND date_trunc('day', {column}) <> {column}"
        rows = reading.engine.execute(
            f"""SELECT CAST({column} AS DATE) AS on_day, CAST(extract(HOUR FROM {column}) AS INTEGER) AS hour, count(*) AS n
            FROM {name} WHERE {where} {"AND " + mine[name] if reading.store else ""} GROUP BY ALL ORDER BY on_day, hour""",
            {"store": reading.store} if reading.store else None,
        ).fetchnumpy()
        days, place = np.unique(np.asarray(rows["on_day"]).astype("datetime64[D]"), return_inverse=True)
        counts = np.zeros((len(days), 24))
        counts[place, np.asarray(rows["hour"])] = np.asarray(rows["n"])
        yield name, days.tolist(), counts


def _by_week(days: list[date], values: np.ndarray) -> np.ndarray:
    weeks = np.array([day.toordinal() // 7 for day in days])
    _, place = np.unique(weeks, return_inverse=True)
    sums = np.zeros((place.max() + 1, values.shape[1]))
    np.add.at(sums, place, values - values.mean(0))
    return sums


def _wrap(hours: np.ndarray | float) -> np.ndarray | float:
    return (np.asarray(hours, float) + 12) % 24 - 12


def _run(off: np.ndarray, quietest: float) -> tuple[float, float]:
    """Return the ends of the unbroken run of hours around the quietest, on a line that may pass 12."""
    held = {round(float(x) * 2) % 48 for x in off}
    low = high = float(quietest)
    while round((low - 1) * 2) % 48 in held and high - low < 23:
        low -= 1
    while round((high + 1) * 2) % 48 in held and high - low < 23:
        high += 1
    return low, high


def _offset(day: date, zone: str) -> float:
    return ZoneInfo(zone).utcoffset(datetime(day.year, day.month, day.day, 12)).total_seconds() / 3600


def _zone(hours: float, low: float, high: float, days: list[date], time_zone: str) -> str:
    """Return the clock the stamps seem to show: UTC where that fits, else the whole hours from UTC."""
    local = float(np.mean([_offset(day, time_zone) for day in days[:: max(1, len(days) // 50)]]))
    if any(low <= -local + turn <= high for turn in (-24, 0, 24)):
        return "UTC"
    return f"UTC{round(_wrap(local + hours)):+d}"


def _naive(days: list[date], counts: np.ndarray, time_zone: str, clock: str) -> np.ndarray:
    total = np.zeros(24)
    for day, row in zip(days, counts, strict=True):
        total += np.roll(row, round(_offset(day, clock) - _offset(day, time_zone)))
    return total


def _jump(days: list[date], counts: np.ndarray) -> tuple[float, float, float]:
    """Return by how many hours the day lies later in summer than in winter, with a 95% interval over weeks."""
    is_summer = np.array([(4, 1) <= (d.month, d.day) <= (10, 20) for d in days])
    is_winter = np.array([(d.month, d.day) >= (11, 10) or (d.month, d.day) <= (3, 5) for d in days])
    turn = np.exp(2j * np.pi * (np.arange(24) + 0.5) / 24)
    phase, variance = [], 0.0
    for part in (is_summer, is_winter):
        chosen = [d for d, held in zip(days, part, strict=True) if held]
        if not chosen:
            return (float("nan"),) * 3
        weeks = np.array([d.toordinal() // 7 for d in chosen])
        _, place = np.unique(weeks, return_inverse=True)
        n_weeks = int(place.max()) + 1
        if n_weeks < SEASON_WEEKS:
            return (float("nan"),) * 3
        sums = np.zeros(n_weeks, complex)
        np.add.at(sums, place, counts[part] @ turn)
        total = sums.sum()
        phase.append(np.angle(total))
        errors = (sums * np.exp(-1j * phase[-1])).imag / abs(total)
        variance += float((errors**2).sum()) * n_weeks / (n_weeks - 1)
    jump = float(_wrap((phase[0] - phase[1]) * 12 / np.pi))
    half = 1.96 * np.sqrt(variance) * 12 / np.pi
    return jump, float(jump - half), float(jump + half)
