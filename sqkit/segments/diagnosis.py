"""Why sales changed between two periods: an exact split by tier and class, and the causes that are no noise.

Members are sorted by what they did before each period, never inside it (S3.1): whoever is sorted by spend inside a period falls
back in the next by chance. Descriptive: a cause is a cell that moved differently from all its siblings, not proof of why.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from sqkit import calendar
from sqkit.errors import InputError
from sqkit.reading import Period, Reading, remembered
from sqkit.segments import bridge as split
from sqkit.segments.causes import Tested, adjusted, apart
from sqkit.segments.cells import condition, cuts, without
from sqkit.segments.movements import Movements, late_part, prepare
from sqkit.segments.tiers import lookback
from sqkit.sources import Source

__all__ = ["ALPHA", "Cause", "Diagnosis", "compared", "diagnose"]

ALPHA = 0.025  # a page shows two comparisons: together a cause is named by chance in at most one of twenty
MOST_CAUSES = 3
LEAST_SIBLINGS = 4  # with fewer cells in a cut it cannot be told which of them moved
LEAST_EVIDENCE = 2.0  # |z| of a cell that may be the one that moved
LEAST_BUYERS = 200  # members who bought, in each of the two periods
LEAST_PURCHASES = 500  # in each of the two periods, where purchases name no member


@dataclass(frozen=True)
class Cause:
    """One cell that moved differently from all its siblings.

    Attributes
    ----------
    by, cell, factor, among : str
        E.g. ``tier``, ``tier_2_5``, ``frequency``, ''. Factors: ``revenue``, ``frequency`` (purchases, against what the same members
        bought before), ``order_value``, ``first_order_rate`` (first orders per newcomer); ``among`` is ``new`` where only newcomers
        are compared.
    first, last : date
        The days it shows in: the later period, or its last two thirds.
    relative, relative_low, relative_high : float
        Against what was to be expected had the cell moved like the rest, as a fraction.
    fen, low, high : float
        What that is worth in those days.
    adjusted_p, z : float
        Family-wise over all cells; the statistic on the normal scale.
    n : int
        Purchases (or first orders) of the cell in both periods.
    """

    by: str
    cell: str
    factor: str
    among: str
    first: date
    last: date
    relative: float
    relative_low: float
    relative_high: float
    fen: float
    low: float
    high: float
    adjusted_p: float
    z: float
    n: int

    @property
    def id(self) -> str:
        """Such as ``tier=tier_2_5,factor=frequency``."""
        return f"{self.by}={self.cell},factor={self.factor}" + (f",among={self.among}" if self.among else "")


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What changed between two periods.

    Attributes
    ----------
    reading : Reading
    earlier, later : Period
    state : str
        ``ok``; ``no_orders``, ``no_dates`` or ``no_earlier`` (the data begin after the earlier period does): nothing could be
        computed; ``not_enough``: split, but too few buyers to tell causes from noise.
    before_fen, after_fen : int
        Net sales.
    lookback_days : int
        Of the tiers, 0 without any.
    has_classes : bool
        Whether new, kept and returned can be told.
    parts, totals, bridge, tiers, cuts : DataFrame
        See :func:`sqkit.segments.bridge.exact_parts` (by part and tier, by part), :func:`~sqkit.segments.bridge.bridge`,
        :func:`~sqkit.segments.bridge.tier_frame`, :func:`~sqkit.segments.bridge.by_cut`.
    cells : DataFrame
        Grain: one row per cell and window that was compared: ``by, factor, among, window, cell``, ``value`` and ``expected`` (purchases,
        first orders or fen), ``fen``, ``fen_low``, ``fen_high``, ``relative``, ``z``, ``adjusted_p``, ``is_enough``.
    causes : tuple of Cause
        At most three, strongest evidence first; each holds with the earlier ones' sales left out.
    events : dict of str to tuple of str
        Calendar events (ids of :func:`sqkit.calendar.names`) that lie in one period only: ``earlier``, ``later``.
    n_before, n_after : int
        Members who bought.
    """

    reading: Reading
    earlier: Period
    later: Period
    state: str
    before_fen: int = 0
    after_fen: int = 0
    lookback_days: int = 0
    has_classes: bool = False
    parts: pd.DataFrame = field(default_factory=pd.DataFrame)
    totals: pd.DataFrame = field(default_factory=pd.DataFrame)
    bridge: pd.DataFrame = field(default_factory=pd.DataFrame)
    tiers: pd.DataFrame = field(default_factory=pd.DataFrame)
    cuts: pd.DataFrame = field(default_factory=pd.DataFrame)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    causes: tuple[Cause, ...] = ()
    events: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_before: int = 0
    n_after: int = 0

    @property
    def change_fen(self) -> int:
        """Later less earlier net sales."""
        return self.after_fen - self.before_fen

    @property
    def length_fen(self) -> int:
        """Part of the change that more or fewer days alone account for."""
        return int(self.parts.loc[self.parts["part"] == "length", "fen"].sum()) if len(self.parts) else 0

    @property
    def common_fen(self) -> float:
        """What is left of the change without the length of the periods and the causes: common to all (season, calendar, price)."""
        return self.change_fen - self.length_fen - sum(c.fen for c in self.causes)


