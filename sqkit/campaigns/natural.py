"""Campaigns read without relying on randomisation: weekly panels of groups and stores, and one interrupted series for the whole brand.

Descriptive unless the stated assumption holds: treated and untreated units would have moved alike (panels), or nothing else happened in
the window (series). A shopping festival in the window is such a thing, and the page says so.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit import calendar
from sqkit.campaigns import trial_data
from sqkit.campaigns.arms import control_of
from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.trials.interrupted import Interrupted, interrupted
from sqkit.trials.panel import PanelEffect, difference_in_differences, synthetic_control

__all__ = ["AFTER_DAYS", "Interruption", "Natural", "PanelReading", "natural"]

AFTER_DAYS = 14  # how long orders brought forward are looked for
WEEKS_BEFORE = {"group": 12, "store": 26}
YEAR = 365
FEW_UNITS = 40  # synthetic control is for few large units; over many small ones it has no power


@dataclass(frozen=True)
class PanelReading:
    """One campaign with treated and untreated groups or stores, by two methods.

    Attributes
    ----------
    weeks_before, weeks_during : int
    did, synthetic : PanelEffect
        `synthetic` is None where there are too many small units for it.
    """

    campaign_id: str
    name: str
    kind: str
    level: str
    first: date
    last: date
    weeks_before: int
    weeks_during: int
    did: PanelEffect
    synthetic: PanelEffect | None


@dataclass(frozen=True)
class Interruption:
    """One campaign of the whole brand, against its own past.

    Attributes
    ----------
    measure : {"orders", "leads"}
    found : Interrupted
    p_holm : float
        Of window and after-days together, corrected over all such campaigns; NaN where it cannot be told.
    value_fen : float
        Mean net order in the window; NaN for leads.
    margin : float
        Gross margin over paid in the 90 days before; NaN where unit costs are unknown.
    festival : str
        Id of the shopping festival that touches the window, or ''.
    """

    campaign_id: str
    name: str
    kind: str
    measure: str
    first: date
    last: date
    cost_fen: float
    found: Interrupted
    p_holm: float
    value_fen: float
    margin: float
    festival: str


@dataclass(frozen=True)
class Natural:
    """All campaigns of the year before the report's day, and what the source lacks for them."""

    panels: tuple[PanelReading, ...]
    interruptions: tuple[Interruption, ...]
    missing: tuple[str, ...]


@remembered
def natural(reading: Reading) -> Natural:
    """Read every campaign that ended in the year before `as_of`.

    Members' orders count at the groups they are in that day (panels of groups) or at the selling store; the brand's series are paid purchases a day,
    or referral leads for a referral campaign. Smallest sample: 8 units an arm and as many weeks before as in the campaign (panels);
    5 placebo windows before it (series). Source: S4.4 (pull-forward), :mod:`sqkit.trials`.
    """
    missing = tuple(reading.source.missing("campaigns", "orders.ordered_at"))
    if missing or reading.is_undated:
        return Natural((), (), missing or ("orders.ordered_at",))
    rows = reading.engine.execute(
        f"""SELECT campaign_id, kind, name, CAST(starts_at AS DATE) AS first, CAST(ends_at AS DATE) AS last,
                   coalesce(cost_fen, 0) AS cost_fen
            FROM campaigns WHERE ends_at < DATE '{reading.as_of}' + INTERVAL 1 DAY AND ends_at >= DATE '{reading.as_of - timedelta(YEAR)}'
            ORDER BY starts_at, campaign_id"""
    ).df()
    arms = (
        pd.DataFrame(columns=["campaign_id", "unit_id", "arm", "level"])
        if reading.source.missing("assignments")
        else trial_data.assigned(reading)
    )
    panels, series = [], []
    for row in rows.itertuples(index=False):
        units = arms[arms["campaign_id"] == row.campaign_id]
        if units["arm"].nunique() == 2 and units["level"].iloc[0] in WEEKS_BEFORE:
            panels.append(_panel(reading, row, units))
        elif units.empty and not reading.store:
            series.append(row)
    return Natural(tuple(p for p in panels if p is not None), _interruptions(reading, series), ())


