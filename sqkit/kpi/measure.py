"""Metrics from their registry records: one query per metric, aggregated in the engine to clusters, then an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit import facts, registry, stats
from sqkit.errors import InputError
from sqkit.reading import Period, Reading, remembered
from sqkit.registry import Metric

__all__ = ["Measured", "change", "compared", "growth", "measure", "measure_by", "series"]

MANY_ALIKE = 1000


@dataclass(frozen=True)
class Measured:
    """One metric over one scope and period.

    Attributes
    ----------
    metric : Metric
    scope : dict
        e.g. ``{"channel": "live_room"}``; empty for the whole reading.
    period : Period
        The days really used: moved back by the metric's maturity.
    interval : sqkit.stats.Interval or None
        None when nothing could be computed, or for a metric that is counted in full.
    value : float or None
        The estimate; shares as fractions, money in major units.
    n : int
        Units behind the denominator.
    missing : list of str
        Tables or columns the source lacks; empty when it could be asked.
    """

    metric: Metric
    scope: dict[str, str]
    period: Period
    interval: stats.Interval | None = None
    value: float | None = None
    n: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """``ok``, ``no_data`` (source lacks it, or no unit in the period) or ``not_enough_data``."""
        if self.missing or self.value is None:
            return "no_data"
        if self.interval is not None and not self.interval.enough:
            return "not_enough_data"
        return "ok"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _where(reading: Reading, metric: Metric, *periods: Period) -> str:
    first, last = min(p.first for p in periods), max(p.last for p in periods)
    parts = [f"({metric.where.replace('{first}', str(first)).replace('{last}', str(last))})"] if metric.where else []
    if _is_dated(reading, metric):
        spans = [f"{metric.date} BETWEEN DATE '{p.first}' AND DATE '{p.last}'" for p in periods]
        parts.append("(" + " OR ".join(spans) + ")")
    if reading.store and metric.store:
        parts.append(f"{metric.store} = {_text(reading.store)}")
    return " AND ".join(parts) or "TRUE"


def _is_dated(reading: Reading, metric: Metric) -> bool:
    """Say whether the fact's rows carry a day in this source; undated rows are read whole, whatever the period."""
    return reading.source.has(*facts.records()[metric.fact].dated_by)


def _units(reading: Reading, metric: Metric, by: Sequence[str], periods: Sequence[Period], bucket: str = "") -> str:
    """Return SQL for one row per unit, ``by`` column and bucket, with its numerator(s), denominator(s) and cluster."""
    columns = [f"CAST({b} AS VARCHAR) AS {b}" for b in by] + ([f"{bucket} AS bucket"] if bucket else [])
    sides = [("num", metric.numerator), ("den", metric.denominator)]
    if metric.kind == "multiple":
        sides += [("num_b", metric.numerator_b), ("den_b", metric.denominator_b)]
    values = [f"CAST({sql} AS DOUBLE) AS {name}" for name, sql in sides]
    columns.append(f"CAST({metric.n or '1'} AS DOUBLE) AS n")
    if metric.unit:
        cluster = f"min({metric.cluster})" if metric.cluster else f"CAST({metric.unit} AS VARCHAR)"
        columns, grouped = [*columns, f"{metric.unit} AS unit_id"], "GROUP BY ALL"
    else:  # every row is a unit: grouping millions of rows by their own key would cost ten times the rest
        cluster, grouped = metric.cluster, ""
    selected = ", ".join([*columns, f"{cluster} AS cluster_id", *values])
    return f"SELECT {selected} FROM {metric.fact} WHERE {_where(reading, metric, *periods)} {grouped}"


def _moments(pairs: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"sum({sql}) AS {name}" for name, sql in pairs)


