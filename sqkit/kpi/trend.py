"""Has a metric changed over the months, or is it the usual noise? Control charts with a stated false-alarm rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sqkit import registry, stats
from sqkit.kpi.measure import series
from sqkit.reading import Reading
from sqkit.registry import Metric
from sqkit.stats.control import MIN_BASELINE

__all__ = ["FAMILY", "RECENT", "Trend", "trend", "trends"]

FAMILY = 0.05
MONTHS = 24
RECENT = 3
DRIFT = 0.5
TREND_METRICS = (
    "lead_rate",
    "first_order_rate",
    "referral_share",
    "leave_rate",
    "activity_rate",
    "repurchase_multiple",
    "member_sales_share",
)


@dataclass(frozen=True)
class Trend:
    """A monthly control chart.

    Attributes
    ----------
    metric : Metric
    frame : DataFrame
        One row per complete (and mature) month: ``month_on, value, n, center, limit_low, limit_high, is_signal``; only the last
        :data:`RECENT` months can be signals, the ones before set the limits.
    enough : bool
        False with too few months for limits.
    method : str
        ``shares`` or ``ratios``; ``drift`` where the level moves so smoothly that the months are no sample of one level.
    """

    metric: Metric
    frame: pd.DataFrame
    enough: bool
    method: str

    @property
    def n_signals(self) -> int:
        """Months outside the limits."""
        return int(self.frame["is_signal"].sum()) if self.enough else 0


def trend(reading: Reading, metric_id: str, *, n_charts: int = 1, months: int = MONTHS) -> Trend:
    """Chart one metric month by month.

    The last :data:`RECENT` months are held against prediction limits from those before (at least ``MIN_BASELINE``), so wide that
    a report of `n_charts` charts raises any false alarm with a chance of at most :data:`FAMILY` (Bonferroni; Student's t). The
    natural spread is the larger of moving range and standard deviation, which keeps that promise where months resemble their
    neighbours; shares are put into units of their binomial error first, as in Laney's p′ chart. A level that drifts (von
    Neumann's ratio of successive squared differences to the variance below :data:`DRIFT`) is named so. Descriptive: a signal names
    a month, not a cause; calendar effects are signals too. Simulated in ``benchmarks/false_alarms.py``.
    """
    metric = registry.metric(metric_id)
    frame = series(reading, metric_id, months=months).reset_index(drop=True)
    frame = frame[frame["den"] > 0].reset_index(drop=True)
    base = len(frame) - RECENT
    if base < MIN_BASELINE:
        return Trend(metric, frame.assign(is_signal=False), False, "")
    value = frame["value"].to_numpy(float)
    is_share = metric.kind == "proportion" and bool((frame["num"] <= frame["den"]).all())
    num, den = (frame[c].to_numpy(float) for c in ("num", "den"))
    center = float(num[:base].sum() / den[:base].sum()) if is_share else float(value[:base].mean())
    unit = np.sqrt(center * (1 - center) / den) if is_share else np.ones(len(frame))
    if not (unit > 0).all():
        return Trend(metric, frame.assign(is_signal=False), False, "")
    score = (value - center) / unit
    spread = max(stats.imr(score[:base]).sigma, float(score[:base].std(ddof=1)))
    width = -stdtrit(base - 1, FAMILY / (n_charts * RECENT) / 2) * math.sqrt(1 + 1 / base)
    half = width * spread * unit
    marked = frame.assign(center=center, limit_low=center - half, limit_high=center + half)
    if is_share:
        marked[["limit_low", "limit_high"]] = marked[["limit_low", "limit_high"]].clip(0, 1)
    marked["is_signal"] = (np.arange(len(frame)) >= base) & (np.abs(value - center) > half) & (spread > 1e-12)
    smooth = spread > 0 and float(np.mean(np.diff(score) ** 2)) < DRIFT * float(score.var(ddof=1))
    return Trend(metric, marked, spread > 1e-12, "drift" if smooth else "shares" if is_share else "ratios")


def trends(reading: Reading, metric_ids: tuple[str, ...] = TREND_METRICS) -> list[Trend]:
    """Chart the metrics the source can answer, corrected together; the ones with signals come first."""
    able = [m for m in metric_ids if not reading.missing(m)]
    made = [trend(reading, m, n_charts=len(able)) for m in able]
    return sorted(made, key=lambda t: (-t.n_signals, not t.enough))