def compared(reading: Reading) -> tuple[Period, Period]:
    """Return the last complete quarter and the one before it; the reading's period and the one before, where it has fewer quarters."""
    quarter = Period.latest(reading.as_of, "quarter", reading.source.first_day)
    later = quarter if quarter.grain == "quarter" else reading.period
    return later, later.before()


@remembered
def diagnose(reading: Reading, later: Period | None = None, earlier: Period | None = None) -> Diagnosis:
    """Say why net sales changed between two periods.

    Parameters
    ----------
    reading : Reading
        Of the whole source, or of one store (its purchases only; tiers are the brand's).
    later, earlier : Period, optional
        The last complete quarter and the quarter before. For year on year see :func:`sqkit.reading.aligned.aligned_year_before`.

    Raises
    ------
    InputError
        If the periods overlap or stand in the wrong order.

    Notes
    -----
    Purchases that were fully refunded by the reading's day do not count; partly refunded ones count net. An account that holds a
    large share of the sales (a cashier's) is one cluster: its cells have no degrees of freedom and name no cause. Resampling is of
    whole groups; a member alone is a cluster of one, and such members are pooled into 1,024 random buckets so that cost does not
    grow with members. At least 200 buyers in each period. Chance of naming any cause where there is none: see ``benchmarks/causes.py``.
    """
    usual_later, usual_earlier = compared(reading)
    later = later or usual_later
    earlier = earlier or (usual_earlier if later == usual_later else later.before())
    if earlier.last >= later.first:
        raise InputError(f"diagnosis: the earlier period {earlier} must end before the later one, {later}, begins.")
    blank = Diagnosis(reading, earlier, later, "no_orders")
    if reading.source.missing("orders"):
        return blank
    if reading.is_undated:
        return replace(blank, state="no_dates")
    begin = reading.engine.execute("SELECT min(ordered_on) FROM order_facts").fetchone()[0]
    late = begin is not None and (begin - earlier.first).days > earlier.days / 3  # orders begin well inside it
    if begin is None or late or reading.source.first_day > earlier.first:
        return replace(blank, state="no_orders" if begin is None else "no_earlier")
    has_members = not reading.source.missing("orders.member_id")
    history = min((earlier.first - begin).days - earlier.days, (later.first - begin).days - later.days)
    has_classes = has_members and history >= 0
    days = lookback(reading, earlier.first, later.first) if has_members else 0
    moved = prepare(reading, later, earlier, days, has_classes=has_classes)
    made = _measured(
        replace(blank, state="ok", lookback_days=days, has_classes=has_classes, events=_events(reading.source, earlier, later)), moved
    )
    if min(made.n_before, made.n_after) < LEAST_BUYERS if has_members else not _is_large(moved):
        return replace(made, state="not_enough")
    causes, cells = _causes(moved)
    return replace(made, causes=causes, cells=cells)


def _measured(blank: Diagnosis, moved: Movements) -> Diagnosis:
    rows = moved.reading.engine.execute(
        "SELECT side, CAST(sum(fen) AS BIGINT), count(DISTINCT member_id) FROM moved_sales GROUP BY side"
    ).fetchall()
    found = {side: (fen, n) for side, fen, n in rows}
    (a, n_before), (b, n_after) = (found.get(side, (0, 0)) for side in (0, 1))
    parts, totals = split.exact_parts(moved)
    frames = {"parts": parts, "totals": totals, "bridge": split.bridge(moved), "tiers": split.tier_frame(moved), "cuts": split.by_cut(moved)}
    return replace(blank, before_fen=int(a), after_fen=int(b), n_before=int(n_before), n_after=int(n_after), **frames)