def _blocks(reading: Reading, metric: Metric, by: Sequence[str], period: Period, bucket: str = "") -> pd.DataFrame:
    """Return blocks (see :mod:`sqkit.stats.intervals`) per ``by`` cell and bucket, ordered by them."""
    cells = [*by, *(["bucket"] if bucket else [])]
    keys = "".join(f"{c}, " for c in cells)
    if metric.kind == "multiple":
        sides = [("a", "num", "den"), ("b", "num_b", "den_b")]
        inner = ", ".join(
            f"sum({num}) AS num_{s}, sum({den}) AS den_{s}, sum(CASE WHEN {den} <> 0 THEN n ELSE 0 END) AS n_units_{s}"
            for s, num, den in sides
        )
        outer = _joint_moments()
        used = "den <> 0 OR den_b <> 0"
    else:
        den = "1.0" if metric.kind == "total" else "sum(den)"
        inner = f"sum(num) AS num, {den} AS den, sum(n) AS n_units"
        outer = "sum(n_units) AS n_units, " + _moments(
            [("num", "num"), ("den", "den"), ("num_sq", "num * num"), ("num_den", "num * den"), ("den_sq", "den * den")]
        )
        used = "den <> 0 OR num <> 0"
    sql = f"""
        WITH units AS ({_units(reading, metric, by, [period], bucket)}),
        clusters AS (SELECT {keys} cluster_id, count(*) AS size, {inner} FROM units WHERE {used} GROUP BY {keys} cluster_id),
        marked AS (SELECT *, count(*) OVER (PARTITION BY {keys} size) AS n_alike FROM clusters)
        SELECT {keys} {_block(1)} AS block, count(*) AS n_clusters, {outer}
        FROM marked GROUP BY {keys} block ORDER BY {keys} block"""
    return reading.engine.execute(sql).df()


def _block(single: int) -> str:
    """Return SQL for the block of a cluster: all with up to `single` units together, so many of one size together, others alone.

    A block's moments are exact whatever it holds; only the leverage of its clusters is their mean, which for a thousand clusters
    of one size is nothing. Members alone are millions: as rows of their own they would fill the memory.
    """
    return f"""CASE WHEN size <= {single} THEN '' WHEN n_alike >= {MANY_ALIKE} THEN concat('of ', CAST(size AS VARCHAR))
               ELSE cluster_id END"""


def _joint_moments() -> str:
    pairs = [("n_units_a", "n_units_a"), ("n_units_b", "n_units_b")]
    for s in ("a", "b"):
        pairs += [(f"num_{s}", f"num_{s}"), (f"den_{s}", f"den_{s}"), (f"num_sq_{s}", f"num_{s} * num_{s}")]
        pairs += [(f"num_den_{s}", f"num_{s} * den_{s}"), (f"den_sq_{s}", f"den_{s} * den_{s}")]
    pairs += [(f"{x}_a_{y}_b", f"{x}_a * {y}_b") for x in ("num", "den") for y in ("num", "den")]
    return _moments(pairs)


def _interval(metric: Metric, blocks: pd.DataFrame) -> tuple[stats.Interval | None, float | None, int]:
    if metric.kind == "multiple":
        made = stats.multiple_interval(blocks)
        value = made.value if np.isfinite(made.value) else None
        return made, value, int(made.n) if np.isfinite(made.n) else 0
    if metric.kind in ("total", "census"):
        units = int(blocks["n_units"].sum())
        if not units:
            return None, None, 0
        total = float(blocks["num"].sum())
        return None, total if metric.kind == "total" else total / float(blocks["den"].sum()), units
    made = stats.ratio_interval(blocks, kind=_kind(metric, blocks))
    value = made.value if np.isfinite(made.value) else None
    return made, value, int(made.n) if np.isfinite(made.n) else 0


def _kind(metric: Metric, blocks: pd.DataFrame, *sides: str) -> str:
    """Return the kind of interval: a share that exceeds one somewhere (more leads than people reached) is a plain ratio."""
    pairs = [(blocks[f"num{s}"], blocks[f"den{s}"]) for s in sides or ("",)]
    whole = all(((num >= 0) & (num <= den)).all() for num, den in pairs)
    return metric.kind if whole else "ratio"