def _panel(reading: Reading, row, units: pd.DataFrame) -> PanelReading | None:
    level, first = units["level"].iloc[0], row.first.date() if hasattr(row.first, "date") else row.first
    last = row.last.date() if hasattr(row.last, "date") else row.last
    during = ((last - first).days + 1) // 7
    before = min(WEEKS_BEFORE[level], (first - reading.source.first_day).days // 7)
    control = control_of(units["arm"])
    if during < 1 or before < 1 or not control:
        return None
    unit = "s.group_id" if level == "group" else "o.store_id"
    stays = "JOIN membership_facts AS s ON s.member_id = o.member_id AND o.ordered_on >= s.joined_on"
    present = f"{stays} AND (s.left_on IS NULL OR o.ordered_on < s.left_on)" if level == "group" else ""
    start = first - timedelta(7 * before)
    counted = reading.engine.execute(
        f"""SELECT a.unit_id, CAST(floor(date_diff('day', DATE '{start}', o.ordered_on) / 7) AS INTEGER) AS week, count(*) AS n
            FROM order_facts AS o {present}
            JOIN assignments AS a ON a.unit_id = {unit} AND a.campaign_id = ?
            WHERE o.member_id IS NOT NULL AND o.ordered_on >= DATE '{start}' AND o.ordered_on < DATE '{first + timedelta(7 * during)}'
            GROUP BY a.unit_id, week ORDER BY a.unit_id, week""",
        [row.campaign_id],
    ).df()
    names = units["unit_id"].to_numpy()
    table = (
        counted.pivot(index="unit_id", columns="week", values="n").reindex(index=names, columns=range(before + during)).fillna(0)
    )
    treated, counts = (units["arm"] != control).to_numpy(), table.to_numpy(float)
    rng = np.random.default_rng(zlib.crc32(f"{reading.source.id}|{row.campaign_id}|natural".encode()))
    alive = counts[:, :before].sum(1) > 0
    if not (alive & treated).any() or not (alive & ~treated).any():
        return None
    counts, treated = counts[alive], treated[alive]
    synthetic = synthetic_control(counts, treated, before, rng=rng) if len(treated) <= FEW_UNITS else None
    did = difference_in_differences(counts, treated, before)
    return PanelReading(row.campaign_id, row.name, row.kind, level, first, last, before, during, did, synthetic)


def _interruptions(reading: Reading, rows: list) -> tuple[Interruption, ...]:
    found = []
    first, last = reading.source.first_day, reading.as_of
    days = pd.date_range(first, last)
    is_chinese = calendar.is_chinese(reading.source.time_zone)
    design, festival = _design(days), _festivals(first, last) if is_chinese else pd.Series("", index=days.date)
    orders = _daily(reading, "orders", days)
    usable = _usable(reading, days, festival)
    for row in rows:
        measure = "leads" if row.kind == "referral" and not reading.source.missing("leads") else "orders"
        values = _daily(reading, "leads", days) if measure == "leads" else orders
        begin, end = pd.Timestamp(row.first), pd.Timestamp(row.last)
        at = int((begin - days[0]).days)
        began = int(np.flatnonzero(values > 0)[0]) if (values > 0).any() else 0
        if at <= began:
            continue
        made = interrupted(
            values[began:], design[began:], at - began, (end - begin).days + 1, after=AFTER_DAYS, usable=usable[began:]
        )
        touched = {f for d in pd.date_range(begin, end).date if (f := festival.get(d, ""))}
        found.append((row, measure, made, _order_value(reading, begin, end) if measure == "orders" else float("nan"), touched))
    told = [i for i, (_, _, made, _, _) in enumerate(found) if made.both is not None]
    corrected = dict(zip(told, holm([found[i][2].both.p for i in told]), strict=True))
    return tuple(
        Interruption(
            row.campaign_id, row.name, row.kind, measure, pd.Timestamp(row.first).date(), pd.Timestamp(row.last).date(), float(row.cost_fen),
            made, corrected.get(i, float("nan")), value, trial_data.margin_before(reading, pd.Timestamp(row.first).date()),
            min(touched, default=""),
        )
        for i, (row, measure, made, value, touched) in enumerate(found)
    )  # fmt: skip


def _design(days: pd.DatetimeIndex) -> np.ndarray:
    """Return weekdays, a trend, and a yearly swing where there are two years to learn it from."""
    t = np.arange(len(days))
    columns = [*(days.day_of_week == d for d in range(6)), t / YEAR]
    if len(days) >= 2 * YEAR:
        columns += [np.sin(2 * np.pi * t / 365.25), np.cos(2 * np.pi * t / 365.25)]
    return np.column_stack(columns).astype(float)


def _festivals(first: date, last: date) -> pd.Series:
    frame = calendar.days(first, last)
    near = frame["days_to_spring_festival"].between(-10, 10)
    return pd.Series(np.where(near, "spring_festival", frame["shopping_festival"]), index=pd.to_datetime(frame["on_day"]).dt.date)


def _usable(reading: Reading, days: pd.DatetimeIndex, festival: pd.Series) -> np.ndarray:
    """Return the days that nothing else marks: no festival, no campaign of the whole brand and its after-days."""
    free = (festival.reindex(days.date).fillna("") == "").to_numpy()
    spans = reading.engine.execute(
        "SELECT CAST(starts_at AS DATE) AS a, CAST(ends_at AS DATE) AS b FROM campaigns WHERE assigned_level IS NULL"
    )
    for a, b in spans.fetchall():
        free = free & ~((days >= pd.Timestamp(a)) & (days <= pd.Timestamp(b) + pd.Timedelta(days=AFTER_DAYS)))
    return free


def _daily(reading: Reading, measure: str, days: pd.DatetimeIndex) -> np.ndarray:
    queries = {
        "orders": "SELECT ordered_on AS on_day, count(*) AS n FROM order_facts GROUP BY ordered_on",
        "leads": "SELECT added_on AS on_day, count(*) AS n FROM lead_facts WHERE channel = 'referral' GROUP BY added_on",
    }
    frame = reading.engine.execute(queries[measure]).df()
    return frame.set_index(pd.to_datetime(frame["on_day"]))["n"].reindex(days).fillna(0).to_numpy(float)


def _order_value(reading: Reading, begin: pd.Timestamp, end: pd.Timestamp) -> float:
    row = reading.engine.execute(
        f"SELECT avg(net_fen) FROM order_facts WHERE ordered_on BETWEEN DATE '{begin.date()}' AND DATE '{end.date()}'"
    ).fetchone()
    return float("nan") if row is None or row[0] is None else float(row[0])