def _is_large(moved: Movements) -> bool:
    counts = moved.reading.engine.execute("SELECT count(*) FROM moved_sales GROUP BY side").fetchall()
    return len(counts) == 2 and min(n for (n,) in counts) >= LEAST_PURCHASES


def _causes(moved: Movements) -> tuple[tuple[Cause, ...], pd.DataFrame]:
    """Name the strongest cell, leave its sales out, look again."""
    reading, found, cells = moved.reading, [], pd.DataFrame()
    seed = zlib.crc32(f"{reading.source.id}|{reading.store}|{moved.later}|{moved.earlier}|causes".encode())
    for step in range(MOST_CAUSES + 1):
        tested = [apart(cut) for cut in cuts(moved)]
        p = adjusted(tested, np.random.default_rng([seed, step]))
        if not step:
            cells = _frame(tested, p)
        best = min(
            ((p[i][j], -abs(t.z[j]), i, j) for i, t in enumerate(tested) for j in np.flatnonzero(t.is_enough)), default=None
        )
        if best is None or best[0] >= ALPHA or step == MOST_CAUSES:
            break
        at, strongest = best[2:]
        chosen = culprit(tested[at], strongest)
        chosen = chosen if p[at][chosen] < ALPHA else strongest
        cause = _cause(tested[at], chosen, float(p[at][chosen]), moved)
        found.append(cause)
        if cause.by == "category":  # a part of purchases: its sales cannot be left out, so what follows would count them again
            break
        left = condition(cause.by, cause.factor, cause.among, cause.cell)
        moved = replace(
            moved,
            left_out=(*moved.left_out, *([left] if left else [])),
            named=(*moved.named, (cause.by, cause.among, cause.cell)),
        )
    return tuple(found), cells


def culprit(t: Tested, best: int) -> int:
    """Return the cell without which the others of a cut move most alike.

    A cell that is compared with siblings among which one has slipped looks as if it rose; the one that slipped is meant.
    """
    candidates = [j for j in np.flatnonzero(t.is_enough) if abs(t.z[j]) >= LEAST_EVIDENCE]
    if len(t.cut.cells) < LEAST_SIBLINGS:
        return best
    left = {j: float((apart(without(t.cut, [t.cut.cells[j]])).z ** 2).sum()) for j in {best, *candidates}}
    return min(left, key=lambda j: (left[j], -abs(t.z[j])))


def _cause(t: Tested, j: int, p: float, moved: Movements) -> Cause:
    days = moved.later if t.cut.window == "whole" else late_part(moved.later)
    low, high = (ends[j] for ends in t.span())
    unit, expected = t.cut.fen_per_unit[j], t.expected[j]
    sizes = [float(v * unit) for v in (t.gap[j], low, high)]
    shares = [max(float(v / expected), -1.0) if expected > 0 else np.nan for v in (t.gap[j], low, high)]
    n = int(t.cut.units[:, j].sum())
    return Cause(t.cut.by, t.cut.cells[j], t.cut.factor, t.cut.among, days.first, days.last, *shares, *sizes, p, float(t.z[j]), n)


def _frame(tested: list[Tested], p: list[np.ndarray]) -> pd.DataFrame:
    rows = []
    for t, q in zip(tested, p, strict=True):
        low, high = t.span()
        for j, cell in enumerate(t.cut.cells):
            unit, expected = t.cut.fen_per_unit[j], t.expected[j]
            share = t.gap[j] / expected if expected > 0 else np.nan
            known = [t.cut.by, t.cut.factor, t.cut.among, t.cut.window, cell, t.cut.later[:, j].sum(), expected]
            rows.append([*known, t.gap[j] * unit, low[j] * unit, high[j] * unit, share, t.z[j], q[j], bool(t.is_enough[j])])
    names = ["by", "factor", "among", "window", "cell", "value", "expected", "fen", "fen_low", "fen_high", "relative", "z"]
    return pd.DataFrame(rows, columns=[*names, "adjusted_p", "is_enough"])


def _events(source: Source, earlier: Period, later: Period) -> dict[str, tuple[str, ...]]:
    """Return the holidays and shopping festivals whose days lie in one period only (weekdays and working days are not compared)."""
    if not calendar.is_chinese(source.time_zone):
        return {}
    held = []
    for period in (earlier, later):
        days = calendar.days(period.first, period.last)
        held.append([*dict.fromkeys(v for column in ("holiday", "shopping_festival") for v in days[column] if v)])
    first, second = held
    return {"earlier": tuple(e for e in first if e not in second), "later": tuple(e for e in second if e not in first)}