@remembered
def measure(reading: Reading, metric_id: str, period: Period | None = None) -> Measured:
    """Measure one metric over a reading's store and period.

    Parameters
    ----------
    reading : Reading
    metric_id : str
        Any metric of the registry. A ``matched`` metric has a function of its own (:func:`sqkit.kpi.matched_multiple`).
    period : Period, optional
        Another period than the reading's. Either is moved back by the metric's ``maturity_days`` when it would reach into days
        whose units are not yet complete at ``as_of``.

    Returns
    -------
    Measured
    """
    cells = measure_by(reading, metric_id, (), period)
    return cells[0]


def _window(reading: Reading, metric: Metric, asked: Period) -> Period:
    days = metric.window_days or (metric.store_window_days if reading.store else 0)
    return Period(max(asked.last - timedelta(days=days - 1), reading.source.first_day), asked.last) if days else asked


def _used_period(reading: Reading, metric: Metric, period: Period | None) -> Period:
    asked, start = _window(reading, metric, period or reading.period), reading.source.first_day
    late = (asked.last - reading.as_of).days + metric.maturity_days if metric.maturity_days else 0
    if late <= 0:
        return asked
    moved = asked.moved(-late)
    return Period(start, moved.last) if asked.first == start and moved.last >= start else moved


def compared(reading: Reading, metric_id: str, period: Period, earlier: Period) -> tuple[Period, Period]:
    """Return the days really compared: stretched to the metric's window, both moved back by the later one's maturity, never
    overlapping."""
    metric = registry.metric(metric_id)
    later = _used_period(reading, metric, period)
    sooner = _window(reading, metric, earlier).moved((later.last - period.last).days)
    if sooner.last >= later.first:
        sooner = Period(later.first - timedelta(days=later.days), later.first - timedelta(days=1))
    return later, sooner


def measure_by(reading: Reading, metric_id: str, by: Sequence[str], period: Period | None = None) -> list[Measured]:
    """Measure one metric in every cell of the fact's columns `by` (channel, store_id, arm ...), ordered by cell."""
    metric = registry.metric(metric_id)
    used = _used_period(reading, metric, period)
    lacking = reading.missing(metric_id)
    if lacking:
        return [Measured(metric, {}, used, missing=lacking)]
    if metric.kind == "matched":
        raise InputError(f"metric {metric_id!r} is a matched comparison; use sqkit.kpi.matched_multiple.")
    blocks = _blocks(reading, metric, by, used)
    if blocks.empty:
        return [Measured(metric, {}, used)]
    cells = []
    for keys, cell in blocks.groupby(list(by), sort=True, dropna=False) if by else [((), blocks)]:
        interval, value, n = _interval(metric, cell)
        scope = {name: "" if key is None or key != key else str(key) for name, key in zip(by, keys, strict=True)}
        cells.append(Measured(metric, scope, used, interval, value, n))
    return cells


