"""KPIs of a source: measured by their registry records, judged against reference values, compared over time and stores."""

from sqkit.kpi.domain import matched_multiple
from sqkit.kpi.drivers import Driver, sales_drivers
from sqkit.kpi.measure import Measured, change, growth, measure, measure_by, series
from sqkit.kpi.scorecard import Card, findings, scorecard, strip
from sqkit.kpi.trend import Trend, trend, trends
from sqkit.reading import Period, Reading, read

__all__ = [
    "Card", "Driver", "Measured", "Period", "Reading", "Trend", "change", "findings", "growth", "matched_multiple", "measure",
    "measure_by", "read", "sales_drivers", "scorecard", "series", "strip", "trend", "trends",
]  # fmt: skip
