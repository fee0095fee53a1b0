"""Has a metric changed over the months, or is it the usual noise? Control charts with a stated false-alarm rate."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sqkit import registry, stats
from sqkit.kpi.measure import series
from sqkit.kpi.reading import Reading
from sqkit.registry import Metric

__all__ = ["FAMILY", "Trend", "trend", "trends"]

FAMILY = 0.05
MONTHS = 24
DRIFT_SHARE = 0.25
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
        One row per complete (and mature) month: ``month_on, value, n, center, limit_low, limit_high, is_signal``.
    enough : bool
        False with too few months for limits.
    method : str
        ``laney_p_prime`` for shares, ``imr`` for ratios, ``changes`` where the level drifts.
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

    The limits are as wide as keeps the chance of any false alarm on a report of `n_charts` charts near five in a hundred
    (Šidák-like split of the normal law over all points). Shares: Laney's p′, which allows for natural month-to-month spread;
    ratios: individuals chart. A level that drifts (more than a quarter of its months outside) is charted by its month-to-month
    changes instead. Descriptive: a signal names a month, not a cause; calendar effects are signals too.
    """
    metric = registry.metric(metric_id)
    frame = series(reading, metric_id, months=months).reset_index(drop=True)
    frame = frame[frame["den"] > 0].reset_index(drop=True)
    width = stats.sigma_width(max(len(frame), 1) * n_charts, FAMILY)
    if metric.kind == "proportion" and (frame["num"] <= frame["den"]).all():
        chart = stats.laney_p_prime(frame["num"], frame["den"], width=width) if len(frame) else None
    else:
        chart = stats.imr(frame["value"].astype(float), width=width) if len(frame) else None
    if chart is None or not chart.enough:
        return Trend(metric, frame.assign(is_signal=False), False, "")
    if len(chart.signals) > len(frame) * DRIFT_SHARE:
        return _changes(metric, frame, n_charts)
    marked = frame.assign(center=chart.centre, limit_low=chart.low, limit_high=chart.high)
    marked["is_signal"] = [i in chart.signals for i in range(len(frame))]
    return Trend(metric, marked, True, chart.method)


def _changes(metric: Metric, frame: pd.DataFrame, n_charts: int) -> Trend:
    """Chart month-to-month changes of a level that drifts: what is unusual then is a jump."""
    values = frame["value"].astype(float)
    steps = values.diff().dropna()
    chart = stats.imr(steps, width=stats.sigma_width(len(steps) * n_charts, FAMILY))
    if not chart.enough:
        return Trend(metric, frame.assign(is_signal=False), False, "")
    marked = frame.assign(
        center=values.shift() + chart.centre[0],
        limit_low=values.shift() + chart.low[0],
        limit_high=values.shift() + chart.high[0],
    )
    marked["is_signal"] = [False, *(i in chart.signals for i in range(len(steps)))]
    return Trend(metric, marked, True, "changes")


def trends(reading: Reading, metric_ids: tuple[str, ...] = TREND_METRICS) -> list[Trend]:
    """Chart the metrics the source can answer, corrected together; the ones with signals come first."""
    able = [m for m in metric_ids if not reading.missing(m)]
    made = [trend(reading, m, n_charts=len(able)) for m in able]
    return sorted(made, key=lambda t: (-t.n_signals, not t.enough))