def _joint(reading: Reading, metric: Metric, period: Period, earlier: Period) -> pd.DataFrame | None:
    """Return joint blocks of two periods (a: earlier, b: later), or None where they cannot be compared."""
    if reading.missing(metric.id) or metric.kind in ("multiple", "census", "matched"):
        return None
    later, sooner = compared(reading, metric.id, period, earlier)
    if sooner.first < reading.source.first_day or not _is_dated(reading, metric):
        return None
    bucket = f"{metric.date} BETWEEN DATE '{later.first}' AND DATE '{later.last}'"
    sides = []
    for side, flag in (("a", "FALSE"), ("b", "TRUE")):
        den = "1.0" if metric.kind == "total" else f"sum(CASE WHEN bucket = {flag} THEN den ELSE 0 END)"
        sides.append(f"sum(CASE WHEN bucket = {flag} THEN num ELSE 0 END) AS num_{side}, {den} AS den_{side}")
        sides.append(f"sum(CASE WHEN bucket = {flag} THEN n ELSE 0 END) AS n_units_{side}")
    sql = f"""
        WITH units AS ({_units(reading, metric, (), [later, sooner], bucket)}),
        clusters AS (
            SELECT cluster_id, count(*) AS size, {", ".join(sides)} FROM units WHERE den <> 0 OR num <> 0 GROUP BY cluster_id
        ),
        marked AS (SELECT *, count(*) OVER (PARTITION BY size) AS n_alike FROM clusters)
        SELECT {_block(2)} AS block, count(*) AS n_clusters, {_joint_moments()}
        FROM marked GROUP BY block ORDER BY block"""
    joint = reading.engine.execute(sql).df()
    return None if joint.empty else joint


@remembered
def change(reading: Reading, metric_id: str, period: Period, earlier: Period) -> stats.Interval | None:
    """Return the change of a metric between two periods, clusters paired; None where there is nothing to compare.

    Shares and ratios: the difference, later less earlier. Totals: :func:`growth`.
    """
    metric = registry.metric(metric_id)
    if metric.kind == "total":
        return growth(reading, metric_id, period, earlier)
    joint = _joint(reading, metric, period, earlier)
    return None if joint is None else stats.difference_interval(joint, kind=_kind(metric, joint, "_a", "_b"))


@remembered
def growth(reading: Reading, metric_id: str, period: Period, earlier: Period) -> stats.Interval | None:
    """Return the later over the earlier value of a total or ratio (1 = unchanged) with its interval on the log scale.

    For a total every cluster seen in either period counts once, so what varies is how much each bought.
    """
    joint = _joint(reading, registry.metric(metric_id), period, earlier)
    if joint is None:
        return None
    names = {"_a": "_b", "_b": "_a"}
    turned = joint.rename(
        columns={c: c[:-2] + names[c[-2:]] for c in joint if c[-2:] in names and c.count("_a") + c.count("_b") == 1}
    )
    turned["num_a_den_b"], turned["den_a_num_b"] = joint["den_a_num_b"], joint["num_a_den_b"]
    return stats.multiple_interval(turned)


def series(reading: Reading, metric_id: str, *, months: int = 24) -> pd.DataFrame:
    """Return a metric month by month up to the reading's period.

    Returns
    -------
    DataFrame
        One row per calendar month with data: ``month_on``, ``num``, ``den``, ``n``, ``value``, ``low``, ``high``, ``enough``.
        Months whose units are not mature at ``as_of`` are left out. Empty for a metric with a window of its own.
    """
    metric = registry.metric(metric_id)
    columns = ["month_on", "num", "den", "n", "value", "low", "high", "enough"]
    if reading.missing(metric_id) or metric.kind == "matched" or metric.window_days or not _is_dated(reading, metric):
        return pd.DataFrame(columns=columns)
    last = Period.latest(reading.as_of, "month")
    span = Period(max(last.before(months - 1).first, reading.source.first_day), last.last)
    blocks = _blocks(reading, metric, (), span, bucket=f"CAST(date_trunc('month', {metric.date}) AS DATE)")
    rows = []
    for month, cell in blocks.groupby("bucket", sort=True):
        month_on = pd.Timestamp(month).date()
        ends = Period.month_of(month_on).last
        if (reading.as_of - ends).days < metric.maturity_days or month_on < span.first:
            continue
        interval, value, n = _interval(metric, cell)
        num, den = (cell[c].sum() if c in cell else cell[f"{c}_a"].sum() for c in ("num", "den"))
        low, high = (interval.low, interval.high) if interval else (np.nan, np.nan)
        rows.append((month_on, num, den, n, value, low, high, interval is None or interval.enough))
    return pd.DataFrame(rows, columns=columns)
